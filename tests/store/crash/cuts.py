"""Stops every operation at every file-system call, in every way, and looks at what is left.

python -m tests.store.crash.cuts FOLDER STRIDE PART PARTS [OPERATION ...]     under LD_PRELOAD of the shim

Prints JSON. Each of PARTS processes takes its share of the cut points.

One process has everything imported and forks a child for each cut point: the child arms the shim, runs one
operation on a fresh copy of its template, and is killed or given an error at its n-th call. n goes up to the
number of calls that the operation makes when it is let alone. After an error the child tries again with the
same store object. Then this process opens what is left as the next start would and checks `invariants`
(`store check` is one of them), and runs the operation once more.
"""

import itertools
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from serinus.core.errors import Conflict, SerinusError
from serinus.store import Store
from tests.store.crash.invariants import Before, unconfirmed, violations
from tests.store.crash.operations import OPERATIONS, Operation, Place, Templates, temporaries, unopened
from tests.store.crash.shim import MODES, UNCUT, Mode, Shim

_MOST_OF_A_SAMPLE = 12


class Row(msgspec.Struct):
    operation: str
    mode: str
    points: int = 0
    violated: list[str] = []


class Outcome(NamedTuple):
    fired: bool
    said: list[list[Any]]
    wrong: list[str]
    calls: dict[str, int]
    """How many calls each mode counts; only of a process that came to its end."""


class Share(NamedTuple):
    """Which cut points one process takes."""

    stride: int
    """1: all; else a sample, every so many-th or fewer."""
    first: int
    part: int
    parts: int


def stride_of(mode: str, stride: int, calls: int) -> int:
    """A sample takes fewer where there are many: of looks, and of what is done for one file after another."""
    if stride == 1:
        return 1
    return max(4 * stride if mode == "EIO" else stride, calls // _MOST_OF_A_SAMPLE)


class Harness:
    def __init__(self, folder: Path, make: Callable[[Place], Store] = unopened) -> None:
        self._templates = Templates(folder)
        self.before: dict[str, Before] = {}
        """What must not be lost, by template."""
        self._calls: dict[str, dict[str, int]] = {}
        self._make = make
        self._shim = Shim()

    def row(self, name: str, mode_name: str, share: Share) -> Row:
        """All cut points of an operation, or a sample of them; of these a share."""
        row = Row(name, mode_name)
        calls = self._count(name)[mode_name]
        stride = stride_of(mode_name, share.stride, calls)
        for n in range(share.first + share.part * stride, calls + 1, share.parts * stride):
            self._look(row, n)
        return row

    def until(self, name: str, mode_name: str, words: str) -> Row:
        """Cut points up to the first where what is wrong has these words."""
        row = Row(name, mode_name)
        for n in range(1, self._count(name)[mode_name] + 1):
            self._look(row, n)
            if any(words in found for found in row.violated):
                break
        return row

    def _look(self, row: Row, n: int) -> None:
        outcome, wrong = self._trial(OPERATIONS[row.operation], MODES[row.mode], n)
        row.points += outcome.fired
        row.violated += [f"{row.operation}, {row.mode}, call {n}: {words}" for words in wrong]

    def _count(self, name: str) -> dict[str, int]:
        """How many calls each mode counts when nothing is cut."""
        if name not in self._calls:
            self._warm_up(OPERATIONS[name])
            uncut, wrong = self._trial(OPERATIONS[name], UNCUT, 0)
            assert not wrong, f"{name} is wrong without any cut: {wrong}"
            self._calls[name] = uncut.calls
        return self._calls[name]

    def _trial(self, operation: Operation, mode: Mode, n: int) -> tuple[Outcome, list[str]]:
        place = self._templates.copy(operation.template)
        outcome = self.cut(operation, place, mode, n)
        wrong = outcome.wrong + violations(place, self.before[operation.template], outcome.said)
        return outcome, wrong + self._again(operation, place)

    def _warm_up(self, operation: Operation) -> None:
        """So that no child imports anything; and what must not be lost is known."""
        template = operation.template
        if template not in self.before:
            self.before[template] = Before.of(self._templates.get(template))
        place = self._templates.copy(template)
        operation.run(self._make(place), place, lambda *_: None)

    def cut(self, operation: Operation, place: Place, mode: Mode, n: int) -> Outcome:
        """What became of one operation that was stopped at its n-th call, on the store at `place`."""
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.close(reader)
                self._work(operation, place, mode, n, writer)
                status = 0
            finally:
                os._exit(status)
        os.close(writer)
        with os.fdopen(reader) as lines:
            heard = [json.loads(line) for line in lines]
        _, status = os.waitpid(child, 0)
        said = [words[1:] for words in heard if words[0] == "say"]
        wrong = [words[1] for words in heard if words[0] == "wrong"]
        ended = [words[1:] for words in heard if words[0] == "end"]
        if os.WIFSIGNALED(status):
            if not mode.kills or os.WTERMSIG(status) != signal.SIGKILL:
                wrong.append(f"the process died of signal {os.WTERMSIG(status)}")
            return Outcome(True, said, wrong, {})
        if not ended:
            return Outcome(True, said, [*wrong, "the process ended early"], {})
        ((fired, calls),) = ended
        return Outcome(fired, said, wrong, calls)

    def _work(self, operation: Operation, place: Place, mode: Mode, n: int, writer: int) -> None:
        def tell(*words: object) -> None:
            os.write(writer, json.dumps(words).encode() + b"\n")

        def say(*words: object) -> None:
            tell("say", *words)

        store = self._make(place)
        there = temporaries(place.root)
        self._shim.arm(place.folder, mode, n)
        try:
            operation.run(store, place, say)
        except (SerinusError, OSError):
            self._shim.off()
            left = temporaries(place.root) - there
            if mode.keeps_its_promise_of_space and left:
                tell("wrong", f"kept something half-written: {sorted(left)}")
            self._retry(operation, store, place, say, tell)
        except BaseException as error:  # noqa: BLE001 - told to the parent, which lists it
            tell("wrong", f"raised {type(error).__name__}: {error}")
        self._shim.off()
        calls = {name: self._shim.seen(counting) for name, counting in MODES.items()}
        tell("end", self._shim.fired(), calls)

    def _retry(
        self,
        operation: Operation,
        store: Store,
        place: Place,
        say: Callable[..., None],
        tell: Callable[..., None],
    ) -> None:
        """The same store object goes on; a Conflict is fine where the failed attempt had taken effect."""
        try:
            operation.run(store, place, say)
        except Conflict as error:
            if unopened(place).state().seq == self._seq(operation):
                tell("wrong", f"nothing had happened, and the second attempt raised {error}")
        except BaseException as error:  # noqa: BLE001 - told to the parent, which lists it
            tell("wrong", f"the second attempt raised {type(error).__name__}: {error}")

    def _again(self, operation: Operation, place: Place) -> list[str]:
        """Another process does the same later; what it is told then is true too."""
        store = unopened(place)
        said: list[list[Any]] = []
        try:
            before = store.state().seq
            operation.run(store, place, lambda *words: said.append(list(words)))
            state = store.state()
            untrue = list(unconfirmed(store, place, said))
        except Conflict as error:
            moved = before > self._seq(operation)
            return [] if moved else [f"nothing had happened, and a later attempt raised {error}"]
        except (SerinusError, OSError, AssertionError) as error:
            return [f"a later attempt raised {type(error).__name__}: {error}"]
        return untrue if state.seq >= before else [*untrue, "the journal went back"]

    def _seq(self, operation: Operation) -> int:
        return sum(name.startswith("journal/") for name in self.before[operation.template].kept)


def main(folder: Path, stride: int, part: int, parts: int, names: Sequence[str]) -> None:
    """Prints one row for each of these operations in each mode; none named: all."""
    harness = Harness(folder)
    rows = [
        harness.row(name, mode, Share(stride, 1 + number % stride, part, parts))
        for number, (name, mode) in enumerate(itertools.product(OPERATIONS, MODES))
        if name in (names or OPERATIONS)
    ]
    sys.stdout.write(msgspec.json.encode(rows).decode())


if __name__ == "__main__":
    _folder, _stride, _part, _parts, *_names = sys.argv[1:]
    main(Path(_folder), int(_stride), int(_part), int(_parts), _names)
