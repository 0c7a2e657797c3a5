"""What readers see while others write: the same fold for everybody, and nothing before it is safe."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serinus.core.enums import ReasonCode
from serinus.core.errors import Conflict
from serinus.core.ids import Digest
from serinus.rollout.events import (
    Body,
    Event,
    Paused,
    Promoted,
    Published,
    Resumed,
    RolledBack,
    RolloutStarted,
    ShareChanged,
    Undone,
    Verified,
)
from serinus.rollout.policy import Policy
from serinus.rollout.state import State
from serinus.store import Store
from serinus.store.local import Disk
from tests.store.drafts import Ticks, new_id
from tests.store.replay import replay
from tests.store.writer import small_draft

_slow_fixture = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@pytest.fixture
def tmp_path(memory: Path) -> Path:
    return memory


def opened(root: Path) -> Store:
    return Store.open(root, clock=Ticks(), new_id=new_id)


# -- any interleaving folds to the same ----------------------------------------------------------------------

BODIES: dict[str, Callable[[State], Body]] = {
    "publish": lambda s: Published(version=s.next_version, digest=Digest(f"{s.next_version:064x}")),
    "start": lambda s: RolloutStarted(
        rollout=s.rollouts + 1,
        version=max(s.versions),
        policy=Policy(),
        supersedes=s.rollout.number if s.rollout else None,
    ),
    "verify": lambda s: Verified(rollout=s.rollouts, share=0.5),
    "share": lambda s: ShareChanged(rollout=s.rollouts, share=0.3),
    "pause": lambda s: Paused(rollout=s.rollouts),
    "resume": lambda s: Resumed(rollout=s.rollouts),
    "promote": lambda s: Promoted(
        rollout=s.rollouts,
        version=s.rollout.version if s.rollout else max(s.versions),
        code=ReasonCode.MANUAL,
    ),
    "roll back": lambda s: RolledBack(
        rollout=s.rollouts,
        version=s.rollout.version if s.rollout else max(s.versions),
        code=ReasonCode.MANUAL,
    ),
    "undo": lambda s: Undone(version=s.previous or max(s.versions), undone=s.current or max(s.versions)),
}
WRITE = st.tuples(st.just("write"), st.integers(0, 2), st.sampled_from(sorted(BODIES)))
READ = st.tuples(st.sampled_from(["read", "fresh", "snapshot"]), st.integers(0, 2), st.just(""))


@settings(max_examples=60, deadline=None, suppress_health_check=_slow_fixture)
@given(steps=st.lists(st.one_of(WRITE, WRITE, READ), max_size=40))
def test_every_reader_at_every_time_folds_as_the_journal_replays(
    tmp_path: Path, steps: list[tuple[str, int, str]]
) -> None:
    """Writers decide on what they saw last; readers look now and then; fresh ones start from a snapshot."""
    root = tmp_path / new_id()
    writers = [opened(root) for _ in range(3)]
    readers = [opened(root) for _ in range(3)]
    first = Published(version=writers[0].state().next_version, digest=Digest("0" * 64), initial=True)
    writers[0].append(first, actor="test", reason="first")
    seen: list[State] = [State()] * 3
    looks: list[State] = []
    for what, who, kind in steps:
        match what:
            case "write":
                decided_on = seen[who] if seen[who].seq else writers[who].state()
                try:
                    writers[who].append(
                        BODIES[kind](decided_on), actor=str(who), reason=kind, expect=decided_on.seq
                    )
                except Conflict:
                    seen[who] = writers[who].state()  # a lost race is a re-read
            case "read":
                state = readers[who].state()
                assert state.seq >= max((s.seq for s in looks), default=0), "nobody sees less than others saw"
                looks.append(state)
            case "fresh":
                looks.append(opened(root).state())
            case _:
                looks.append(writers[who].snapshot())
    replayed = replay(root)
    for state in looks:
        assert state == replayed[state.seq]
    live = [store.state() for store in (*writers, *readers, opened(root))]
    assert all(state == replayed[-1] for state in live)
    assert len(replayed[-1].versions) == replayed[-1].next_version - 1


# -- nothing is seen before it is safe -----------------------------------------------------------------------


class Killed(BaseException):
    pass


class Ledger:
    """What of a disk is safe, told by all who write on it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.unsafe_entries: set[Path] = set()
        self.safe_files: set[tuple[int, int]] = set()

    def shown(self, target: Path) -> None:
        self.unsafe_entries.add(target)

    def synced(self, path: Path) -> None:
        if path.is_dir():
            self.unsafe_entries = {entry for entry in self.unsafe_entries if entry.parent != path}
        else:
            self.safe_files.add((path.stat().st_dev, path.stat().st_ino))

    def unsafe(self, path: Path) -> list[str]:
        """What a power cut may take of `path` and all below it."""
        above = [entry for entry in (path, *path.parents) if entry in self.unsafe_entries]
        files = [file for file in (path, *path.rglob("*")) if file.is_file()]
        torn = [file for file in files if (file.stat().st_dev, file.stat().st_ino) not in self.safe_files]
        return [f"{found.relative_to(self.root)} may be lost" for found in (*above, *torn)]


class LedgerDisk(Disk):
    """Tells the ledger, and is killed before its n-th call that shows or saves something."""

    def __init__(self, ledger: Ledger, calls: int) -> None:
        super().__init__(ledger.root, new_id)
        self.ledger = ledger
        self.calls = calls

    def _count(self) -> None:
        if self.calls == 0:
            raise Killed
        self.calls -= 1

    def link(self, source: Path, target: Path) -> None:
        self._count()
        super().link(source, target)
        self.ledger.shown(target)
        if target.parent.name == "journal":
            self._check(target)

    def _check(self, journal_file: Path) -> None:
        """From now on everybody sees this event."""
        event = msgspec.json.decode(journal_file.read_bytes(), type=Event)
        if isinstance(event.body, Published):
            artifact = self.ledger.root / "artifacts" / event.body.digest
            assert (artifact / "manifest.json").is_file()
            assert self.ledger.unsafe(artifact) == []
        previous = journal_file.with_name(f"{event.seq - 1:010d}.json")
        assert event.seq == 1 or self.ledger.unsafe(previous) == []

    def rename(self, source: Path, target: Path) -> None:
        self._count()
        super().rename(source, target)
        self.ledger.shown(target)

    def sync(self, path: Path) -> None:
        self._count()
        super().sync(path)
        self.ledger.synced(path)


class CarelessDisk(LedgerDisk):
    """Does not sync the folder of a tree."""

    def sync(self, path: Path) -> None:
        if path.name != "artifacts":
            super().sync(path)


def play(root: Path, drafts: list[Path], steps: list[tuple[int, int]], disk: type[LedgerDisk]) -> None:
    """Each step: a process publishes one of the drafts and is killed at one of its calls, or is not."""
    opened(root)
    ledger = Ledger(root)
    for which, calls in steps:
        store = Store(root, clock=Ticks(), new_id=new_id, disk=disk(ledger, calls))
        try:
            version = store.publish(drafts[which], note=str(which), actor="test")
        except Killed:
            continue
        event = root / "journal" / f"{store.state().seq:010d}.json"
        assert store.state().versions[version].note == str(which)
        assert ledger.unsafe(event) == [], "what was confirmed is safe"


@pytest.fixture
def drafts(tmp_path: Path) -> list[Path]:
    return [small_draft(tmp_path / name, name) for name in ("one", "two")]


@settings(max_examples=80, deadline=None, suppress_health_check=_slow_fixture)
@given(steps=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 14)), min_size=1, max_size=7))
def test_no_version_is_seen_before_its_manifest_is_safe(
    tmp_path: Path, drafts: list[Path], steps: list[tuple[int, int]]
) -> None:
    play(tmp_path / new_id(), drafts, steps, LedgerDisk)


def test_a_careless_disk_would_be_found(tmp_path: Path, drafts: list[Path]) -> None:
    with pytest.raises(AssertionError, match="may be lost"):
        play(tmp_path / "models", drafts, [(0, 100)], CarelessDisk)
