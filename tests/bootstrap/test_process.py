"""What a process does at its start, seen from outside."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROUNDS = """
import resource
import numpy as np
from serinus.bootstrap.process import keep_freed_memory
{before}

def pair():
    held = [np.ones(8 << 20, np.uint8) for _ in range(4)]

for _ in range(3):
    pair()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    pair()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
PAGES_OF_A_ROUND = (32 << 20) // 4096


def faults(before: str) -> int:
    program = ROUNDS.format(before=before)
    # numpy asks for huge pages, where there are some, and a fault brings 512 pages at once
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, env={"NUMPY_MADVISE_HUGEPAGE": "0"}
    )
    return int(done.stdout)


def test_freed_memory_is_used_again() -> None:
    """Without a word glibc gives it back each time."""
    assert faults("") > 5 * PAGES_OF_A_ROUND
    assert faults("keep_freed_memory()") < PAGES_OF_A_ROUND


@pytest.mark.processes
@pytest.mark.parametrize("part", ["infer", "ui"])
def test_a_port_that_is_taken_is_said_before_anything_is_loaded(tmp_path: Path, part: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        folders = {name: str(tmp_path / name) for name in ("MODEL_DIR", "DATA_DIR")}
        done = subprocess.run(
            [sys.executable, "-m", "serinus", part, f"--{part}-port", str(port)],
            capture_output=True,
            text=True,
            env=os.environ | folders,
            check=False,
        )
    assert done.returncode == 1
    assert f"127.0.0.1:{port} cannot be used" in done.stderr and f"--{part}-port" in done.stderr
    assert not (tmp_path / "MODEL_DIR" / "artifacts").exists()


def test_what_stays_is_not_looked_through_for_garbage() -> None:
    program = """
import gc
from serinus.bootstrap.process import freeze_objects
import serinus.bootstrap.inference
before = len(gc.get_objects())
freeze_objects()
print(before, len(gc.get_objects()))
"""
    before, after = map(int, subprocess.check_output([sys.executable, "-c", program]).split())
    assert after < before / 100
