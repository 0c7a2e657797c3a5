import errno
import os
import stat
from pathlib import Path

import pytest

from serinus.core.errors import Misconfigured
from serinus.store import Store, volume
from tests.store.drafts import Ticks, names, new_id


def test_open_makes_the_folders_and_leaves_no_probe(root: Path) -> None:
    store = Store.open(root / "deep" / "models", clock=Ticks(), new_id=new_id)
    assert {"artifacts", "journal", "evidence", "views", "incoming"} <= set(names(store.root))
    assert names(store.root / ".tmp") == []
    assert Store.open(store.root, clock=Ticks(), new_id=new_id).state().seq == 0


def test_a_root_that_is_a_file(root: Path) -> None:
    root.write_bytes(b"")
    with pytest.raises(Misconfigured, match="cannot be made"):
        Store.open(root, clock=Ticks(), new_id=new_id)


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


def test_files_are_readable_by_other_users(store: Store, draft: Path) -> None:
    store.publish(draft, note="", actor="a")
    for path in (store.root / "journal" / "0000000001.json", store.root / "artifacts"):
        assert path.stat().st_mode & stat.S_IROTH
