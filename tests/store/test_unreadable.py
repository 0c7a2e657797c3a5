"""`serinus store check` by a user who may not read everything."""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from serinus.core.ids import Version
from tests.store.whole import fill, open_store


def test_what_this_user_may_not_read_is_not_called_damaged(tmp_path: Path) -> None:
    """By a user without rights, in a process of its own."""
    whole = fill(open_store(tmp_path / "models"), tmp_path / "drafts")
    model = whole.root / "artifacts" / whole.state().versions[Version(2)].digest / "model.onnx"
    closed = [model, whole.root / "replicas" / "infer-0-ab.json"]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        root = Path(folder) / "models"
        shutil.copytree(whole.root, root, symlinks=True)
        for path in closed:
            (root / path.relative_to(whole.root)).chmod(0)
        expected = {(str(root / path.relative_to(whole.root)), "unreadable") for path in closed}
        assert _as_nobody(root)[0] == expected
        event = root / "journal" / "0000000002.json"
        event.chmod(0)
        assert (str(event), "unreadable") in _as_nobody(root)[0]
        event.chmod(0o644)
        (root / "feedback").chmod(0)
        found, last = _as_nobody(root)
        assert last == (str(root / "feedback"), "unreadable") and expected >= found - {last}


def _as_nobody(root: Path) -> tuple[set[tuple[str, str]], tuple[str, str]]:
    """All findings, and the last: the file's name and the kind."""
    script = (
        "import json, os, sys, time; from pathlib import Path; from serinus.store import Store\n"
        "if os.getuid() == 0: os.setuid(65534)\n"
        "s = Store.look(Path(sys.argv[1]), clock=time.time, new_id=lambda: 'x')\n"
        "print(json.dumps([[f.name, f.kind] for f in s.check()]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(root)], capture_output=True, check=False, text=True
    )
    assert done.returncode == 0, done.stderr
    found = [(name, kind) for name, kind in json.loads(done.stdout)]
    return set(found), found[-1]
