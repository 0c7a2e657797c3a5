"""Removing old versions on a real store."""

import os
from pathlib import Path

import pytest

from serinus.artifact.manifest import Manifest
from serinus.bootstrap.edge import new_id
from serinus.control import commands
from serinus.control.history import history
from serinus.control.registry import version_detail, versions
from serinus.control.retention import Collected, collect
from serinus.core.enums import VersionState
from serinus.core.errors import Conflict, Corrupt, NotFound
from serinus.core.ids import Version
from serinus.rollout.events import Removed, RolloutStarted
from serinus.rollout.policy import Policy
from serinus.store import Replica, Store
from tests.control.world import Turned
from tests.store.drafts import start_canary, write_draft


@pytest.fixture
def clock() -> Turned:
    return Turned()


@pytest.fixture
def store(tmp_path: Path, clock: Turned) -> Store:
    """Version 1 is current; 2 to 6 were rolled back, 7 waits for its rollout."""
    store = Store.open(tmp_path / "models", clock=clock, new_id=new_id)
    store.publish(write_draft(tmp_path / "d1", b"1"), note="", actor="test", initial=True)
    for number in range(2, 8):
        store.publish(write_draft(tmp_path / f"d{number}", str(number).encode()), note="", actor="test")
    for number in range(2, 7):
        start_canary(store, Version(number))
        commands.rollback(store, actor="test", reason="test")
    store.refresh_views()
    return store


def gc(store: Store, keep: int, *, dry_run: bool = False, queued: bool = False) -> Collected:
    return collect(store, keep=keep, dry_run=dry_run, queued=queued, actor="alice via cli", reason="space")


def removed(report: Collected) -> list[int]:
    return [fate.version for fate in report.versions if fate.remove]


def present(store: Store) -> list[int]:
    state = store.state()
    return [v for v, r in state.versions.items() if (store.root / "artifacts" / r.digest).is_dir()]


def test_what_waits_for_its_rollout_goes_when_asked_but_the_newest(store: Store, tmp_path: Path) -> None:
    """A store into which somebody publishes and from which nobody rolls out can be freed too."""
    for number in (8, 9):
        store.publish(write_draft(tmp_path / f"d{number}", str(number).encode()), note="", actor="test")
    gc(store, keep=0)
    assert present(store) == [1, 7, 8, 9]
    assert {fate.version for fate in gc(store, keep=0).versions if "--queued" in fate.why} == {7, 8}
    assert removed(gc(store, keep=2, queued=True, dry_run=True)) == [7]
    assert removed(gc(store, keep=0, queued=True)) == [8, 7]
    assert present(store) == [1, 9]
    with pytest.raises(Conflict, match="newest whose rollout"):
        store.remove_versions((Version(9),), actor="test", reason="test")


def test_a_dry_run_says_what_a_real_one_does(store: Store) -> None:
    before = store.state()
    dry = gc(store, keep=2, dry_run=True)
    assert removed(dry) == [5, 4, 3, 2]
    assert store.state() == before and present(store) == [1, 2, 3, 4, 5, 6, 7]
    real = gc(store, keep=2)
    assert (real.versions, real.bytes_freed) == (dry.versions, dry.bytes_freed)
    assert real.bytes_freed > 0
    assert present(store) == [1, 6, 7]


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize("harm", ["lost", "other"])
def test_a_journal_with_a_hole_that_a_snapshot_bridges_removes_nothing(
    store: Store, clock: Turned, harm: str, dry_run: bool
) -> None:
    store.snapshot()
    event = store.root / "journal" / f"{5:010}.json"
    if harm == "lost":
        event.unlink()
    else:
        event.chmod(0o644)
        event.write_bytes((event.parent / f"{4:010}.json").read_bytes())
    reader = Store.open(store.root, clock=clock, new_id=new_id)
    before = present(store)
    assert reader.state().seq == store.state().seq, "the snapshot bridges it"
    with pytest.raises(Corrupt, match="Nothing is removed"):
        gc(reader, keep=1, dry_run=dry_run)
    assert present(store) == before
    assert not any(record.state is VersionState.REMOVED for record in reader.state().versions.values())


def test_the_history_and_the_numbers_stay(store: Store, tmp_path: Path, clock: Turned) -> None:
    before = version_detail(store, Version(3)).manifest
    gc(store, keep=0)
    fresh = Store.open(store.root, clock=clock, new_id=new_id)
    assert version_detail(fresh, Version(3)).manifest == before
    assert [row.version for row in versions(fresh)] == [7, 6, 5, 4, 3, 2, 1]
    last = history(fresh)[-1]
    assert (last.kind, last.actor, last.why) == ("removed", "alice via cli", "space")
    assert last.what == "versions 6, 5, 4, 3, 2: removed to save space"
    fresh.refresh_views()
    assert sorted(path.name for path in (fresh.root / "versions").iterdir()) == ["000001", "000007"]
    assert fresh.publish(write_draft(tmp_path / "again", b"3"), note="", actor="test") == 8
    assert present(fresh) == [1, 7, 8], "what was removed is not shared, it is stored anew"


def test_what_undo_needs_and_what_is_loaded_stays(store: Store) -> None:
    start_canary(store, Version(7))
    commands.promote(store, actor="test", reason="test", confirm=True)
    loaded = store.state().versions[Version(4)].digest
    store.put_replica(Replica(replica="r-1", time=1.0, seq=store.state().seq, loaded=(loaded,)))
    report = gc(store, keep=0)
    assert removed(report) == [6, 5, 3, 2]
    why = {fate.version: fate.why for fate in report.versions}
    assert why[Version(1)] == "undo would bring it back"
    assert why[Version(4)] == "a replica has it loaded"
    commands.undo(store, actor="test")
    store.refresh_views()
    assert store.state().current == 1
    store.verify(store.state().versions[Version(1)].digest)


def test_a_shared_artifact_stays_as_long_as_one_version_has_it(store: Store, tmp_path: Path) -> None:
    twin = store.publish(write_draft(tmp_path / "twin", b"2"), note="", actor="test")
    digest = store.state().versions[twin].digest
    assert digest == store.state().versions[Version(2)].digest
    gc(store, keep=0)
    assert store.state().versions[Version(2)].state is VersionState.REMOVED
    store.verify(digest)


def test_a_kill_after_the_event_is_made_good_by_the_next_one(store: Store) -> None:
    versions = (Version(2), Version(3))
    store.remove_versions(versions, actor="test", reason="killed behind this")
    assert present(store) == [1, 2, 3, 4, 5, 6, 7]
    report = gc(store, keep=10)
    assert removed(report) == []
    assert report.bytes_freed > 0
    assert present(store) == [1, 4, 5, 6, 7]


def test_orphans_go_when_nobody_can_be_publishing_them(store: Store, clock: Turned) -> None:
    orphan = store.root / "artifacts" / ("e" * 64)
    orphan.mkdir()
    (orphan / "manifest.json").write_text("{}")
    assert gc(store, keep=10).orphans == ()
    for path in (orphan / "manifest.json", orphan):
        os.utime(path, (clock.now - 90_000, clock.now - 90_000))
    assert gc(store, keep=10).orphans == ("e" * 64,)
    assert not orphan.exists()


def test_a_removed_version_starts_no_rollout(store: Store) -> None:
    gc(store, keep=0)
    with pytest.raises(Conflict, match="its state is removed"):
        commands.start(store, Version(3), policy=Policy(), actor="test")
    with pytest.raises(NotFound):
        store.artifact(store.state().versions[Version(3)].digest)


def test_who_starts_a_rollout_first_wins(store: Store) -> None:
    store.append(RolloutStarted(rollout=6, version=Version(3), policy=Policy()), actor="a", reason="r")
    with pytest.raises(Conflict, match="Cannot remove version 3: rollout 6 needs it"):
        store.remove_versions((Version(2), Version(3)), actor="a", reason="r")
    assert not [event for event in store.events() if isinstance(event.body, Removed)]


def test_a_publisher_that_shares_what_is_removed_meanwhile_stores_it_anew(
    store: Store, tmp_path: Path, clock: Turned
) -> None:
    """The removal falls between the publisher's look and its event."""
    shared = store.state().versions[Version(2)].digest
    looks = 0

    def interfering() -> float:
        nonlocal looks
        looks += 1
        if looks == 3:  # opening, the look for a twin, the event
            gc(store, keep=0)
        return clock.now

    publisher = Store.open(store.root, clock=interfering, new_id=new_id)
    version = publisher.publish(write_draft(tmp_path / "late", b"2"), note="", actor="test")
    assert looks > 3 and store.state().versions[Version(2)].state is VersionState.REMOVED
    digest = store.state().versions[version].digest
    assert digest != shared
    store.verify(digest)


def test_a_removal_between_the_choice_to_share_and_the_event_is_seen(
    store: Store, tmp_path: Path, clock: Turned
) -> None:
    """Signing is the last that a publisher does before it decides to share; the removal falls there."""
    shared = store.state().versions[Version(2)].digest
    signed = 0

    def interfering(manifest: Manifest) -> Manifest:
        nonlocal signed
        signed += 1
        if signed == 2:  # the twin is compared with what this draft would have become
            store.remove_versions((Version(2),), actor="somebody else", reason="space")
        return manifest

    publisher = Store.open(store.root, clock=clock, new_id=new_id)
    draft = write_draft(tmp_path / "late", b"2")
    version = publisher.publish(draft, note="", actor="test", sign=interfering)
    assert signed > 2, "it stored the draft anew"
    assert store.collect().keys() == {shared}
    store.verify(store.state().versions[version].digest)


def fate(report: Collected, version: int) -> str:
    return next(one.why for one in report.versions if one.version == version and not one.remove)


def test_a_heartbeat_that_cannot_be_read_keeps_every_version(store: Store) -> None:
    store.remove_versions((Version(2),), actor="test", reason="killed behind this")
    torn = store.root / "replicas" / "r-1.json"
    store.put_replica(Replica(replica="r-1", time=1.0, seq=store.state().seq))
    torn.write_bytes(torn.read_bytes()[:40])
    report = gc(store, keep=0)
    assert removed(report) == [] and present(store) == [1, 3, 4, 5, 6, 7]
    assert report.bytes_freed > 0, "what is removed already needs nobody's heartbeat"
    assert str(torn) in fate(report, 3) and "store check --repair" in fate(report, 3)
    assert [one.repaired for one in store.check(repair=True) if one.name == str(torn)] == [True]
    assert removed(gc(store, keep=0)) == [6, 5, 4, 3]


def test_what_a_replica_is_loading_stays(store: Store) -> None:
    state = store.state()
    digest = state.versions[Version(4)].digest
    store.put_replica(Replica(replica="r-1", time=1.0, seq=state.seq, loading=(digest,)))
    report = gc(store, keep=0)
    assert removed(report) == [6, 5, 3, 2] and fate(report, 4) == "a replica is loading it"


def test_what_a_replica_may_have_begun_to_load_since_its_heartbeat_stays(store: Store) -> None:
    """It was last heard of when version 5 was not the canary yet; that it is one no more it may not know."""
    before = next(
        event.seq
        for event in store.events()
        if event.body == RolloutStarted(rollout=4, version=Version(5), policy=Policy())
    )
    store.put_replica(Replica(replica="r-1", time=1.0, seq=before))
    report = gc(store, keep=0)
    assert removed(report) == [4, 3, 2] and "r-1 may have loaded it" in fate(report, 5)
    store.put_replica(Replica(replica="r-1", time=1.0, seq=store.state().seq))
    assert removed(gc(store, keep=0)) == [6, 5]


def test_what_is_loaded_while_versions_are_chosen_stays(store: Store, clock: Turned) -> None:
    """A rollout of version 3 begins and ends, and a replica loads it, between the choice and its event."""
    digest = store.state().versions[Version(3)].digest
    looks = 0

    def interfering() -> float:
        nonlocal looks
        looks += 1
        if looks == 3:  # opening, the look for orphans, the event
            start_canary(store, Version(3))
            commands.rollback(store, actor="test", reason="test")
            store.put_replica(Replica(replica="r-1", time=1.0, seq=store.state().seq, loaded=(digest,)))
        return clock.now

    collector = Store.open(store.root, clock=interfering, new_id=new_id)
    report = gc(collector, keep=0)
    assert looks > 3 and removed(report) == [6, 5, 4, 2]
    store.verify(digest)


def test_the_fallback_of_replicas_stays(store: Store) -> None:
    """Current was brought back by undo: what served before it is what replicas load when it fails."""
    start_canary(store, Version(6))
    commands.promote(store, actor="test", reason="test", confirm=True)
    start_canary(store, Version(7))
    commands.promote(store, actor="test", reason="test", confirm=True)
    commands.undo(store, actor="test")
    assert store.state().previous is None
    report = gc(store, keep=0)
    assert "fall back to it" in fate(report, 1) and removed(report) == [7, 5, 4, 3, 2]
