"""What is loaded, and what happens when something does not load."""

import asyncio
import contextlib
import os
import resource
import signal
import threading
from pathlib import Path
from time import monotonic

import numpy as np
import psutil
import pytest

from serinus.core.enums import Arm, FailureKind
from serinus.core.errors import Unavailable
from serinus.rollout.events import Undone
from serinus.rollout.policy import Policy
from serinus.serving.prediction import Prediction
from serinus.serving.worker_handle import VersionFailed
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


def swap_model(made: House, version: int, tmp_path: Path) -> None:
    """Another model that loads and answers, in place of the published one."""
    model = made.store.artifact(made.store.state().versions[version].digest) / "model.onnx"
    model.chmod(0o644)
    model.write_bytes((models.healthy(tmp_path / "foreign", 9) / "model.onnx").read_bytes())


def test_what_was_changed_since_is_not_loaded_by_a_new_worker(tmp_path: Path) -> None:
    with house(tmp_path) as made:
        (worker,) = made.pids(1)
        swap_model(made, 1, tmp_path)
        assert ask(made)[0].assigned == "current", "what is in memory is what was published"
        os.kill(worker, signal.SIGKILL)
        wait_for(lambda: failed(made, 1), "the failure")
        assert "model.onnx" in failed(made, 1)
        assert not made.pids(1)


def test_a_worker_that_cannot_be_replaced_takes_no_other_with_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with house(tmp_path, workers=2) as made:
        wait_for(lambda: len(made.pids(1)) == 2, "both workers")
        one, other = made.pids(1)
        swap_model(made, 1, tmp_path)
        os.kill(one, signal.SIGKILL)
        wait_for(lambda: "A worker is not started again." in caplog.text, "the refusal")
        assert made.pids(1) == [other]
        assert ask(made)[0].assigned == "current"
        assert not failed(made, 1)


def test_a_canary_that_crashes_live_is_judged_by_its_requests_alone(tmp_path: Path) -> None:
    with house(tmp_path, coins=[TO_CANARY], start_limit=2) as made:
        version = publish(made.store, drafts.crashing_live(tmp_path / "bad"))
        rollout = start_canary(made.store, version)
        made.wait_serves(1, version)
        for _ in range(3):
            wait_for(lambda: made.pids(version), "a worker of the canary")
            assert ask(made, size=48)[0].fallback
        wait_for(lambda: made.pids(version), "a new worker of the canary")
        assert not failed(made, version)
        assert failures(observed(made, rollout, 3), Arm.CANARY)[FailureKind.CRASH] == 3


def test_a_picture_that_crashes_current_takes_it_away_from_nobody(tmp_path: Path) -> None:
    with House(tmp_path, predict_timeout_seconds=20.0) as made:
        only = publish(made.store, drafts.crashing_live(tmp_path / "bad"), initial=True)
        made.wait_serves(only)
        for _ in range(3):
            with pytest.raises(Unavailable, match="SIGFPE"):
                ask(made, size=48)
        assert ask(made)[0].target.version == only
        assert not failed(made, only)


def kill_while_loading(made: House, times: int) -> None:
    for _ in range(times):
        wait_for(made.loading, "a worker that loads")
        (worker,) = made.loading()
        worker.kill()
        wait_for(lambda gone=worker.pid: gone not in {p.pid for p in made.loading()}, "its end")


def test_a_worker_killed_while_it_loads_is_started_again(tmp_path: Path) -> None:
    with house(tmp_path) as made:
        version = made.healthy(2)
        start_canary(made.store, version)
        kill_while_loading(made, 1)
        made.wait_serves(1, version)
        assert not failed(made, version)


def test_a_load_failure_is_forgotten_when_a_new_rollout_starts(tmp_path: Path) -> None:
    with house(tmp_path) as made:
        version = made.healthy(2)
        first = start_canary(made.store, version)
        kill_while_loading(made, 4)
        wait_for(lambda: failed(made, version), "the load failure")
        assert "SIGKILL" in failed(made, version)
        roll_back(made.store, first, version)
        start_canary(made.store, version)
        made.wait_serves(1, version)
        assert not failed(made, version)


def refuse_descriptors(made: House) -> BaseException | None:
    """What a request gets while this process can open no file."""
    image = np.zeros((1, 64, 64, 6), np.uint8)
    with made.residency.lease() as lease:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            answer = lease.seats[Arm.CURRENT].pool.submit(image, monotonic() + 20.0, wait_for_worker=True)
            return answer.exception(timeout=20.0)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_shortage_of_descriptors_costs_one_request_and_no_worker(tmp_path: Path) -> None:
    with house(tmp_path) as made:
        workers = made.pids(1)
        error = refuse_descriptors(made)
        assert isinstance(error, VersionFailed)
        assert error.kind is FailureKind.UNAVAILABLE
        assert len(ask(made)) == 1
        assert made.pids(1) == workers


def test_who_waits_for_currents_worker_waits_no_longer_than_the_queue_allows(tmp_path: Path) -> None:
    with house(tmp_path, predict_timeout_seconds=0.5) as made:
        os.kill(made.pids(1)[0], signal.SIGKILL)
        wait_for(made.loading, "the next worker")
        (loading,) = made.loading()
        loading.suspend()
        with pytest.raises(Unavailable, match="too long in the queue"):
            ask(made)
        assert made.loading() == [loading], "the answer did not wait for it"
        loading.resume()
        wait_for(lambda: made.pids(1), "the worker")


def test_who_waits_for_a_dead_canary_falls_back_before_it_is_back(tmp_path: Path) -> None:
    with house(tmp_path, coins=[TO_CANARY], predict_timeout_seconds=20.0) as made:
        version = made.healthy(2)
        rollout = start_canary(made.store, version)
        made.wait_serves(1, version)
        (worker,) = made.pids(version)
        os.kill(worker, signal.SIGSTOP)

        async def run() -> list[Prediction]:
            answers = [asyncio.create_task(made.predictor.predict(*pair())) for _ in range(5)]
            while made.counters.in_flight(Arm.CANARY, rollout) < 5:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.2)  # from the ticket to the queue
            os.kill(worker, signal.SIGKILL)
            while not (loading := made.loading()):
                await asyncio.sleep(0.005)
            loading[0].suspend()
            try:
                return await asyncio.gather(*answers)
            finally:
                loading[0].resume()

        assert all(a.fallback for a in asyncio.run(run()))
        found = failures(observed(made, rollout, 5), Arm.CANARY)
        assert found == {FailureKind.CRASH: 1, FailureKind.UNAVAILABLE: 4}


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


def test_a_canary_whose_workers_die_again_and_again_is_a_load_failure(tmp_path: Path) -> None:
    with house(tmp_path, coins=[TO_CANARY], crash_limit=3) as made:
        version = publish(made.store, drafts.crashing_live(tmp_path / "bad"))
        start_canary(made.store, version)
        made.wait_serves(1, version)
        for _ in range(3):
            wait_for(lambda: made.pids(version) or failed(made, version), "a worker of the canary")
            assert ask(made, size=48)[0].target.version == 1
        wait_for(lambda: failed(made, version), "the load failure")
        assert "died 3 times in a row without an answer; the worker was killed by SIGFPE." in failed(
            made, version
        )
        wait_for(lambda: beats_failed(made, version), "the heartbeat")
        made.wait_serves(1)
        assert ask(made, size=48)[0].assigned == "current"


def test_current_is_started_again_for_ever(tmp_path: Path) -> None:
    with house(tmp_path, crash_limit=1) as made:
        for _ in range(3):
            wait_for(lambda: made.pids(1), "a worker")
            (worker,) = made.pids(1)
            os.kill(worker, signal.SIGKILL)
            wait_for(lambda gone=worker: gone not in made.pids(1), "its end")
        wait_for(lambda: made.pids(1), "a worker")
        assert not failed(made, 1)
        assert len(ask(made)) == 1


def test_a_canary_loads_at_low_priority_and_current_is_restarted_at_full(tmp_path: Path) -> None:
    with house(tmp_path, worker_nice=7) as made:
        version = made.healthy(2)
        start_canary(made.store, version)
        for digest_of, expected in ((version, 7), (1, 0), (version, 7)):
            if made.pids(digest_of):
                os.kill(made.pids(digest_of)[0], signal.SIGKILL)
            wait_for(made.loading, "a worker that loads")
            wait_for(lambda nice=expected: nice in loading_nice(made), f"a load at nice {expected}")
            wait_for(lambda one=digest_of: made.pids(one), "the worker")


def loading_nice(made: House) -> set[int]:
    """Of the threads that load a model now."""
    found = set()
    for process in made.loading():
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            found |= {os.getpriority(os.PRIO_PROCESS, thread.id) for thread in process.threads()[1:]}
    return found


def test_a_load_waits_for_threads_and_nothing_else_does(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with house(tmp_path, workers=2) as made:
        version = made.healthy(2)
        before = threading.stack_size(1 << 46)  # more than there is: no thread starts
        try:
            start_canary(made.store, version)
            wait_for(lambda: "A load has to wait." in caplog.text, "the shortage")
            assert ask(made)[0].target.version == 1
            seq = made.store.state().seq
            wait_for(lambda: any(r.seq == seq for r in made.store.replicas(0.0)), "a whole round")
        finally:
            threading.stack_size(before)
        made.wait_serves(1, version)
        assert not failed(made, version)
