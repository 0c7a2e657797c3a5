"""8 publishers and 4 controllers at once: nothing twice, nothing lost, nothing overwritten."""

import contextlib
import hashlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from serinus.core.ids import Version
from serinus.rollout.events import Paused, Published, ShareChanged
from serinus.rollout.state import State
from serinus.store import Store
from serinus.store.local import Disk
from tests.store.crash.invariants import Before, violations
from tests.store.crash.operations import Place
from tests.store.drafts import new_id, start_canary
from tests.store.replay import replay
from tests.store.test_processes import REPOSITORY, go, real_store, start
from tests.store.writer import small_draft

_PUBLISHERS, _CONTROLLERS = 8, 4


class Confirmed(NamedTuple):
    """What the store told one writer."""

    events: list[tuple[int, str]]
    versions: list[tuple[int, str]]
    lost: list[tuple[int, int]]
    """The number of the last event that a decision rested on, and the last one when it was refused."""

    @classmethod
    def parse(cls, output: str) -> "Confirmed":
        words = [line.split() for line in output.splitlines()]
        return cls(
            [(int(seq), identity) for what, seq, identity in words if what == "appended"],
            [(int(version), digest) for what, version, digest in words if what == "published"],
            [(int(seen), int(now)) for what, seen, now in words if what == "lost"],
        )


class Watch:
    """Remembers every file of the journal and of the artifacts as it was when it was first seen."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._files: dict[Path, tuple[int, str]] = {}
        self._reader = real_store(root)
        self.states: dict[int, State] = {}
        self.problems: list[str] = []

    def look(self) -> None:
        for path in [*(self._root / "journal").glob("*.json"), *self._artifact_files()]:
            inode = path.stat().st_ino
            if path not in self._files:
                self._files[path] = (inode, _hash(path))
            elif self._files[path][0] != inode:
                self.problems.append(f"{path.name} was replaced")
        state = self._reader.state()
        known = max(self.states, default=0)
        if state.seq < known:
            self.problems.append(f"a reader went back from {known} to {state.seq}")
        self.states[state.seq] = state
        for record in state.versions.values():
            self._reader.manifest(record.digest)  # raises where a version is seen before its manifest

    def _artifact_files(self) -> Iterator[Path]:
        for folder in (self._root / "artifacts").iterdir():
            if not folder.name.startswith(".tmp-"):
                yield from (path for path in folder.rglob("*") if path.is_file())

    def end(self) -> None:
        self.look()
        self.problems += [
            f"{path.name} was changed" for path, (_, digest) in self._files.items() if _hash(path) != digest
        ]


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def problems(root: Path, watch: Watch, said: dict[str, Confirmed]) -> list[str]:
    """What went wrong, in words."""
    found = list(watch.problems)
    store = real_store(root)
    events = list(store.events())
    for name, confirmed in said.items():
        mine = [event for event in events if event.actor == name]
        decided = [(event.seq, event.id) for event in mine if not isinstance(event.body, Published)]
        published = [
            (event.body.version, event.body.digest) for event in mine if isinstance(event.body, Published)
        ]
        if decided != confirmed.events:
            found.append(f"{name} was told of other events than there are")
        if published != confirmed.versions:
            found.append(f"{name} was told of other versions than there are")
        found += [f"{name} lost against nobody at {seen}" for seen, now in confirmed.lost if now <= seen]
    given = [version for confirmed in said.values() for version, _ in confirmed.versions]
    if len(set(given)) != len(given):
        found.append("a version's number was given twice")
    replayed = replay(root)
    found += [
        f"a reader saw another state at {seq}"
        for seq, state in watch.states.items()
        if seq >= len(replayed) or replayed[seq] != state
    ]
    if replayed[-1] != store.state():
        found.append("the journal replays to another state")
    return found


def run(root: Path, folder: Path, publishes: int, decisions: int) -> tuple[Watch, dict[str, Confirmed]]:
    """Each publisher publishes and each controller decides that often."""
    work = [(f"publisher-{n}", publishes, "publisher") for n in range(_PUBLISHERS)]
    work += [(f"controller-{n}", decisions, "controller") for n in range(_CONTROLLERS)]
    children = {
        name: subprocess.Popen(
            [sys.executable, "-m", "tests.store.writer", str(root), str(folder), name, str(count), kind],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name, count, kind in work
    }
    watch = Watch(root)
    with contextlib.ExitStack() as stack:
        for child in children.values():
            stack.callback(child.wait)
            stack.callback(child.kill)
        for child in children.values():
            start(child)
        for child in children.values():
            go(child)
        while any(child.poll() is None for child in children.values()):
            watch.look()
            time.sleep(0.02)
        watch.end()
        said = {}
        for name, child in children.items():
            out, err = child.communicate()
            assert child.returncode == 0, err
            said[name] = Confirmed.parse(out)
    return watch, said


def prepare(tmp_path: Path) -> Place:
    place = Place(tmp_path)
    store = real_store(place.root)
    store.publish(small_draft(tmp_path / "first", "first"), note="first", actor="test", initial=True)
    store.publish(small_draft(tmp_path / "second", "second"), note="second", actor="test")
    return place


def check(tmp_path: Path, publishes: int, decisions: int, capsys: pytest.CaptureFixture[str]) -> None:
    place = prepare(tmp_path)
    before = Before.of(place)
    watch, said = run(place.root, place.inputs, publishes, decisions)
    assert problems(place.root, watch, said) == []
    assert violations(place, before, []) == []
    operations = _PUBLISHERS * publishes + _CONTROLLERS * decisions
    assert real_store(place.root).state().seq == 2 + operations
    versions = [version for confirmed in said.values() for version, _ in confirmed.versions]
    assert sorted(versions) == list(range(3, 3 + _PUBLISHERS * publishes))
    lost = sum(len(confirmed.lost) for confirmed in said.values())
    with capsys.disabled():
        print(f"\n{operations} operations of 12 processes, {lost} decisions lost a race and were made anew")  # noqa: T201
    assert lost > 0, "they did not meet"


@pytest.mark.processes
@pytest.mark.timeout(600)
def test_twelve_writers_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check(tmp_path, 10, 18, capsys)


@pytest.mark.processes
@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_thousand_operations_of_twelve_writers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check(tmp_path, 65, 120, capsys)


class OverwritingDisk(Disk):
    """Puts its event in the place of one that is there; a rival is a moment faster."""

    def __init__(self, root: Path, rival: Store, watch: Watch) -> None:
        super().__init__(root, new_id)
        self.rival = rival
        self.watch = watch
        self.told: list[tuple[int, str]] = []

    def link(self, source: Path, target: Path) -> None:
        event = self.rival.append(Paused(rollout=1), actor="rival", reason="faster")
        self.told.append((event.seq, event.id))
        self.watch.look()
        self.rename(source, target)


def test_an_overwriting_disk_would_be_found(tmp_path: Path) -> None:
    place = prepare(tmp_path)
    rival = real_store(place.root)
    start_canary(rival, Version(2))
    watch = Watch(place.root)
    disk = OverwritingDisk(place.root, rival, watch)
    store = Store(place.root, clock=time.time, new_id=new_id, disk=disk)
    store.append(ShareChanged(rollout=1, share=0.1), actor="overwriter", reason="late")
    with contextlib.suppress(AssertionError):
        watch.end()
    found = problems(place.root, watch, {"rival": Confirmed(disk.told, [], [])})
    assert {
        "0000000005.json was replaced",
        "0000000005.json was changed",
        "rival was told of other events than there are",
        "a reader saw another state at 5",
    } <= set(found)
