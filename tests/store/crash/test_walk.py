"""`store check` ends with 0 on a store that went through all of it. How: `walk`."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tests.store.crash.shim import REPOSITORY, run_under
from tests.store.crash.walk import STEPS, Walk

pytestmark = pytest.mark.processes


def store_check(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command, in a process of its own."""
    command = [sys.executable, "-m", "serinus", "store", "check", *arguments, "--model-dir", str(root)]
    return subprocess.run(
        command, cwd=REPOSITORY, env=os.environ, capture_output=True, text=True, timeout=300, check=False
    )


def check(library: Path, memory: Path, steps: int, seed: str, capsys: pytest.CaptureFixture[str]) -> Walk:
    printed = run_under(library, "tests.store.crash.walk", memory, steps, seed, timeout=3000)
    walk = msgspec.json.decode(printed, type=Walk)
    done = ", ".join(f"{count} {name}" for name, count in sorted(walk.steps.items()))
    with capsys.disabled():
        print(  # noqa: T201 - what was tried belongs into the output
            f"\none store, {steps} steps, {walk.cut} of them cut, {walk.events} events: {done}; "
            f"{len(walk.violated)} violations"
        )
    assert not walk.violated, "\n".join(walk.violated)
    for root in (memory / "store", memory / "copy"):
        for repair in ((), ("--repair",), ()):
            checked = store_check(root, *repair)
            assert checked.returncode == 0, checked.stdout + checked.stderr
        left = msgspec.json.decode(store_check(root, "-o", "json").stdout)
        assert (left["errors"], left["warnings"]) == (0, 0), left
    return walk


@pytest.mark.timeout(600)
def test_a_short_way_through_everything(
    library: Path, memory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check(library, memory, 60, "short", capsys)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_long_way_through_everything(
    library: Path, memory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    walk = check(library, memory, 1000, "long", capsys)
    assert walk.steps.keys() == set(STEPS)
    assert walk.cut > 300
