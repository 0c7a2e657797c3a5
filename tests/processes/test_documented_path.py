"""The documented path and the demo, whole, as a user runs them. Only in `make test-long`."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from serinus.bootstrap.wiring import open_jobs
from serinus.core.enums import RolloutPhase
from serinus.rollout.events import Verified
from tests.processes.installation import Installation, eventually, failures, free_port, pair, traffic

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "test_canary_deployment.py"


def walk(place: Installation, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), "--ui-url", place.ui, "--infer-url", place.infer, *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=3000,
    )


@pytest.mark.processes
def test_it_explains_what_to_start_when_nothing_answers(tmp_path: Path) -> None:
    done = walk(Installation(tmp_path))
    assert done.returncode == 2
    assert "serinus up" in done.stderr and "make deploy-cpu" in done.stderr and "port-forward" in done.stderr


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_the_documented_path_with_the_documented_policy(tmp_path: Path) -> None:
    """Upload, five epochs, canary, three minutes, promotion; the packaged base; nothing shortened."""
    place = Installation(tmp_path, settings={})
    place.documented()
    place.up()
    try:
        done = walk(place)
        sys.stdout.write(done.stdout)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{place.log()}"
        assert "All promises held" in done.stdout
        checked = [event.body for event in place.store.events() if isinstance(event.body, Verified)]
        assert ["held-out pairs of data set ds-" in "".join(body.vouched) for body in checked] == [True]
    finally:
        place.down()


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_two_thousand_predictions_while_it_trains_promotes_and_rolls_back(tmp_path: Path) -> None:
    """The same load through a real training that the dashboard starts."""
    archive = tmp_path / "pairs.zip"
    words = ["data", "synth", "--pairs", "40", "--size", "128", "--out", str(archive)]
    subprocess.run([sys.executable, "-m", "serinus", *words], check=True)
    place = Installation(tmp_path, settings={"WINDOW_SECONDS": "10"})
    place.documented(keep=("WINDOW_SECONDS",))
    place.up()
    try:
        with traffic(place, [pair(n) for n in range(8)], users=8) as seen:
            place.upload(archive)
            place.start_training(epochs=5, batch=4)
            version = place.wait_version(2)
            ended = place.wait_ended(version)
            undone = place.steer("undo" if ended.phase is RolloutPhase.PROMOTED else "rollback")
            assert undone.status_code in (200, 409), undone.text
            eventually(lambda: len(seen) >= 2000, "2,000 predictions", patience=900)
        assert not failures(seen), failures(seen)[:3]
    finally:
        place.down()


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_the_demo_tells_its_whole_story(tmp_path: Path) -> None:
    infer, ui = free_port(), free_port()
    words = ["demo", "--home", str(tmp_path / "demo"), "--stop", f"--infer-port={infer}", f"--ui-port={ui}"]
    done = subprocess.run(
        [sys.executable, "-m", "serinus", *words], capture_output=True, text=True, check=False, timeout=3000
    )
    sys.stdout.write(done.stderr + done.stdout)
    assert done.returncode == 0, done.stderr
    assert re.search(r"failed requests: 0 of \d+", done.stdout)
    place = Installation(tmp_path / "demo")
    said = {(record.version, record.state.value): record.reason for record in place.state().versions.values()}
    assert [version for version, state in said if state == "current"] == [3]
    assert "mAP50" in said[4, "rejected"]
    assert "canary requests failed" in said[5, "rejected"]


@pytest.mark.processes
def test_ctrl_c_on_a_training_leaves_nothing_half_published(tmp_path: Path) -> None:
    place = Installation(tmp_path)
    place.documented()
    archive = tmp_path / "pairs.zip"
    run = [sys.executable, "-m", "serinus"]
    subprocess.run(
        [*run, "data", "synth", "--pairs", "16", "--size", "128", "--out", str(archive)], check=True
    )
    subprocess.run([*run, "data", "import", str(archive)], check=True, env=place.env)
    training = subprocess.Popen(
        [*run, "train", "--epochs", "400", "--batch", "4", "--json"], env=place.env, stderr=subprocess.PIPE
    )
    drafts = tmp_path / "data" / "drafts"
    eventually(lambda: drafts.exists() and any(drafts.iterdir()), "the training is under way")
    training.send_signal(2)
    _, said = training.communicate(timeout=120)
    assert training.returncode == 130, said
    assert b"Traceback" not in said
    assert not any(drafts.iterdir())
    assert place.state().versions.keys() <= {1}
    assert json.dumps([record.id for record in open_jobs(place.as_settings()).list()]) == "[]"
