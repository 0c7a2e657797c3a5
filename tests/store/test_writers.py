"""8 publishers and 4 controllers at once: nothing twice, nothing lost, nothing overwritten.

The controllers also collect old versions. What goes was recorded before; what serves, may come back or is
loaded stays.
"""

import contextlib
import hashlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from serinus.control import commands
from serinus.core.ids import Digest, Version
from serinus.rollout.events import Paused, Published, Removed, ShareChanged
from serinus.rollout.state import State
from serinus.store import Replica, Store
from serinus.store.local import Disk
from tests.store.crash.invariants import Before, violations
from tests.store.crash.operations import Place
from tests.store.drafts import new_id, start_canary
from tests.store.replay import replay
from tests.store.test_processes import REPOSITORY, go, real_store, start
from tests.store.writer import small_draft

_PUBLISHERS, _CONTROLLERS = 8, 4
_KEPT_LOADED = 3


@pytest.fixture
def tmp_path(memory: Path) -> Path:
    return memory


class Confirmed(NamedTuple):
    """What the store told one writer."""

    events: list[tuple[int, str]]
    versions: list[tuple[int, str]]
    lost: list[tuple[int, int]]
    """The number of the last event that a decision rested on, and the last one when it was refused."""
    collected: list[list[int]]
    """What each collection removed."""

    @classmethod
    def parse(cls, output: str) -> "Confirmed":
        lines = [line.split() for line in output.splitlines()]
        collected = [list(map(int, versions)) for what, *versions in lines if what == "collected"]
        words = [line for line in lines if line[0] != "collected"]
        return cls(
            [(int(seq), identity) for what, seq, identity in words if what == "appended"],
            [(int(version), digest) for what, version, digest in words if what == "published"],
            [(int(seen), int(now)) for what, seen, now in words if what == "lost"],
            collected,
        )


class Watch:
    """Remembers every file of the journal and of the artifacts as it was when it was first seen.

    It is also a replica that is slow to unload: it keeps what served at its last looks.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._files: dict[Path, tuple[int, str]] = {}
        self._reader = real_store(root)
        self._served: list[set[Digest]] = []
        """At the last looks."""
        self.loaded: set[Digest] = set()
        self.states: dict[int, State] = {}
        self.problems: list[str] = []

    def look(self) -> None:
        for path in [*(self._root / "journal").glob("*.json"), *self._artifact_files()]:
            try:
                inode, digest = path.stat().st_ino, "" if path in self._files else _hash(path)
            except FileNotFoundError:
                continue  # collected meanwhile; `end` asks whether that was recorded
            if path not in self._files:
                self._files[path] = (inode, digest)
            elif self._files[path][0] != inode:
                self.problems.append(f"{path.name} was replaced")
        state = self._reader.state()
        known = max(self.states, default=0)
        if state.seq < known:
            self.problems.append(f"a reader went back from {known} to {state.seq}")
        self.states[state.seq] = state
        for record in state.versions.values():
            self._reader.manifest(record.digest)  # raises where a version is seen before its manifest
        self._serve(state)

    def _artifact_files(self) -> Iterator[Path]:
        for folder in (self._root / "artifacts").iterdir():
            if not folder.name.startswith(".tmp-"):
                with contextlib.suppress(FileNotFoundError):  # collected meanwhile
                    yield from [path for path in folder.rglob("*") if path.is_file()]

    def _serve(self, state: State) -> None:
        self.problems += [
            f"{digest} was loaded, and is gone" for digest in self.loaded if self._lacks(digest)
        ]
        serving = {state.current, state.rollout and state.rollout.version}
        self._served.append({state.versions[version].digest for version in serving if version})
        del self._served[:-_KEPT_LOADED]
        wanted = set().union(*self._served)
        self._reader.put_replica(
            Replica(replica="watch-0-ab", time=time.time(), seq=state.seq, loaded=tuple(sorted(wanted)))
        )
        # Before the heartbeat said so, it could go as soon as it did not serve any more.
        self.loaded = {digest for digest in wanted if not self._lacks(digest)}

    def _lacks(self, digest: Digest) -> bool:
        return not (self._root / "artifacts" / digest / "model.onnx").exists()

    def end(self) -> None:
        self.look()
        removed = self._reader.state().removed
        for path, (_, digest) in self._files.items():
            if path.exists():
                if _hash(path) != digest:
                    self.problems.append(f"{path.name} was changed")
            elif path.relative_to(self._root / "artifacts").parts[0] not in removed:
                self.problems.append(f"{path.name} is gone, and nobody recorded it")


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def problems(root: Path, watch: Watch, said: dict[str, Confirmed]) -> list[str]:
    """What went wrong, in words."""
    found = list(watch.problems)
    store = real_store(root)
    events = list(store.events())
    for name, confirmed in said.items():
        mine = [event for event in events if event.actor == name]
        decided = [(event.seq, event.id) for event in mine if not isinstance(event.body, Published | Removed)]
        removed = [list(event.body.versions) for event in mine if isinstance(event.body, Removed)]
        published = [
            (event.body.version, event.body.digest) for event in mine if isinstance(event.body, Published)
        ]
        if decided != confirmed.events:
            found.append(f"{name} was told of other events than there are")
        if published != confirmed.versions:
            found.append(f"{name} was told of other versions than there are")
        if removed != [versions for versions in confirmed.collected if versions]:
            found.append(f"{name} was told of other removals than there are")
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
    for event in events:
        if isinstance(event.body, Removed):
            before = replayed[event.seq - 1]
            rollout = before.rollout
            needed = {
                before.current,
                before.previous,
                rollout and rollout.version,
                rollout and rollout.baseline,
            }
            found += [f"event {event.seq} removed {v}, needed then" for v in needed & {*event.body.versions}]
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
    collections = [versions for confirmed in said.values() for versions in confirmed.collected]
    assert real_store(place.root).state().seq == 2 + operations - collections.count([])
    versions = [version for confirmed in said.values() for version, _ in confirmed.versions]
    assert sorted(versions) == list(range(3, 3 + _PUBLISHERS * publishes))
    lost = sum(len(confirmed.lost) for confirmed in said.values())
    with capsys.disabled():
        print(  # noqa: T201
            f"\n{operations} operations of 12 processes, {len(collections)} of them collections that removed "
            f"{sum(map(len, collections))} versions; {lost} decisions lost a race and were made anew"
        )
    assert lost > 0, "they did not meet"
    assert any(collections), "nothing was collected"


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
    found = problems(place.root, watch, {"rival": Confirmed(disk.told, [], [], [])})
    assert {
        "0000000005.json was replaced",
        "0000000005.json was changed",
        "rival was told of other events than there are",
        "a reader saw another state at 5",
    } <= set(found)


def test_a_careless_collection_would_be_found(tmp_path: Path) -> None:
    """One that does not ask the replicas, and one that takes away what nobody removed."""
    place = prepare(tmp_path)
    store = real_store(place.root)
    start_canary(store, Version(2))
    watch = Watch(place.root)
    watch.look()
    commands.rollback(store, actor="test", reason="bad")
    store.remove_versions((Version(2),), actor="test", reason="not loaded, I think")
    assert len(store.collect()) == 1
    first, second = (store.state().versions[Version(n)].digest for n in (1, 2))
    Disk(place.root, new_id).discard_tree(place.root / "artifacts" / first)
    watch.end()
    assert {
        f"{second} was loaded, and is gone",
        f"{first} was loaded, and is gone",
        "model.onnx is gone, and nobody recorded it",
    } <= set(watch.problems)
    said = {"test": Confirmed([], [], [], [])}
    assert "test was told of other removals than there are" in problems(place.root, watch, said)
