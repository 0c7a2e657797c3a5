"""Workers load as nicely as they are told, and need no right for it."""

import os
import shutil
import subprocess
import sys


def test_a_worker_of_a_nice_process_needs_no_right_to_load() -> None:
    """Only who may can take niceness back, so it is added to what there is."""
    plain: tuple[str, ...] = ()
    if os.geteuid() == 0:
        setpriv = shutil.which("setpriv")
        assert setpriv is not None
        plain = (setpriv, "--bounding-set=-sys_nice")
    nicely = ("nice", "-n", "5", sys.executable, "-m", "serinus.serving.worker_entry", "0", "no orders")
    done = subprocess.run((*plain, *nicely), capture_output=True, check=False, text=True, timeout=60)
    assert "JSON is malformed" in done.stderr
    assert "PermissionError" not in done.stderr
