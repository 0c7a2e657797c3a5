"""Cuts the power after every call of every operation, and looks at each thing that a disk may then remember.

python -m tests.store.crash.powercut FOLDER DISK WORDS [OPERATION ...]     under LD_PRELOAD of the shim

Prints JSON. WORDS, if not empty: up to the first violation that has them.

An operation runs once in a child whose calls the shim writes down, with what was confirmed in between. The
record is played onto a `DiskModel` line by line; after each line every tree that a power cut may leave is
made real, opened as the next start would, and held against `invariants`. Links and views are not durable on
purpose: they are made again from the journal, and only that is asked of them.

What the protocol needs, each in this order (docs/store.md says it for people):

1. a document: write the temporary file, fsync it, link it, fsync its folder; only then is it confirmed;
2. a tree: fsync each file, then each folder from the inside out, rename, fsync the folder that holds it; only
   then the event that names it;
3. a folder is fsynced into its parent before anything in it is confirmed, *whoever made it*;
4. an event is fsynced before anybody acts on it, *whoever wrote it*: the next event, a slice, a version.

The two last need two processes to be seen, one of which dies: `PAIRS` are an operation that is killed after
each change that others can see, and one that comes after it in another process; then the power is cut.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from serinus.core.errors import Conflict
from serinus.store import Store
from serinus.store.local import Disk
from tests.store.crash import disk_model
from tests.store.crash.disk_model import DiskModel, Tree
from tests.store.crash.invariants import Before, violations
from tests.store.crash.operations import (
    OPERATIONS,
    Operation,
    Place,
    Templates,
    is_temporary,
    remove,
    unopened,
)
from tests.store.crash.shim import MODES, Shim
from tests.store.drafts import new_id

PAIRS = (
    ("open and first version", "open and first version"),
    ("append", "append"),
    ("append", "publish"),
    ("publish", "publish"),
    ("publish", "append"),
    ("freeze evidence", "freeze evidence"),
    ("freeze a first slice", "freeze a first slice"),
    ("start, superseding", "freeze a first slice"),
    ("add a golden set", "add a golden set"),
    ("snapshot", "collect versions"),
    ("collect versions", "collect versions"),
)
_SHOWN = ("link", "rename", "mkdir", "symlink")
_ENDLESS = 1_000


class NoFileSync(Disk):
    """Forgets to fsync files."""

    def sync(self, path: Path) -> None:
        if path.is_dir():
            super().sync(path)


class NoFolderSync(Disk):
    """Forgets to fsync folders."""

    def sync(self, path: Path) -> None:
        if not path.is_dir():
            super().sync(path)


class TrustsOthers(Disk):
    """Takes a folder that is there for one that is durable."""

    def make_folder(self, folder: Path) -> None:
        if not folder.is_dir():
            super().make_folder(folder)


DISKS: dict[str, type[Disk]] = {
    kind.__name__: kind for kind in (Disk, NoFileSync, NoFolderSync, TrustsOthers)
}


class Row(msgspec.Struct):
    operation: str
    after: str
    """The operation that was killed before; empty when there was none."""
    calls: int
    """Moments at which the power was cut."""
    states: int
    """Different trees that were looked at."""
    violated: list[str]


class PowerCuts:
    def __init__(self, folder: Path, disk: type[Disk], until: str = "") -> None:
        self._folder = folder
        self._templates = Templates(folder)
        self._disk = disk
        self._until = until
        self._shim = Shim()

    def alone(self, name: str) -> Row:
        operation = OPERATIONS[name]
        place = self._templates.copy(operation.template)
        model = DiskModel(place.folder)
        row = Row(name, "", 0, 0, [])
        self._explore(model, self._record(operation, place), self._before(operation), row)
        return row

    def pair(self, first: str, second: str) -> Row:
        row = Row(second, first, 0, 0, [])
        one, two = OPERATIONS[first], OPERATIONS[second]
        for n in range(1, _ENDLESS):
            place = self._templates.copy(one.template)
            model = DiskModel(place.folder)
            lines = self._record(one, place, killed_at=n)
            if not self._killed or self._found(row):
                return row
            if not _others_see(lines):
                continue
            said = [_said(line) for line in lines if _is_said(line)]
            for line in lines:
                if not _is_said(line):
                    model.apply(line)
            model.new_process()
            self._explore(model, self._record(two, place), self._before(one), row, said)
        raise AssertionError(f"{first} does not end")

    def _found(self, row: Row) -> bool:
        return bool(self._until) and any(self._until in words for words in row.violated)

    def _before(self, operation: Operation) -> Before:
        return Before.of(self._templates.get(operation.template))

    def _record(self, operation: Operation, place: Place, *, killed_at: int = 0) -> list[str]:
        record = self._folder / "record"
        child = os.fork()
        if child == 0:
            status = 1
            try:
                descriptor = os.open(record, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
                store = unopened(place, self._disk(place.root, new_id))
                self._shim.record(place.folder, descriptor)
                if killed_at:
                    self._shim.arm(place.folder, MODES["kill"], killed_at)
                self._run(operation, store, place)
                status = 0
            finally:
                os._exit(status)
        _, ended = os.waitpid(child, 0)
        self._killed = os.WIFSIGNALED(ended)
        assert self._killed or ended == 0, "the operation failed"
        return record.read_text().splitlines()

    def _run(self, operation: Operation, store: Store, place: Place) -> None:
        """Where a killed one had taken effect, the next may be told that it cannot be done again."""
        try:
            operation.run(store, place, lambda *words: self._shim.say(words))
        except Conflict:
            return

    def _explore(
        self,
        model: DiskModel,
        lines: list[str],
        before: Before,
        row: Row,
        said: list[list[Any]] | None = None,
    ) -> None:
        """Cuts the power after each line."""
        confirmed = list(said or [])
        seen: set[int] = set()
        for number, line in enumerate(["", *lines]):
            if _is_said(line):
                confirmed.append(_said(line))
                seen.clear()
            elif line:
                model.apply(line)
            if line.startswith("close\t"):
                continue
            row.calls += 1
            for tree in model.leftovers():
                key = hash(frozenset(tree.items()))
                if key not in seen:
                    seen.add(key)
                    row.states += 1
                    wrong = self._look(tree, before, confirmed)
                    row.violated += [f"after {number} {_short(line)}: {words}" for words in wrong]
                    if self._found(row):
                        return

    def _look(self, tree: Tree, before: Before, confirmed: list[list[Any]]) -> list[str]:
        place = Place(self._folder / "left")
        remove(place.folder)
        disk_model.write(tree, place.folder)
        return violations(place, before, confirmed, links_are_durable=False)


def _others_see(lines: list[str]) -> bool:
    """Whether the last thing that was done shows something to other processes."""
    done = [words for words in (line.split("\t") for line in lines) if words[0] not in ("open", "close")]
    return bool(done) and done[-1][0] in _SHOWN and not is_temporary(Path(done[-1][-1]))


def _is_said(line: str) -> bool:
    return line.startswith("say\t")


def _said(line: str) -> list[Any]:
    words: list[Any] = msgspec.json.decode(line.split("\t", 1)[1])
    return words


def _short(line: str) -> str:
    return " ".join(Path(word).name if "/" in word else word for word in line.split("\t"))[:100]


def rows(cuts: PowerCuts, names: list[str]) -> Iterator[Row]:
    for name in OPERATIONS:
        if name in (names or OPERATIONS):
            yield cuts.alone(name)
    for first, second in PAIRS:
        if not names or f"{first} + {second}" in names:
            yield cuts.pair(first, second)


def main(folder: Path, disk: str, until: str, names: list[str]) -> None:
    made = list(rows(PowerCuts(folder, DISKS[disk], until), names))
    sys.stdout.write(msgspec.json.encode(made).decode())


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4:])
