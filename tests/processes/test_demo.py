"""`serinus demo` where it cannot go on."""

import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.processes.installation import free_port
from tests.serving.house import wait_for

pytestmark = pytest.mark.processes


def begun(home: Path, infer: int, ui: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "serinus", "demo", "--home", str(home)]
    command += ["--infer-port", str(infer), "--ui-port", str(ui)]
    return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def test_a_port_of_somebody_else_is_refused_in_words(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with begun(tmp_path / "demo", port, free_port()) as process:
            out, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert f"127.0.0.1:{port} cannot be used" in out
    assert "--infer-port" in out


def test_a_demo_that_is_terminated_leaves_nothing_running(tmp_path: Path) -> None:
    home = tmp_path / "demo"
    with begun(home, free_port(), free_port()) as process:
        wait_for(
            lambda: (home / "up.log").exists() and (home / "models" / ".up.lock").exists(), "its services"
        )
        tree = psutil.Process(process.pid).children(recursive=True)
        wait_for((home / "data").exists, "its first files")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=120)
    assert tree
    wait_for(lambda: not [each for each in tree if each.is_running()], "the end of all its processes")
