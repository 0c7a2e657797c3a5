"""What a start sweeps: what killed writers left, never what somebody is still at, however long."""

import os
import subprocess
import sys
import time
from pathlib import Path

from serinus.store import Store
from tests.store.drafts import names, new_id
from tests.store.places import open_store

_HOURS = 7200.0
_WRITER = (
    "import sys; from pathlib import Path; from tests.store.places import open_store\n"
    "disk = open_store(Path(sys.argv[1]))._disk\n"
    "with disk.temporary_tree(Path(sys.argv[1]) / 'artifacts' / 'x') as tree:\n"
    "    (tree / 'half').write_bytes(b'half'); print('there', flush=True); sys.stdin.readline()\n"
    "    print(disk.publish_tree(tree, Path(sys.argv[1]) / 'artifacts' / 'x'), flush=True)\n"
)


def writer(root: Path) -> subprocess.Popen[str]:
    """A process in the middle of filling a tree."""
    process = subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "there\n"
    return process


def later(root: Path) -> Store:
    """Another process that starts two hours after anything was touched."""
    for path in [*root.rglob(".tmp-*"), *root.rglob(".tmp-*/*"), *(root / ".tmp").iterdir()]:
        os.utime(path, (time.time() - _HOURS,) * 2)
    return open_store(root)


def leftovers(store: Store) -> list[str]:
    return [found.name for found in store.check() if found.kind == "leftover"]


def test_a_tree_that_somebody_still_fills_stays(root: Path) -> None:
    process = writer(root)
    store = later(root)
    assert [name for name in names(root / "artifacts") if name.startswith(".tmp-")]
    assert leftovers(store) == []
    told, _ = process.communicate("go on\n")
    assert told == "True\n" and (root / "artifacts" / "x" / "half").read_bytes() == b"half"
    assert names(root / ".tmp") == [], "its sign of life is gone"


def test_a_tree_whose_writer_was_killed_goes(root: Path) -> None:
    process = writer(root)
    process.kill()
    process.wait()
    for path in [*root.rglob(".tmp-*"), *root.rglob(".tmp-*/*"), *(root / ".tmp").iterdir()]:
        os.utime(path, (time.time() - _HOURS,) * 2)
    assert len(leftovers(Store.look(root, clock=time.time, new_id=new_id))) == 2, "the tree and its sign"
    later(root)
    assert names(root / "artifacts") == [] and names(root / ".tmp") == []
