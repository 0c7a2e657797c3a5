"""The newest part of the journal is gone: by hand, or with a volume; what is left of it tells."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from serinus.core.enums import ReasonCode, RolloutPhase
from serinus.core.errors import Conflict, Corrupt, InvalidInput
from serinus.core.ids import Version
from serinus.rollout.events import Lost, RolledBack, ShareChanged
from serinus.store import Store
from serinus.store.checking import Finding, Kind, Severity
from serinus.store.journal import Journal
from serinus.store.sealed import seal
from serinus.store.witness import snapshot_seqs
from tests.store.drafts import names, start_canary
from tests.store.test_checking import age, event, flip, overwrite, remove
from tests.store.whole import fill, findings, notable, open_store, publish

WITNESSES = [
    "snapshot",
    "damaged snapshot",
    "routes",
    "replica",
    "evidence",
    "observations",
    "view",
    "version",
]


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    return fill(open_store(folder / "models"), folder / "drafts").root


@pytest.fixture
def root(pristine: Path, tmp_path: Path) -> Path:
    shutil.copytree(pristine, tmp_path / "models", symlinks=True)
    return tmp_path / "models"


@pytest.fixture
def backup(pristine: Path, tmp_path: Path) -> Store:
    shutil.copytree(pristine, tmp_path / "backup", symlinks=True)
    return open_store(tmp_path / "backup")


def cut(root: Path, count: int = 3) -> int:
    """Takes the newest events away; gives the number of the last that is left.

    Three of them are: version 5 is published, its rollout starts, it becomes the canary.
    """
    end = open_store(root).state().seq
    for seq in range(end - count + 1, end + 1):
        remove(event(open_store(root), seq))
    return end - count


def leave(root: Path, witness: str) -> Path:
    """Takes away whatever tells of the lost part but one; gives that."""
    snapshot = max((root / "journal" / "snapshots").iterdir())
    kept = {
        "snapshot": snapshot,
        "damaged snapshot": snapshot,
        "routes": root / "routes.json",
        "replica": root / "replicas" / "infer-0-ab.json",
        "evidence": root / "evidence" / "4",
        "observations": root / "observations" / "4",
        "view": root / (root / "canary").readlink(),
        "version": root / "versions" / "000005",
    }
    for path in {*kept.values(), *(root / "views").iterdir()} - {kept[witness]}:
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
            shutil.rmtree(path)
        else:
            path.unlink()
    if witness == "damaged snapshot":
        flip(snapshot)
    return kept[witness]


def errors(found: list[Finding]) -> list[Finding]:
    return [one for one in found if one.severity is Severity.ERROR and not one.repaired]


def journal(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "journal").glob("*.json"))


# -- appending -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("witness", ["snapshot", "damaged snapshot", "routes"])
def test_nothing_is_appended_where_later_events_are_known(root: Path, tmp_path: Path, witness: str) -> None:
    end = cut(root)
    name = leave(root, witness)
    store, left = open_store(root), journal(root)
    assert store.state().seq == end and store.state().current == 2, "what is left serves on"
    with pytest.raises(Corrupt, match=f"ends with event {end}, but {name} names event {end + 3}") as caught:
        publish(store, tmp_path, "sixth")
    assert "--from" in (caught.value.remedy or "") and "accept-loss" in (caught.value.remedy or "")
    with pytest.raises(Corrupt):
        store.remove_versions((Version(4),), actor="test", reason="old")
    assert journal(root) == left


def hole(root: Path, count: int = 8) -> int:
    """Takes `count` events away before the newest, which is left as the only one that tells; gives the last
    before them. At no distance 2, 4, 8 ... from it is there one."""
    end = open_store(root).state().seq - count - 1
    for seq in range(end + 1, end + 1 + count):
        remove(event(open_store(root), seq))
    for folder in ("journal/snapshots", "replicas", "views"):
        shutil.rmtree(root / folder)
    (root / "routes.json").unlink()
    return end


def test_nothing_is_appended_where_a_later_event_is(root: Path, tmp_path: Path) -> None:
    end = hole(root)
    store, left = open_store(root), journal(root)
    last = event(store, end + 9)
    assert store.state().seq == end and store.lost()
    for _ in range(2):
        with pytest.raises(Corrupt, match=f"ends with event {end}, but {last} is event {end + 9}") as caught:
            publish(store, tmp_path, "sixth")
    assert "--from" in (caught.value.remedy or "") and "move it away" in (caught.value.remedy or "")
    assert journal(root) == left


def test_a_later_event_is_no_loss_once_the_one_between_is_there(root: Path) -> None:
    """Two others append between this one's look at the end and at the names."""
    slow, fast = open_store(root), open_store(root)
    state = slow.state()
    for share in (0.1, 0.3):
        fast.append(ShareChanged(rollout=4, share=share), actor="fast", reason="")
    Journal(slow.backend).refuse_loss(state)
    assert not slow.lost()


def test_a_later_event_is_folded_and_restored(root: Path, backup: Store) -> None:
    end = hole(root)
    (found,) = [one for one in errors(findings(open_store(root))) if "/journal/" in one.name]
    assert (found.kind, found.name) == (Kind.MISSING, str(event(open_store(root), end + 1)))
    assert f"Events {end + 1} to {end + 8} are missing; later ones are there." in found.words
    findings(open_store(root), repair=True, other=backup)
    assert open_store(root).state() == backup.state()
    assert errors(findings(open_store(root))) == []


def test_a_hole_is_not_filled_from_another_history(root: Path, backup: Store, tmp_path: Path) -> None:
    served = backup.state().seq
    end = hole(root)
    for path in ("journal/snapshots", "replicas", "views", "evidence/4", "observations/4"):
        shutil.rmtree(backup.root / path, ignore_errors=True)
    (backup.root / "routes.json").unlink()
    for seq in range(served - 2, served + 1):
        remove(event(backup, seq))
    other = open_store(backup.root)
    for content in ("a", "b", "c"):
        publish(other, tmp_path, content)
    found = findings(open_store(root), repair=True, other=other)
    assert Kind.MISSING in {one.kind for one in errors(found)}
    assert journal(root)[-1] == f"{served:010d}.json" and not event(open_store(root), end + 1).exists()


def test_a_hole_is_accepted_and_what_it_cut_off_is_kept(root: Path, tmp_path: Path) -> None:
    end = hole(root)
    events = open_store(root).accept_loss(actor="alice", reason="no backup")
    lost = [one.seq for one in events if isinstance(one.body, Lost)]
    assert lost == list(range(end + 1, end + 10))
    assert [path.name for path in (root / "lost+found").rglob("*.json")] == [f"{end + 9:010d}.json"]
    assert [one for one in errors(findings(open_store(root))) if "/journal/" in one.name] == []
    assert publish(open_store(root), tmp_path, "next") > 5


def test_a_loss_that_is_accepted_in_part_lets_nothing_be_appended(root: Path, tmp_path: Path) -> None:
    """Killed after the first; nothing else tells any more."""
    end = hole(root)
    remove(event(open_store(root), end + 9))
    open_store(root).append(Lost(through=end + 9, witness="x"), actor="alice", reason="broken")
    with pytest.raises(Corrupt, match="accept-loss` was interrupted"):
        publish(open_store(root), tmp_path, "next")
    events = open_store(root).accept_loss(actor="alice", reason="broken")
    assert [one.seq for one in events if isinstance(one.body, Lost)] == list(range(end + 2, end + 10))
    publish(open_store(root), tmp_path, "next")


@pytest.mark.parametrize("witness", ["snapshot", "routes"])
def test_a_loss_is_said_once_to_who_reads(root: Path, witness: str, caplog: pytest.LogCaptureFixture) -> None:
    end = cut(root)
    name = leave(root, witness)
    store = open_store(root)
    for _ in range(2):
        assert store.state().seq == end and store.lost()
    (said,) = caplog.messages
    assert f"ends with event {end}, but {name} names event {end + 3}" in said
    assert "Remove it" not in said and "accept-loss" in said


def test_a_snapshot_beyond_the_end_is_the_proof(root: Path) -> None:
    end = cut(root)
    snapshot = leave(root, "snapshot")
    with pytest.raises(Corrupt, match="newest part of the journal is lost") as caught:
        Journal(open_store(root).backend).read_snapshot(end + 3)
    assert str(snapshot) in caught.value.message
    assert "Do not remove it" in (caught.value.remedy or "")
    flip(snapshot)
    with pytest.raises(Corrupt, match="not what was written") as caught:
        Journal(open_store(root).backend).read_snapshot(end + 3)
    assert "short cut" in (caught.value.remedy or "") and "backup" not in (caught.value.remedy or "")


def test_artifacts_of_lost_versions_are_not_collected(root: Path) -> None:
    lost = open_store(root).state().versions[Version(5)].digest
    cut(root)
    age(root / "artifacts" / lost, 48)
    with pytest.raises(Corrupt, match="the newest part is lost"):
        open_store(root).collect()
    assert (root / "artifacts" / lost / "model.onnx").exists()


def test_a_running_process_misses_what_it_has_read(root: Path) -> None:
    running = open_store(root)
    end = running.state().seq
    cut(root)
    for witness in ("routes.json", "journal/snapshots"):
        path = root / witness
        path.unlink() if path.is_file() else shutil.rmtree(path)
    with pytest.raises(Corrupt, match=f"{event(running, end)} is missing: this process has read it"):
        running.append(ShareChanged(rollout=4, share=0.1), actor="test", reason="less")
    assert not event(running, end + 1).exists()


def test_a_running_process_does_not_follow_another_history(root: Path) -> None:
    running = open_store(root)
    end = running.state().seq
    cut(root, 1)
    open_store(root).accept_loss(actor="alice", reason="no backup")
    for seq in range(end + 1, open_store(root).state().seq + 1):
        remove(event(running, seq))
    with pytest.raises(Corrupt, match=f"{event(running, end)} is another one than this process has read"):
        running.append(ShareChanged(rollout=4, share=0.1), actor="test", reason="less")
    assert not event(running, end + 1).exists()


def test_whoever_appends_and_tells_at_once_is_no_loss(root: Path) -> None:
    """The other one's snapshot is seen before its event was read."""
    slow, fast = open_store(root), open_store(root)
    state = slow.state()
    fast.append(ShareChanged(rollout=4, share=0.1), actor="fast", reason="less")
    fast.snapshot()
    Journal(slow.backend).refuse_loss(state)
    stored = slow.append(ShareChanged(rollout=4, share=0.2), actor="slow", reason="more")
    assert stored.seq == state.seq + 2


def test_a_publication_that_is_refused_stores_nothing(root: Path, tmp_path: Path) -> None:
    cut(root)
    store = open_store(root)
    before = names(root / "artifacts")
    with pytest.raises(Corrupt, match="the newest part is lost"):
        publish(store, tmp_path / "drafts", "a model that nobody has seen")
    assert names(root / "artifacts") == before


def test_a_shorter_history_is_not_copied_as_if_it_were_whole(root: Path, tmp_path: Path) -> None:
    cut(root)
    with pytest.raises(Corrupt, match="the newest part is lost"):
        open_store(root).copy_to(open_store(tmp_path / "copy"))


# -- checking and restoring ----------------------------------------------------------------------------------


@pytest.mark.parametrize("witness", WITNESSES)
def test_what_tells_of_the_lost_part_is_named_and_kept(root: Path, backup: Store, witness: str) -> None:
    end = cut(root)
    path = leave(root, witness)
    for repair in (False, True, False):
        (found,) = errors(findings(open_store(root), repair=repair))
        assert (found.kind, found.name) == (Kind.LOST, str(root / "journal" / f"{end + 1:010d}.json"))
        assert str(path) in found.words and not found.repairable
        assert path.exists() or path.is_symlink(), "a repair leaves what tells of the loss"

    findings(open_store(root), repair=True, other=backup)
    state = open_store(root).state()
    if witness == "version":
        assert state.seq == end + 1, "what is known to have happened, and nothing beyond it"
    else:
        assert state == backup.state()
    assert notable(findings(open_store(root))) == []


def test_a_backup_that_is_older_does_not_restore_half_a_tail(root: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(root, old, symlinks=True)
    shutil.rmtree(old / "journal" / "snapshots")
    cut(old, 2)
    end = cut(root)
    findings(open_store(root), repair=True, other=open_store(old))
    left = [one for one in findings(open_store(root)) if one.kind is Kind.LOST]
    assert left[0].name == str(root / "journal" / f"{end + 2:010d}.json"), (
        "what it has is back, the rest is said"
    )


def test_another_history_is_not_taken_for_the_lost_part(root: Path, backup: Store, tmp_path: Path) -> None:
    """Somebody served from the backup: its events follow ours, and are not those that were lost."""
    end = cut(root)
    shutil.rmtree(backup.root / "journal" / "snapshots")
    (backup.root / "routes.json").unlink()
    for seq in range(end + 1, end + 4):
        remove(event(backup, seq))
    served = open_store(backup.root)
    for content in ("a", "b", "c", "d"):
        publish(served, tmp_path, content)
    found = findings(open_store(root), repair=True, other=served)
    assert [one.kind for one in errors(found)] == [Kind.LOST]
    assert open_store(root).state().seq == end


def test_a_backup_that_is_ahead_is_said(root: Path, backup: Store) -> None:
    end = cut(root)
    for folder in ("journal/snapshots", "replicas", "evidence/4", "observations/4", "views"):
        shutil.rmtree(root / folder)
    (root / "routes.json").unlink()
    open_store(root).refresh_views()
    assert notable(findings(open_store(root))) == [], "nothing here tells"
    (found,) = notable(findings(open_store(root), other=backup))
    assert (found.severity, found.kind) == (Severity.WARNING, Kind.LOST)
    assert f"ends with event {end}; {backup.root / 'journal'} goes on" in found.words
    backup.copy_to(open_store(root))
    assert open_store(root).state() == backup.state(), "as the remedy says"


# -- snapshots -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", [flip, remove], ids=["changed", "missing"])
def test_a_snapshot_of_a_damaged_event_stays(root: Path, damage: Callable[[Path], None]) -> None:
    snapshot = min((root / "journal" / "snapshots").iterdir())
    damage(root / "journal" / snapshot.name)
    findings(open_store(root), repair=True)
    assert snapshot.exists()


def test_a_snapshot_tells_that_its_event_was_rewritten(root: Path) -> None:
    snapshot = max((root / "journal" / "snapshots").iterdir())
    path = root / "journal" / snapshot.name
    document = json.loads(path.read_bytes())
    del document["check"]
    document["reason"] = "rewritten by somebody who knows how to seal"
    overwrite(path, seal(json.dumps(document).encode()))
    found = next(one for one in findings(open_store(root)) if one.name == str(snapshot))
    assert (found.severity, found.kind) == (Severity.ERROR, Kind.SNAPSHOT)
    assert "another one" in found.words


# -- going on without ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("witness", ["snapshot", "routes", "replica", "evidence"])
def test_the_loss_is_accepted_and_no_number_is_given_twice(root: Path, tmp_path: Path, witness: str) -> None:
    end = cut(root, 3)
    snapshot = leave(root, witness)
    store = open_store(root)
    before = store.state()
    events = store.accept_loss(actor="alice", reason="the volume broke")
    filled = 1 if witness == "evidence" else 3
    assert [one.seq for one in events] == list(range(end + 1, end + 1 + filled))
    assert all(isinstance(one.body, Lost) and one.body.through == end + filled for one in events)
    assert {(one.actor, one.reason) for one in events} == {("alice", "the volume broke")}
    after = open_store(root).state()
    assert (after.current, after.next_version) == (2, before.next_version + filled)
    assert after.rollouts == before.rollouts + filled
    if witness == "snapshot":
        assert not snapshot.exists()
        assert [path.name for path in (root / "lost+found").rglob("*.json")] == [snapshot.name]
    assert errors(findings(open_store(root))) == []
    version = publish(store, tmp_path, "sixth")
    assert version == before.next_version + filled
    assert start_canary(store, version) == before.rollouts + filled + 1
    assert store.last_frozen(store.state().rollouts) is None, "not the evidence of a lost rollout"
    assert open_store(root).state() == store.state()


def test_the_active_rollout_ends_with_the_loss(root: Path) -> None:
    end = open_store(root).state().seq
    store = open_store(root)
    for share in (0.1, 0.2):
        store.append(ShareChanged(rollout=4, share=share), actor="test", reason="")
    store.snapshot()
    for seq in (end + 1, end + 2):
        remove(event(store, seq))
    events = open_store(root).accept_loss(actor="alice", reason="the volume broke")
    assert [type(one.body) for one in events] == [Lost, Lost, RolledBack]
    state = open_store(root).state()
    assert state.rollout is None and state.last is not None
    assert (state.last.phase, state.last.code) == (RolloutPhase.ROLLED_BACK, ReasonCode.MANUAL)
    assert "the volume broke" in state.last.reason
    assert errors(findings(open_store(root))) == []


def test_what_was_cut_off_goes_on(root: Path) -> None:
    """Killed after the first of three."""
    end = cut(root)
    store = open_store(root)
    first = Lost(through=end + 3, witness="x")
    store.append(first, actor="alice", reason="the volume broke")
    with pytest.raises(Corrupt):
        store.remove_versions((Version(4),), actor="test", reason="old")
    events = open_store(root).accept_loss(actor="alice", reason="the volume broke")
    assert [one.seq for one in events] == [end + 2, end + 3]


def test_there_is_nothing_to_accept(root: Path) -> None:
    with pytest.raises(Conflict, match="Nothing names an event"):
        open_store(root).accept_loss(actor="alice", reason="")


def test_a_foreign_number_is_no_loss(root: Path) -> None:
    store = open_store(root)
    path = root / "journal" / "snapshots" / "0009999999.json"
    path.write_text("somebody's")
    with pytest.raises(InvalidInput, match="too far"):
        store.accept_loss(actor="alice", reason="")
    with pytest.raises(Corrupt, match=str(path)):
        store.append(ShareChanged(rollout=4, share=0.1), actor="test", reason="")
    path.unlink()
    store.append(ShareChanged(rollout=4, share=0.1), actor="test", reason="")


def test_in_a_bucket(root: Path, backup: Store, url: str, tmp_path: Path) -> None:
    near = tmp_path / "near"
    backup.copy_to(open_store(near, url))
    bucket = open_store(near, url)
    end = bucket.state().seq
    bucket.remember(bucket.state())
    for seq in range(end - 2, end + 1):
        bucket.backend.remove(f"journal/{seq:010d}.json")
    with pytest.raises(Corrupt, match=f"names event {end}"):
        open_store(near, url).remove_versions((Version(4),), actor="test", reason="old")
    for name in bucket.backend.names("journal/snapshots"):
        bucket.backend.remove(f"journal/snapshots/{name}")
    for name in bucket.backend.names("evidence/4"):
        bucket.backend.remove(f"evidence/4/{name}")
    (found,) = errors(findings(open_store(near, url)))
    assert "last-state-" in found.words and found.kind is Kind.LOST
    findings(open_store(near, url), repair=True, other=backup)
    assert open_store(near, url).state() == backup.state()
    assert errors(findings(open_store(near, url))) == []

    stray = f"journal/{end + 75:010d}.json"
    bucket.backend.replace(stray, b"somebody's", durable=True)
    with pytest.raises(Corrupt, match=f"{stray} is event {end + 75}"):
        open_store(near, url).remove_versions((Version(4),), actor="test", reason="old")
    (found,) = [one for one in errors(findings(open_store(near, url))) if one.kind is Kind.MISSING]
    assert f"Events {end + 1} to {end + 74} are missing" in found.words
    bucket.backend.remove(stray)

    bucket.snapshot()
    bucket.backend.remove(f"journal/{end:010d}.json")
    events = open_store(near, url).accept_loss(actor="alice", reason="no backup")
    assert events[0].seq == end and snapshot_seqs(bucket.backend) == []
    assert bucket.backend.files("lost+found")
    assert errors(findings(open_store(near, url))) == []
