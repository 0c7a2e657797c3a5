import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from serinus.core.errors import Misconfigured
from serinus.core.ids import Version
from serinus.store import Store, volume
from tests.store.drafts import Ticks, names, new_id, write_draft


def test_open_makes_the_folders_and_leaves_no_probe(root: Path) -> None:
    store = Store.open(root / "deep" / "models", clock=Ticks(), new_id=new_id)
    assert {"artifacts", "journal", "evidence", "views", "incoming"} <= set(names(store.root))
    assert names(store.root / ".tmp") == []
    assert Store.open(store.root, clock=Ticks(), new_id=new_id).state().seq == 0


def test_a_root_that_is_a_file(root: Path) -> None:
    root.write_bytes(b"")
    with pytest.raises(Misconfigured, match="cannot be made"):
        Store.open(root, clock=Ticks(), new_id=new_id)
    with pytest.raises(Misconfigured, match="is no folder"):
        Store.look(root, clock=Ticks(), new_id=new_id, must_exist=False)


def test_a_root_that_is_not_a_place_for_files() -> None:
    with pytest.raises(Misconfigured, match="MODEL_DIR"):
        Store.open(Path("/proc/serinus"), clock=Ticks(), new_id=new_id)


def test_each_missing_ability_is_said_in_words(tmp_path: Path) -> None:
    def refused() -> bool:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    with pytest.raises(Misconfigured, match=r"does not support hard links.*Operation not supported.*SMB"):
        volume.require("hard links", tmp_path, refused)
    with pytest.raises(Misconfigured, match="does not support renames"):
        volume.require("renames", tmp_path, lambda: False)
    volume.require("anything", tmp_path, lambda: True)


def test_the_probes_hold_on_this_disk_and_clean_up(tmp_path: Path) -> None:
    volume.check_volume(tmp_path, new_id)
    assert names(tmp_path) == []


@pytest.mark.parametrize("umask", ["022", "077"])
def test_files_are_readable_by_other_users(tmp_path: Path, umask: str) -> None:
    """Whatever the umask of who publishes; and only he may write."""
    root, draft = tmp_path / "models", write_draft(tmp_path / "draft")
    done = subprocess.run(
        [sys.executable, "-m", "tests.store.child", str(root), str(draft), "a", "1", "publish"],
        preexec_fn=lambda: os.umask(int(umask, 8)),
        input="\n",
        capture_output=True,
        check=True,
        text=True,
    )
    assert "published 1" in done.stdout
    store = Store.look(root, clock=Ticks(), new_id=new_id)
    tree = root / "artifacts" / store.state().versions[Version(1)].digest
    for path in (root, *root.rglob("*")):
        mode = stat.S_IMODE(path.stat().st_mode)
        if tree in (path, *path.parents):
            assert mode == (0o555 if path.is_dir() else 0o444), path
        elif path.name != ".reserve":
            assert mode == (0o755 if path.is_dir() else 0o644), path
    assert (root / "journal" / "0000000001.json").is_file()


def test_rights_that_the_umask_gives_a_group_stay(tmp_path: Path) -> None:
    before = os.umask(0o002)
    try:
        store = Store.open(tmp_path / "models", clock=Ticks(), new_id=new_id)
        store.publish(write_draft(tmp_path / "draft"), note="", actor="a")
    finally:
        os.umask(before)
    assert stat.S_IMODE((store.root / "journal").stat().st_mode) == 0o775
    assert stat.S_IMODE((store.root / "journal" / "0000000001.json").stat().st_mode) == 0o664
