"""The controller's process."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.processes.installation import eventually


def test_its_sign_of_life_is_touched_again_and_again(tmp_path: Path) -> None:
    alive = tmp_path / "alive"
    settings = {"MODEL_DIR": str(tmp_path / "models"), "DATA_DIR": str(tmp_path), "SIGN_OF_LIFE": str(alive)}
    process = subprocess.Popen(
        [sys.executable, "-m", "serinus", "controller"], env={**os.environ, **settings}
    )
    try:
        eventually(alive.exists, "the file is there")
        os.utime(alive, (1.0, 1.0))
        eventually(lambda: alive.stat().st_mtime > 1.0, "it is touched again")
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
