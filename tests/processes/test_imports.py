"""Serving, ui and control processes import no torch, joblib, cloudpickle or mlflow, and unpickle nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from serinus.core.enums import RolloutPhase
from tests import models
from tests.processes.installation import Installation, pair, traffic

FORBIDDEN = {"torch", "joblib", "cloudpickle", "mlflow", "serinus.training"}


@pytest.mark.parametrize("process", ["inference", "ui", "controller", "up"])
def test_no_process_imports_what_unpickles(process: str) -> None:
    program = f"import serinus.bootstrap.{process}, json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not FORBIDDEN & set(json.loads(done.stdout))


WATCH = """
import os, sys
def _hook(event, args):
    if event == "pickle.find_class":
        with open({log!r}, "a") as log:
            log.write(f"{{os.getpid()}} {{sys.argv}} {{args}}\\n")
sys.addaudithook(_hook)
with open({started!r}, "a") as log:
    log.write(" ".join(sys.orig_argv) + "\\n")
"""


@pytest.mark.processes
def test_nothing_is_unpickled_through_a_whole_rollout(tmp_path: Path) -> None:
    hook, log, started = tmp_path / "hook", tmp_path / "pickled.txt", tmp_path / "started.txt"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(WATCH.format(log=str(log), started=str(started)))
    probe = [
        sys.executable,
        "-c",
        "import pickle, fractions; pickle.loads(pickle.dumps(fractions.Fraction(1, 2)))",
    ]
    place = Installation(tmp_path, settings={"PYTHONPATH": str(hook)})
    subprocess.run(probe, env=place.env, check=True)
    assert "find_class" in log.read_text() or "Fraction" in log.read_text(), "the hook sees unpickling"
    log.unlink()
    place.up()
    try:
        version = place.publish(models.healthy(tmp_path / "v2", seed=2))
        with traffic(place, [pair(1), pair(2)], users=2):
            assert place.wait_ended(version).phase is RolloutPhase.PROMOTED
    finally:
        place.down()
    watched = started.read_text()
    assert all(name in watched for name in ("infer", "ui", "controller", "worker")), watched
    assert not log.exists(), log.read_text()
