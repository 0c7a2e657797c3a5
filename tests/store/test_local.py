import errno
import os
import threading
from pathlib import Path

import pytest

from serinus.artifact.files import copy_regular
from serinus.core.errors import InvalidInput, Misconfigured
from serinus.store import Store
from serinus.store.folder import Folder
from serinus.store.local import Disk, volume_errors
from tests.store.drafts import Ticks, frozen_slice, names, new_id, some_slice


class RecordingDisk(Disk):
    """Writes down, in order, what was synced and what was made visible."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, new_id)
        self.root = root
        self.calls: list[tuple[str, str]] = []

    def _note(self, call: str, path: Path) -> None:
        if path == self.root.parent:
            self.calls.append((call, ".."))
            return
        relative = path.relative_to(self.root)
        parts = ["TMP" if part.startswith(".tmp-") else part for part in relative.parts]
        self.calls.append((call, ".tmp/TMP" if parts[:1] == [".tmp"] else "/".join(parts)))

    def link(self, source: Path, target: Path) -> None:
        self._note("link", target)
        super().link(source, target)

    def rename(self, source: Path, target: Path) -> None:
        self._note("rename", target)
        super().rename(source, target)

    def sync(self, path: Path) -> None:
        self._note("sync", path)
        super().sync(path)


@pytest.fixture
def recorded(store: Store) -> tuple[Store, RecordingDisk]:
    disk = RecordingDisk(store.root)
    opened = Store.open(store.root, clock=Ticks(), new_id=new_id, disk=disk)
    disk.calls.clear()
    return opened, disk


def test_a_version_is_on_the_disk_before_its_event(
    recorded: tuple[Store, RecordingDisk], draft: Path
) -> None:
    store, disk = recorded
    version = store.publish(draft, note="", actor="a")
    visible = disk.calls.index(("rename", f"artifacts/{store.state().versions[version].digest}"))
    before, after = disk.calls[:visible], disk.calls[visible + 1 :]
    assert set(before) == {
        ("sync", f"artifacts/TMP/{name}")
        for name in (
            "model.onnx",
            "best.pt",
            "best.json",
            "manifest.json",
            "training/results.csv",
            "training",
        )
    } | {("sync", "artifacts/TMP")}
    assert before.index(("sync", "artifacts/TMP/training")) > before.index(
        ("sync", "artifacts/TMP/training/results.csv")
    )
    assert before[-1] == ("sync", "artifacts/TMP")
    assert after == [
        ("sync", "artifacts"),
        ("sync", ".tmp/TMP"),
        ("link", "journal/0000000001.json"),
        ("sync", "journal"),
    ]


def test_frozen_evidence_is_durable_and_observations_are_not(recorded: tuple[Store, RecordingDisk]) -> None:
    store, disk = recorded
    store.freeze(frozen_slice(1, 0, ""))
    assert disk.calls == [
        ("sync", "evidence"),
        ("sync", ".tmp/TMP"),
        ("link", "evidence/1/0000000000.json"),
        ("sync", "evidence/1"),
    ]
    store.put_observation(1, "a-b", 0, some_slice())
    disk.calls.clear()
    store.put_observation(1, "a-b", 1, some_slice())
    assert disk.calls == [("rename", "observations/1/a-b/0000000001.json")]


def test_a_durable_replace(store: Store) -> None:
    disk = RecordingDisk(store.root)
    disk.replace(store.root / "x.json", b"1", durable=True)
    assert disk.calls == [("sync", ".."), ("sync", ".tmp/TMP"), ("rename", "x.json"), ("sync", "")]
    assert (store.root / "x.json").read_bytes() == b"1"


def test_a_folder_is_synced_into_its_parent_once_whoever_made_it(store: Store) -> None:
    deep = store.root / "evidence" / "7"
    deep.mkdir()
    disk = RecordingDisk(store.root)
    disk.make_folder(deep)
    assert disk.calls == [("sync", ".."), ("sync", ""), ("sync", "evidence")]
    disk.make_folder(deep)
    disk.make_folder(deep / "more")
    assert disk.calls[3:] == [("sync", "evidence/7")]


def test_what_somebody_else_put_is_synced_before_anything_rests_on_it(
    recorded: tuple[Store, RecordingDisk], store: Store, draft: Path
) -> None:
    ours, disk = recorded
    version = store.publish(draft, note="", actor="a", initial=True)
    assert ours.state().current == version
    assert disk.calls == [("sync", "journal")]
    assert ours.publish(draft, note="again", actor="b") == version + 1
    assert disk.calls[-3:] == [
        ("sync", ".tmp/TMP"),
        ("link", "journal/0000000002.json"),
        ("sync", "journal"),
    ]
    disk.calls.clear()
    assert ours.state().seq == 2
    assert disk.calls == [], "what it put itself is durable"
    assert store.freeze(frozen_slice(1, 0, ""))
    assert ours.last_frozen(1) == store.last_frozen(1)
    assert disk.calls == [("sync", "evidence/1")]


def test_a_tree_that_is_there_is_made_durable_too(store: Store) -> None:
    final = store.root / "artifacts" / "x"
    with Disk(store.root, new_id).temporary_tree(final) as tree:
        (tree / "file").write_bytes(b"one")
        Disk(store.root, new_id).publish_tree(tree, final, durable=False)
    disk = RecordingDisk(store.root)
    with disk.temporary_tree(final) as tree:
        (tree / "file").write_bytes(b"one")
        assert not disk.publish_tree(tree, final)
        assert disk.calls[-1] == ("sync", "artifacts")


def test_what_could_not_be_tidied_up_is_no_failure(store: Store) -> None:
    """NFS says ENOENT to a removal that it gets twice."""

    class TidyDisk(Disk):
        def link(self, source: Path, target: Path) -> None:
            super().link(source, target)
            source.unlink()

    assert TidyDisk(store.root, new_id).put_if_absent(store.root / "x", b"one")
    assert (store.root / "x").read_bytes() == b"one"


def test_put_if_absent_keeps_the_first(store: Store) -> None:
    disk = Disk(store.root, new_id)
    path = store.root / "jobs" / "deep" / "x"
    assert disk.put_if_absent(path, b"one")
    assert not disk.put_if_absent(path, b"two")
    assert path.read_bytes() == b"one"
    assert path.stat().st_nlink == 1
    assert names(store.root / ".tmp") == []


def test_a_failed_link_that_left_nothing_is_raised(store: Store) -> None:
    class BrokenDisk(Disk):
        def link(self, source: Path, target: Path) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    with pytest.raises(OSError, match="Input/output"):
        BrokenDisk(store.root, new_id).put_if_absent(store.root / "x", b"one")
    assert names(store.root / ".tmp") == []


def test_a_tree_does_not_replace_another(store: Store) -> None:
    disk = Disk(store.root, new_id)
    final = store.root / "artifacts" / "x"
    for content, published in ((b"one", True), (b"two", False)):
        with disk.temporary_tree(final) as tree:
            (tree / "file").write_bytes(content)
            assert disk.publish_tree(tree, final) == published
    assert (final / "file").read_bytes() == b"one"
    assert names(store.root / "artifacts") == ["x"]


def test_a_file_that_became_a_link_is_not_copied(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/hostname")
    with pytest.raises(InvalidInput, match="became a link"):
        copy_regular(tmp_path / "link", tmp_path / "copy")


def test_what_the_operator_cannot_mend_passes(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"read-only.*nothing half-written"), volume_errors("x", tmp_path):
        raise OSError(errno.EROFS, "")
    with pytest.raises(OSError, match="odd"), volume_errors("x", tmp_path):
        raise OSError(errno.EIO, "odd")


def test_files_are_listed_while_trees_go(memory: Path) -> None:
    """Two collections at once: one sizes what the other takes away."""
    disk = Disk(memory, new_id)
    done = threading.Event()
    tree = memory / "artifacts" / "tree"

    def come_and_go() -> None:
        while not done.is_set():
            with disk.temporary_tree(tree) as temporary:
                for n in range(10):
                    (temporary / str(n)).write_bytes(b"x")
                disk.publish_tree(temporary, tree, durable=False)
            disk.discard_tree(tree)

    other = threading.Thread(target=come_and_go)
    other.start()
    whole, there, turns = {str(n): 1 for n in range(10)}, False, 0
    try:
        while turns < 20:
            seen = Folder(memory, disk).files("artifacts/tree")
            assert seen.items() <= whole.items()
            turns += there != (seen == whole)
            there = seen == whole
    finally:
        done.set()
        other.join()
