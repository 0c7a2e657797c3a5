import json
import os
import shutil
import time
from pathlib import Path

import pytest

from serinus.core.enums import VersionState
from serinus.core.errors import Corrupt, InvalidInput, NotFound
from serinus.core.ids import Digest, Version
from serinus.store import Store
from serinus.store.publish import Artifacts
from tests.store.drafts import METRICS, Ticks, names, new_id, write_draft


def digest_of(store: Store, version: Version) -> Digest:
    return store.state().versions[version].digest


def everything(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*"))


def overwrite(path: Path, data: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(data)


def test_a_published_version_is_whole_and_read_only(store: Store, draft: Path, clock: Ticks) -> None:
    version = store.publish(draft, note="first", actor="alice")
    record = store.state().versions[version]
    assert (record.version, record.state, record.note) == (1, VersionState.PUBLISHED, "first")
    folder = store.artifact(record.digest)
    assert folder == store.root / "artifacts" / record.digest
    assert {str(path.relative_to(folder)) for path in everything(folder)} == {
        "manifest.json",
        "model.onnx",
        "best.pt",
        "best.json",
        "training",
        "training/results.csv",
    }
    assert {path.stat().st_mode & 0o777 for path in everything(folder) if path.is_file()} == {0o444}
    assert {path.stat().st_mode & 0o777 for path in (folder, folder / "training")} == {0o555}
    manifest = store.manifest(record.digest)
    assert (manifest.note, manifest.created, manifest.metrics) == ("first", clock.now, METRICS)
    assert manifest.files["model.onnx"].size == 5
    assert json.loads((folder / "manifest.json").read_text())["files"].keys() == manifest.files.keys()
    store.verify(record.digest)
    assert (draft / "contract.json").exists(), "the draft stays the caller's"
    (event,) = store.events()
    assert (event.actor, event.reason) == ("alice", "version 1 published: first")


def test_numbers_rise_and_content_is_shared(store: Store, draft: Path, clock: Ticks, tmp_path: Path) -> None:
    first = store.publish(draft, note="same", actor="a")
    clock.now += 60
    again = store.publish(draft, note="same", actor="b")
    other_note = store.publish(draft, note="other", actor="b")
    other = store.publish(write_draft(tmp_path / "other", b"other graph"), note="same", actor="b")
    assert [first, again, other_note, other] == [1, 2, 3, 4]
    digests = [digest_of(store, version) for version in (first, again, other_note, other)]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3
    assert sorted(names(store.root / "artifacts")) == sorted(set(digests))


def test_damaged_content_is_not_shared(store: Store, draft: Path, clock: Ticks) -> None:
    first = digest_of(store, store.publish(draft, note="", actor="a"))
    overwrite(store.artifact(first) / "model.onnx", b"GRAPH")
    clock.now += 1
    second = digest_of(store, store.publish(draft, note="", actor="a"))
    assert second != first
    store.verify(second)


def test_damaged_content_is_not_shared_within_one_moment_either(store: Store, draft: Path) -> None:
    first = digest_of(store, store.publish(draft, note="", actor="a"))
    overwrite(store.artifact(first) / "model.onnx", b"GRAPH")
    second = digest_of(store, store.publish(draft, note="", actor="a"))
    assert second != first
    store.verify(second)


def orphan(store: Store, draft: Path) -> Path:
    """What a publisher that was killed before its event leaves."""
    digest, _ = Artifacts(store.backend).add(draft, note="", now=time.time(), state=store.state())
    return store.root / "artifacts" / digest


def test_a_repeated_publication_takes_up_what_the_first_one_left(root: Path, draft: Path) -> None:
    store = Store.open(root, clock=time.time, new_id=new_id)
    left = orphan(store, draft)
    assert digest_of(store, store.publish(draft, note="", actor="a")) == left.name
    assert names(root / "artifacts") == [left.name]


def test_what_may_be_collected_is_not_taken_up(root: Path, draft: Path) -> None:
    store = Store.open(root, clock=time.time, new_id=new_id)
    left = orphan(store, draft)
    then = time.time() - 13 * 3600
    for path in (left, *left.rglob("*")):
        os.utime(path, (then, then))
    assert digest_of(store, store.publish(draft, note="", actor="a")) != left.name


def test_a_damaged_orphan_is_named_and_gets_no_event(root: Path, draft: Path) -> None:
    store = Store.open(root, clock=time.time, new_id=new_id)
    left = orphan(store, draft)
    overwrite(left / "model.onnx", b"GRAPH")
    with pytest.raises(Corrupt, match=r"model\.onnx is not what was published"):
        store.publish(draft, note="", actor="a")
    assert names(root / "artifacts") == [left.name]
    assert len(store.state().versions) == 0


def test_the_initial_version_is_published_once(store: Store, draft: Path, tmp_path: Path) -> None:
    assert store.publish(draft, note="base", actor="up", initial=True) == 1
    assert store.state().current == 1
    assert store.publish(draft, note="v2", actor="train") == 2
    other = write_draft(tmp_path / "other", b"other graph")
    assert store.publish(other, note="base", actor="up", initial=True) == 1
    assert len(store.state().versions) == 2
    assert len(names(store.root / "artifacts")) == 2


@pytest.mark.parametrize("fault", ["no model", "no contract", "link", "pipe", "manifest", "nothing there"])
def test_a_bad_draft_leaves_no_trace(store: Store, draft: Path, fault: str) -> None:
    if fault == "no model":
        (draft / "model.onnx").unlink()
    elif fault == "no contract":
        (draft / "contract.json").unlink()
    elif fault == "link":
        (draft / "training" / "curve.png").symlink_to("/etc/hostname")
    elif fault == "pipe":
        os.mkfifo(draft / "training" / "pipe")
    elif fault == "manifest":
        (draft / "manifest.json").write_text("{}")
    else:
        shutil.rmtree(draft)
    with pytest.raises(InvalidInput):
        store.publish(draft, note="", actor="a")
    assert names(store.root / "artifacts") == []
    assert store.state().seq == 0


@pytest.mark.parametrize("name", ["model.onnx", "best.pt", "training/results.csv", "manifest.json"])
def test_a_changed_byte_is_found_and_its_file_named(store: Store, draft: Path, name: str) -> None:
    digest = digest_of(store, store.publish(draft, note="", actor="a"))
    path = store.artifact(digest) / name
    data = bytearray(path.read_bytes())
    for position in (0, len(data) // 2, len(data) - 1):
        bad = bytearray(data)
        bad[position] ^= 1
        overwrite(path, bytes(bad))
        with pytest.raises(Corrupt, match=f"{path} is not what was published"):
            store.verify(digest)
    overwrite(path, bytes(data))
    store.verify(digest)


def test_a_changed_manifest_is_never_used(store: Store, draft: Path) -> None:
    digest = digest_of(store, store.publish(draft, note="", actor="a"))
    path = store.artifact(digest) / "manifest.json"
    overwrite(path, path.read_bytes().replace(b"256", b"512"))
    fresh = Store(store.root, clock=Ticks(), new_id=new_id)
    with pytest.raises(Corrupt, match=f"{path} is not what was published"):
        fresh.manifest(digest)


@pytest.mark.parametrize("kind", ["missing", "truncated", "extra", "link"])
def test_other_damage_is_named(store: Store, draft: Path, kind: str) -> None:
    digest = digest_of(store, store.publish(draft, note="", actor="a"))
    folder = store.artifact(digest)
    folder.chmod(0o755)
    if kind == "missing":
        (folder / "best.pt").unlink()
    elif kind == "truncated":
        overwrite(folder / "best.pt", b"")
    elif kind == "extra":
        (folder / "best.pt~").write_bytes(b"")
    else:
        (folder / "best.pt").rename(folder / "elsewhere")
        (folder / "best.pt").symlink_to("elsewhere")
    with pytest.raises(Corrupt, match=r"best\.pt"):
        store.verify(digest)


@pytest.mark.parametrize("digest", ["0" * 64, "../journal", "", "current", "A" * 64])
def test_an_artifact_that_is_not_there(store: Store, digest: str) -> None:
    for ask in (store.artifact, store.manifest, store.verify):
        with pytest.raises(NotFound, match="no artifact"):
            ask(Digest(digest))


def test_old_leftovers_are_swept_and_young_ones_kept(root: Path, draft: Path) -> None:
    clock = Ticks(10_000_000.0)
    store = Store.open(root, clock=clock, new_id=new_id)
    store.publish(draft, note="", actor="a")
    kept = everything(root)
    old, young = clock.now - 3700, clock.now - 3500
    for folder in (root / "artifacts", root / "views"):
        for name, age in ((".tmp-old", old), (".tmp-young", young)):
            (folder / name / "training").mkdir(parents=True)
            (folder / name / "training" / "half").write_bytes(b"x")
            for path in (folder / name / "training" / "half", folder / name / "training", folder / name):
                os.utime(path, (age, age))
            (folder / name).chmod(0o555)
    (root / ".tmp" / "half").write_bytes(b"half")
    os.utime(root / ".tmp" / "half", (old, old))
    Store.open(root, clock=clock, new_id=new_id)
    left = sorted(set(everything(root)) - set(kept))
    assert {path.relative_to(root).parts[:2] for path in left} == {
        ("artifacts", ".tmp-young"),
        ("views", ".tmp-young"),
    }
