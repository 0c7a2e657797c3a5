"""The inference service as a real process on a real port, under traffic, while its parts are broken."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from scipy.stats import binomtest

from serinus.core.enums import Arm, FailureKind
from serinus.evidence.counts import merge
from tests import models
from tests.api.live import Server, server
from tests.api.serve_inference import LIMIT_BYTES
from tests.serving import drafts
from tests.serving.house import pair, promote, roll_back, wait_for

pytestmark = pytest.mark.processes

USERS = 8


def users(
    made: Server, meanwhile: Callable[[], None], *, least: int = 0, size: int = 64
) -> list[dict[str, Any]]:
    """Eight users ask all the time while `meanwhile` works in a thread, and at least `least` times in all."""
    files = {
        name: ("x.png", data)
        for name, data in zip(("pre_disaster", "post_disaster"), pair(size), strict=True)
    }

    async def run() -> list[dict[str, Any]]:
        answers: list[dict[str, Any]] = []
        work = asyncio.create_task(asyncio.to_thread(meanwhile))
        limits = httpx.Limits(max_connections=USERS)
        async with httpx.AsyncClient(base_url=made.url, trust_env=False, timeout=60, limits=limits) as client:

            async def user() -> None:
                while not work.done() or len(answers) < least:
                    reply = await client.post("/predict?overlay=none", files=files)
                    assert reply.status_code == 200, reply.text
                    answers.append(reply.json())

            await asyncio.gather(*(user() for _ in range(USERS)))
        await work
        return answers

    return asyncio.run(run())


def test_nothing_that_happens_to_workers_or_versions_fails_an_answer(tmp_path: Path) -> None:
    with server(tmp_path) as made:
        rollout, version = made.start_canary(models.healthy(tmp_path / "second", 2))

        def split_then_kill_then_promote() -> None:
            made.observed(rollout, 300)
            for _ in range(2):
                workers = made.workers()
                os.kill(workers[0], signal.SIGKILL)
                wait_for(lambda gone=workers[0]: gone not in made.workers(), "the worker's end")
                wait_for(lambda: len(made.workers()) == 2, "a new worker")
            promote(made.store, rollout, version)
            wait_for(lambda: made.get("/model-status")["deployment_mode"] == "production", "the promotion")

        answers = users(made, split_then_kill_then_promote)
        last = users(made, lambda: None, least=1)
    assert {a["model"]["version"] for a in last} == {version}
    assert {a["model_used"] for a in last} == {"current"}
    lines = [line for line in made.log() if line["message"].startswith("Using model: ")]
    assert len(lines) == len(answers) + len(last)
    assert Counter(line["message"] for line in lines) == Counter(
        f"Using model: {a['model_used']}" for a in [*answers, *last]
    )
    assert {line["request_id"] for line in lines} == {a["request_id"] for a in [*answers, *last]}
    slice_ = merge(found for _, _, found in made.store.new_observations(rollout, {}))
    requests = {arm: sum(c.successes + c.failures for c in slice_ if c.arm is arm) for arm in Arm}
    assert binomtest(requests[Arm.CANARY], sum(requests.values()), 0.5).pvalue > 1e-6


BAD = {
    FailureKind.CRASH: drafts.crashing_live,
    FailureKind.TIMEOUT: drafts.hanging_live,
    FailureKind.INVALID_OUTPUT: models.nan,
}


def test_bad_canaries_cost_no_answer_and_are_counted(tmp_path: Path) -> None:
    with server(tmp_path, predict_seconds=3.0) as made:
        for kind, draft in BAD.items():
            rollout, version = made.start_canary(draft(tmp_path / kind))
            answers = users(made, lambda: None, least=20, size=48)
            slice_ = made.observed(rollout, len(answers))
            assert {a["model"]["version"] for a in answers} == {1}
            canary = [cell for cell in slice_ if cell.arm is Arm.CANARY]
            assert sum(cell.failures for cell in canary) == sum(a["fallback"] for a in answers) > 0
            assert sum(cell.successes for cell in canary) == 0
            kinds = {found for cell in canary for found in cell.failed}
            assert {kind} <= kinds <= {kind, FailureKind.UNAVAILABLE, FailureKind.TIMEOUT}
            roll_back(made.store, rollout, version)
            wait_for(lambda: made.canary() is None, "the rollback")
            wait_for(lambda: len(made.workers()) == 1, "the canary to be unloaded")


def test_sigterm_answers_what_is_in_flight_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with server(tmp_path) as made:
        rollout, _ = made.start_canary(models.healthy(tmp_path / "second", 2), share=1.0)
        workers = made.workers()
        os.kill(workers[0], signal.SIGSTOP)
        os.kill(workers[1], signal.SIGSTOP)

        def stop() -> None:
            # Only an answer that is under way shows the drain.
            wait_for(lambda: any(r.in_flight for r in made.store.replicas(0.0)), "a request in flight")
            made.process.terminate()
            for worker in workers:
                os.kill(worker, signal.SIGCONT)

        async def ask() -> int:
            files = dict(zip(("pre_disaster", "post_disaster"), pair(), strict=True))
            async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
                stopping = asyncio.create_task(asyncio.to_thread(stop))
                reply = await client.post(made.url + "/predict", files=files)
                await stopping
                return reply.status_code

        assert asyncio.run(ask()) == 200
        made.process.wait(timeout=30)
        assert not [pid for pid in workers if psutil.pid_exists(pid)]
        assert made.store.replicas(0.0) == []
        made.observed(rollout, 1)


def test_workers_die_with_a_killed_service(tmp_path: Path) -> None:
    with server(tmp_path) as made:
        workers = made.workers()
        assert workers
        made.process.kill()
        made.process.wait(timeout=30)
        wait_for(lambda: not [pid for pid in workers if psutil.pid_exists(pid)], "the workers' end")


def test_a_body_over_the_limit_gets_its_answer_over_a_real_socket(tmp_path: Path) -> None:
    with server(tmp_path) as made:
        head = b'--x\r\nContent-Disposition: form-data; name="pre_disaster"; filename="a"\r\n\r\n'
        for content in (bytes(2 * LIMIT_BYTES), iter([head, *[bytes(LIMIT_BYTES // 5)] * 10])):
            reply = httpx.post(
                made.url + "/predict",
                content=content,
                headers={"content-type": "multipart/form-data; boundary=x"},
                trust_env=False,
                timeout=60,
            )
            assert reply.status_code == 413
            assert "MAX_BODY_MB" in reply.json()["remedy"]


def test_an_unreachable_store_stops_no_answer(tmp_path: Path) -> None:
    with server(tmp_path) as made:
        root, away = tmp_path / "store", tmp_path / "away"
        root.rename(away)
        root.write_text("no folder")
        wait_for(lambda: not made.get("/model-status")["store_reachable"], "the replica to notice")
        assert users(made, lambda: None, least=8)
        root.unlink()
        away.rename(root)
        wait_for(lambda: made.get("/model-status")["store_reachable"], "the store to come back")
