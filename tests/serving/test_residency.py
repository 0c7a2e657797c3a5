"""What is loaded, and what happens when something does not load."""

import asyncio
import os
import signal
from pathlib import Path

import psutil
import pytest

from serinus.core.enums import Arm, FailureKind
from serinus.rollout.events import Undone
from serinus.rollout.policy import Policy
from serinus.serving.predict import Prediction
from tests import models
from tests.serving import drafts
from tests.serving.house import (
    House,
    house,
    open_store,
    pair,
    promote,
    publish,
    roll_back,
    start_canary,
    wait_for,
)
from tests.serving.test_predict import TO_CANARY, ask, failures, observed

pytestmark = pytest.mark.processes


def failed(made: House, version: int) -> str:
    return made.residency.failed.get(made.store.state().versions[version].digest, "")


def beats_failed(made: House, version: int) -> bool:
    digest = made.store.state().versions[version].digest
    return any(digest in replica.failed for replica in made.store.replicas(0.0))


@pytest.mark.parametrize(
    ("draft", "words"),
    [(models.crashing, "was killed by SIGFPE"), (models.loops_forever, "did not load within")],
)
def test_a_canary_that_cannot_start_is_reported_and_gets_no_request(
    tmp_path: Path, draft, words: str
) -> None:
    with house(tmp_path, load_timeout_seconds=5.0) as made:
        version = publish(made.store, draft(tmp_path / "bad"))
        start_canary(made.store, version, share=1.0)
        wait_for(lambda: failed(made, version), "the load failure")
        assert words in failed(made, version)
        wait_for(lambda: beats_failed(made, version), "the heartbeat")
        assert ask(made)[0].assigned == "current"


def test_damaged_bytes_are_named_and_never_loaded(tmp_path: Path) -> None:
    with house(tmp_path) as made:
        version = made.healthy(2)
        model = made.store.artifact(made.store.state().versions[version].digest) / "model.onnx"
        model.chmod(0o644)
        data = bytearray(model.read_bytes())
        data[-1] ^= 1
        model.write_bytes(data)
        start_canary(made.store, version)
        wait_for(lambda: failed(made, version), "the load failure")
        assert "model.onnx" in failed(made, version)
        assert made.serves(1)


def test_a_crash_loop_is_a_load_failure(tmp_path: Path) -> None:
    with house(tmp_path, coins=[TO_CANARY], crash_limit=3) as made:
        version = publish(made.store, drafts.crashing_live(tmp_path / "bad"))
        rollout = start_canary(made.store, version)
        made.wait_serves(1, version)
        for _ in range(3):
            wait_for(lambda: made.pids(version), "a worker of the canary")
            assert ask(made, size=48)[0].fallback
        wait_for(lambda: failed(made, version), "the load failure")
        assert "crash loop" in failed(made, version)
        made.wait_serves(1)
        assert ask(made)[0].assigned == "current"
        assert failures(observed(made, rollout, 3), Arm.CANARY)[FailureKind.CRASH] == 3


def test_a_process_starts_with_the_version_before_when_current_is_damaged(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    first = publish(store, models.healthy(tmp_path / "first", 1), initial=True)
    second = publish(store, models.healthy(tmp_path / "second", 2))
    promote(store, start_canary(store, second, policy=Policy(rollback_window_seconds=0.0)), second)
    (store.artifact(store.state().versions[second].digest) / "model.onnx").unlink()
    with House(tmp_path) as made:
        made.wait_serves(first)
        assert ask(made)[0].target.version == first
        assert "model.onnx" in failed(made, second)


def test_current_is_tried_again(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    only = publish(store, models.healthy(tmp_path / "first", 1), initial=True)
    folder = store.artifact(store.state().versions[only].digest)
    folder.chmod(0o755)
    (folder / "model.onnx").rename(tmp_path / "away")
    with House(tmp_path, retry_load_seconds=0.2) as made:
        wait_for(lambda: failed(made, only), "the load failure")
        (tmp_path / "away").rename(folder / "model.onnx")
        made.wait_serves(only)
        assert len(ask(made)) == 1
        assert not failed(made, only)


def test_undo_is_instant_and_what_is_not_needed_goes(tmp_path: Path) -> None:
    with house(tmp_path) as made:
        version = made.healthy(2)
        rollout = start_canary(made.store, version)
        made.wait_serves(1, version)
        warm = made.pids(1)
        promote(made.store, rollout, version)
        made.wait_serves(version)
        made.store.append(Undone(version=1, undone=version), actor="test", reason="test")
        made.wait_serves(1)
        assert made.pids(1) == warm, "the same process, never unloaded"

        third = made.healthy(3)
        rollout = start_canary(made.store, third)
        made.wait_serves(1, third)
        (worker,) = made.pids(third)
        roll_back(made.store, rollout, third)
        wait_for(lambda: not made.pids(third), "the unloading")
        wait_for(lambda: not psutil.pid_exists(worker), "the end of its worker")


def test_a_version_in_use_is_not_unloaded(tmp_path: Path) -> None:
    with house(tmp_path) as made:
        version = made.healthy(2)
        rollout = start_canary(made.store, version)
        made.wait_serves(1, version)
        with made.residency.lease() as lease:
            (worker,) = made.pids(version)
            roll_back(made.store, rollout, version)
            made.wait_serves(1)
            seq = made.residency.snapshot.seq
            wait_for(lambda: any(r.seq == seq for r in made.store.replicas(0.0)), "a whole round")
            os.kill(worker, 0)
            assert lease.snapshot.canary is not None, "the request keeps the snapshot that it started with"
        wait_for(lambda: not made.pids(version), "the unloading")


def test_an_idle_worker_that_dies_is_started_again(tmp_path: Path) -> None:
    with house(tmp_path) as made:
        (worker,) = made.pids(1)
        os.kill(worker, signal.SIGKILL)
        wait_for(lambda: made.pids(1) not in ([], [worker]), "a new worker")
        assert len(ask(made)) == 1


def test_while_one_worker_is_busy_another_answers(tmp_path: Path) -> None:
    with house(tmp_path, workers=2, predict_timeout_seconds=30.0) as made:
        wait_for(lambda: len(made.pids(1)) == 2, "both workers")
        busy = made.pids(1)[0]
        os.kill(busy, signal.SIGSTOP)

        async def run() -> list[Prediction]:
            answers = [asyncio.create_task(made.predictor.predict(*pair())) for _ in range(8)]
            while sum(a.done() for a in answers) < 7:
                await asyncio.sleep(0.01)
            os.kill(busy, signal.SIGCONT)
            return await asyncio.gather(*answers)

        assert len(asyncio.run(run())) == 8
