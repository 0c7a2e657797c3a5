"""A pair through real worker processes of real versions."""

import asyncio
import os
import signal
import threading
import time
from pathlib import Path
from time import monotonic

import numpy as np
import pytest

from serinus.core.enums import Arm, FailureKind, Stratum
from serinus.core.errors import InvalidInput, TooLarge, Unavailable
from serinus.core.ids import Version
from serinus.evidence.counts import Slice, latency_bin, merge
from serinus.rollout.events import ShareChanged
from serinus.rollout.policy import ByHeader, Policy
from serinus.serving.assignment import Caller
from serinus.serving.pool import Pool
from serinus.serving.prediction import Prediction
from serinus.serving.worker_handle import VersionFailed
from tests import models
from tests.serving.house import (
    WAIT_SECONDS,
    House,
    house,
    pair,
    promote,
    publish,
    roll_back,
    start_canary,
    wait_for,
)

pytestmark = pytest.mark.processes

TO_CANARY, TO_CURRENT = 0.0, 0.999


def ask(made: House, times: int = 1, *, concurrency: int = 4, size: int = 64) -> list[Prediction]:
    async def run() -> list[Prediction]:
        gate = asyncio.Semaphore(concurrency)
        pre, post = pair(size)

        async def one() -> Prediction:
            async with gate:
                return await made.predictor.predict(pre, post)

        return await asyncio.gather(*(one() for _ in range(times)))

    return asyncio.run(run())


def observed(made: House, rollout: int, requests: int) -> Slice:
    """What the replica reported, once it is complete."""

    def all_slices() -> Slice:
        return merge(slice_ for _, _, slice_ in made.store.new_observations(rollout, {}))

    wait_for(lambda: sum(c.successes + c.failures for c in all_slices()) >= requests, "the observations")
    return all_slices()


def failures(slice_: Slice, arm: Arm) -> dict[FailureKind, int]:
    return {kind: n for cell in slice_ if cell.arm is arm for kind, n in cell.failed.items()}


def test_current_answers_in_original_pixels(tmp_path: Path) -> None:
    with house(tmp_path) as made:
        small, large = ask(made, size=64)[0], ask(made, size=256)[0]
    for found, size in ((small, 64), (large, 256)):
        assert (found.role, found.assigned, found.fallback, found.target.version) == (
            "current",
            "current",
            False,
            1,
        )
        assert len(found.detections) == models.FOUND
        assert found.detections[:, :4].max() <= size
        assert (found.size, found.post) == ((size, size), None)
    assert large.detections[:, :4].max() > 64


@pytest.mark.parametrize(
    ("draft", "kind"),
    [
        (models.raising, FailureKind.EXCEPTION),
        (models.nan, FailureKind.INVALID_OUTPUT),
        (models.hungry, FailureKind.EXCEPTION),
    ],
)
def test_what_the_canary_fails_is_counted_and_answered_by_current(tmp_path: Path, draft, kind) -> None:
    with house(tmp_path, coins=[TO_CANARY, TO_CURRENT]) as made:
        version = publish(made.store, draft(tmp_path / "bad"))
        rollout = start_canary(made.store, version)
        made.wait_serves(1, version)
        answers = ask(made, 4, concurrency=1)
        slice_ = observed(made, rollout, 4)
    assert [a.assigned for a in answers] == ["canary", "current"] * 2
    assert [(a.role, a.fallback, a.target.version) for a in answers] == [
        ("current", True, 1),
        ("current", False, 1),
    ] * 2
    assert failures(slice_, Arm.CANARY) == {kind: 2}
    assert failures(slice_, Arm.CURRENT) == {}
    assert {cell.share for cell in slice_} == {0.5}


def test_a_canary_that_hangs_costs_time_and_no_answer(tmp_path: Path) -> None:
    with house(tmp_path, coins=[TO_CANARY], predict_timeout_seconds=0.5) as made:
        version = made.healthy(2)
        rollout = start_canary(made.store, version)
        made.wait_serves(1, version)
        os.kill(made.pids(version)[0], signal.SIGSTOP)
        answers = ask(made, 2, concurrency=1)
        slice_ = observed(made, rollout, 2)
    assert all(a.fallback for a in answers)
    assert failures(slice_, Arm.CANARY) == {FailureKind.TIMEOUT: 1, FailureKind.UNAVAILABLE: 1}


def test_a_canary_that_crashes_is_started_again(tmp_path: Path) -> None:
    with house(tmp_path, coins=[TO_CANARY]) as made:
        version = made.healthy(2)
        rollout = start_canary(made.store, version)
        made.wait_serves(1, version)
        for _ in range(2):
            wait_for(lambda: made.pids(version), "a worker of the canary")
            (pid,) = made.pids(version)
            os.kill(pid, signal.SIGSTOP)  # it will not answer any more
            answers = ask_and_kill(made, pid)
            assert all(a.fallback for a in answers)
        wait_for(lambda: made.pids(version), "a new worker of the canary")
        assert not ask(made)[0].fallback
        slice_ = observed(made, rollout, 3)
    assert failures(slice_, Arm.CANARY) == {FailureKind.CRASH: 2}


def ask_and_kill(made: House, pid: int) -> list[Prediction]:
    """One request, whose worker is killed while it is in flight."""

    async def run() -> list[Prediction]:
        answer = asyncio.create_task(made.predictor.predict(*pair()))
        rollout = made.agent.state.rollout
        while rollout and not made.counters.in_flight(Arm.CANARY, rollout.number):
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        os.kill(pid, signal.SIGKILL)
        return [await answer]

    return asyncio.run(run())


def test_killing_currents_worker_fails_no_answer(tmp_path: Path) -> None:
    with house(tmp_path) as made:

        async def run() -> list[Prediction]:
            answers = [asyncio.create_task(made.predictor.predict(*pair())) for _ in range(40)]
            for _ in range(3):
                done = sum(a.done() for a in answers)
                while (pids := made.pids(made.store.state().current)) == [] or (
                    sum(a.done() for a in answers) == done and done < 40
                ):
                    await asyncio.sleep(0.005)
                os.kill(pids[0], signal.SIGKILL)
            return await asyncio.gather(*answers)

        assert len(asyncio.run(run())) == 40
        current = made.store.state().current
        assert current is not None
        digest = made.store.state().versions[current].digest
        while not made.residency.restarts:  # a worker that is killed twice dies once
            time.sleep(0.01)
        assert 1 <= made.residency.restarts[digest] <= 3


def test_a_promotion_takes_effect_without_a_failed_request(tmp_path: Path) -> None:
    with house(tmp_path) as made:
        version = made.healthy(2)
        rollout = start_canary(made.store, version)
        made.wait_serves(1, version)

        async def run() -> list[Prediction]:
            answers: list[Prediction] = []

            async def traffic() -> None:
                while not made.serves(version):
                    answers.append(await made.predictor.predict(*pair()))
                answers.append(await made.predictor.predict(*pair()))

            users = [asyncio.create_task(traffic()) for _ in range(4)]
            while len(answers) < 10:
                await asyncio.sleep(0.01)
            await asyncio.to_thread(promote, made.store, rollout, version)
            await asyncio.gather(*users)
            return answers

        answers = asyncio.run(run())
        assert not any(a.fallback for a in answers)
        assert all((a.role, a.target.version) == ("current", version) for a in answers[-4:])
        first = made.store.state().versions[1].digest
        assert first in made.residency.loaded, "the previous version stays warm for undo"


def test_a_version_of_another_size_that_comes_while_a_pair_is_decoded_is_asked(tmp_path: Path) -> None:
    with house(tmp_path, decode_threads=1) as made:
        version = publish(made.store, models.healthy(tmp_path / "wide", 1, size=128))

        async def run() -> Prediction:
            asked = asyncio.create_task(made.predictor.predict(*pair(128)))
            await asyncio.sleep(0)
            decoded = threading.Event()
            made.predictor.in_thread(decoded.set).send(None)  # behind the pair in the only thread
            assert decoded.wait(WAIT_SECONDS)
            promote(made.store, start_canary(made.store, version), version)
            made.wait_serves(version)  # all this while the loop of requests stands still
            return await asked

        found = asyncio.run(run())
    assert (found.target.version, len(found.detections)) == (version, models.FOUND)


def test_the_split_is_the_declared_one(tmp_path: Path) -> None:
    from scipy.stats import binomtest

    with house(tmp_path) as made:
        version = made.healthy(2)
        rollout = start_canary(made.store, version, share=0.5)
        made.wait_serves(1, version)
        answers = ask(made, 300, concurrency=8)
        observed(made, rollout, 300)
    canaries = sum(a.assigned == "canary" for a in answers)
    assert binomtest(canaries, 300, 0.5).pvalue > 1e-6


def test_bad_pictures_are_counted_against_nobody(tmp_path: Path) -> None:
    with house(tmp_path, coins=[TO_CANARY], max_image_pixels=64 * 64) as made:
        version = made.healthy(2)
        rollout = start_canary(made.store, version)
        made.wait_serves(1, version)
        good, other, large = pair(64), pair(32), pair(80)

        async def run() -> None:
            for pre, post in (
                (b"no picture", good[1]),
                (good[0], b""),
                (good[0], good[1][:200]),
                (good[0], other[1]),
            ):
                with pytest.raises(InvalidInput):
                    await made.predictor.predict(pre, post)
            with pytest.raises(TooLarge, match="post_disaster"):
                await made.predictor.predict(good[0], large[1])
            await made.predictor.predict(*good)

        asyncio.run(run())
        slice_ = observed(made, rollout, 1)
    assert sum(cell.successes + cell.failures for cell in slice_) == 1
    assert made.metrics.registry.get_sample_value("serinus_refused_total", {"reason": "bad_input"}) == 5


def test_probes_are_a_stratum_of_their_own(tmp_path: Path) -> None:
    with house(tmp_path, coins=[TO_CANARY]) as made:
        version = made.healthy(2)
        rollout = start_canary(made.store, version)
        made.wait_serves(1, version)
        asyncio.run(made.predictor.predict(*pair(), stratum=Stratum.PROBES))
        assert {cell.stratum for cell in observed(made, rollout, 1)} == {Stratum.PROBES}


def ask_a_stopped_worker(made: House, version: int) -> list[Prediction | BaseException]:
    """Five requests at once for one that is at the worker and one that waits (or only the latter)."""
    (pid,) = made.pids(version)
    os.kill(pid, signal.SIGSTOP)

    async def run() -> list[Prediction | BaseException]:
        answers = [asyncio.create_task(made.predictor.predict(*pair())) for _ in range(5)]
        while sum(a.done() for a in answers) < 3:
            await asyncio.sleep(0.01)
        os.kill(pid, signal.SIGCONT)
        return await asyncio.gather(*answers, return_exceptions=True)

    return asyncio.run(run())


def test_a_full_queue_refuses_users_of_current_and_not_those_of_the_canary(tmp_path: Path) -> None:
    with house(tmp_path, queue_size=1, predict_timeout_seconds=20.0) as made:
        refused = [a for a in ask_a_stopped_worker(made, 1) if isinstance(a, Unavailable)]
        assert len(refused) in (3, 4)
        assert all(a.retry_after > 0 for a in refused)

        version = made.healthy(2)
        rollout = start_canary(made.store, version, share=1.0)
        made.wait_serves(1, version)
        answers = [a for a in ask_a_stopped_worker(made, version) if isinstance(a, Prediction)]
        fallbacks = sum(a.fallback for a in answers)
        assert fallbacks in (3, 4)
        assert failures(observed(made, rollout, 5), Arm.CANARY) == {FailureKind.UNAVAILABLE: fallbacks}


def test_nothing_loaded_yet_is_said(tmp_path: Path) -> None:
    with House(tmp_path) as made, pytest.raises(Unavailable, match="No version"):
        ask(made)


def test_while_current_is_not_loaded_the_canary_answers_and_current_is_blamed(tmp_path: Path) -> None:
    made = House(tmp_path, coins=[TO_CURRENT, TO_CANARY])
    first = made.healthy(1, initial=True)
    model = made.store.artifact(made.store.state().versions[first].digest) / "model.onnx"
    model.unlink()
    with made:
        version = made.healthy(2)
        rollout = start_canary(made.store, version)
        wait_for(lambda: made.residency.snapshot.canary, "the canary")
        answers = ask(made, 4, concurrency=1)
        slice_ = observed(made, rollout, 4)
    assert [(a.assigned, a.role, a.fallback) for a in answers] == [
        ("current", "canary", True),
        ("canary", "canary", False),
    ] * 2
    assert failures(slice_, Arm.CURRENT) == {FailureKind.UNAVAILABLE: 2}
    assert failures(slice_, Arm.CANARY) == {}


def test_a_canary_without_a_share_does_not_stand_in(tmp_path: Path) -> None:
    made = House(tmp_path)
    first = made.healthy(1, initial=True)
    (made.store.artifact(made.store.state().versions[first].digest) / "model.onnx").unlink()
    with made:
        version = made.healthy(2)
        rollout = start_canary(made.store, version)
        made.store.append(ShareChanged(rollout=rollout, share=0.0), actor="test", reason="test")
        wait_for(lambda: (s := made.residency.snapshot).canary and s.share == 0, "the canary without share")
        with pytest.raises(Unavailable, match="No version"):
            ask(made)


def test_the_very_first_version_may_come_as_a_canary_with_all_the_traffic(tmp_path: Path) -> None:
    with House(tmp_path) as made:
        version = made.healthy(1)
        start_canary(made.store, version, share=1.0)
        wait_for(lambda: made.residency.snapshot.canary, "the canary")
        assert ask(made)[0].role == "canary"
        os.kill(made.pids(version)[0], signal.SIGSTOP)

        async def run() -> None:
            answer = asyncio.create_task(made.predictor.predict(*pair()))
            while not made.counters.in_flight(Arm.CANARY, 1):
                await asyncio.sleep(0.01)
            os.kill(made.pids(version)[0], signal.SIGKILL)
            with pytest.raises(Unavailable):
                await answer

        asyncio.run(run())


def test_a_replica_stops_a_harmful_canary_by_itself(tmp_path: Path) -> None:
    with house(tmp_path) as made:
        version = publish(made.store, models.raising(tmp_path / "bad"))
        rollout = start_canary(made.store, version)
        made.wait_serves(1, version)

        def asked_until_it_trips() -> bool:
            assert all(a.role == "current" for a in ask(made, 8))
            return rollout in made.agent.trips

        wait_for(asked_until_it_trips, "the trip")
        wait_for(lambda: made.residency.snapshot.share == 0, "the share to be 0 here")
        assert {a.assigned for a in ask(made, 20)} == {"current"}
        wait_for(
            lambda: [(r.trips, r.share) for r in made.store.replicas(0.0)] == [((rollout,), 0.0)],
            "the heartbeat",
        )
        assert made.store.state().rollout is not None, "only the controller rolls back for all"


def test_a_stopped_canary_stays_stopped_when_the_replica_ends(tmp_path: Path) -> None:
    with house(tmp_path) as made:
        version = publish(made.store, models.raising(tmp_path / "bad"))
        rollout = start_canary(made.store, version)
        made.wait_serves(1, version)
        wait_for(lambda: ask(made, 8) and rollout in made.agent.trips, "the trip")
    assert [(r.trips, r.in_flight) for r in made.store.replicas()] == [((rollout,), 0)]

    roll_back(made.store, rollout, version)
    with House(tmp_path) as again:
        again.wait_serves(Version(1))
        wait_for(lambda: len(again.store.replicas()) == 2, "its heartbeat")
    assert [r.replica for r in made.store.replicas()] == [made.agent.name], "only what it says itself"


def test_only_so_many_pixels_are_held_and_none_while_the_model_works(tmp_path: Path) -> None:
    pixels = 2 * 64 * 64
    with house(tmp_path, max_pixels_held=pixels, decode_threads=1, predict_timeout_seconds=20.0) as made:
        (worker,) = made.pids(1)
        held = made.predictor.pixels

        async def run() -> list[Prediction]:
            os.kill(worker, signal.SIGSTOP)
            waiting = []
            for _ in range(3):  # one after the other: each leaves its room when it is fitted
                waiting.append(asyncio.create_task(made.predictor.predict(*pair())))
                for _ in range(4):  # the only thread works in order: behind this it is decoded and fitted
                    await made.predictor.in_thread(int)
                assert not held.held
            os.kill(worker, signal.SIGCONT)
            return await asyncio.gather(*waiting)

        assert len(asyncio.run(run())) == 3
        kept = asyncio.run(made.predictor.predict(*pair(), keep_post=True))
        assert kept.post is not None
        assert held.held == pixels // 2
        with pytest.raises(Unavailable, match="memory"):
            ask(made)
        with pytest.raises(InvalidInput):
            asyncio.run(made.predictor.predict(pair()[0], b"no picture"))
        del kept
        assert held.held == 0
        assert len(ask(made)) == 1


def test_who_waited_too_long_for_pictures_to_be_read_is_told_to_come_back(tmp_path: Path) -> None:
    """Large pictures of others are before it; its own are not even looked at then."""
    with house(tmp_path, predict_timeout_seconds=0.2, decode_threads=1) as made:
        over = threading.Event()

        async def run() -> None:
            others = asyncio.create_task(made.predictor.in_thread(over.wait))
            asked = asyncio.create_task(made.predictor.predict(b"no picture", b"no picture"))
            began = monotonic()
            while monotonic() < began + 2 * made.settings.predict_timeout_seconds:
                await asyncio.sleep(0.01)
            over.set()
            with pytest.raises(Unavailable, match="too long for its pictures"):
                await asked
            await others
            with pytest.raises(InvalidInput):
                await made.predictor.predict(b"no picture", b"no picture")

        asyncio.run(run())


def test_pictures_in_and_out_are_of_the_same_kind(tmp_path: Path) -> None:
    with house(tmp_path) as made:
        found = ask(made)[0]
    assert found.detections.dtype == np.float32
    assert found.detections.shape == (models.FOUND, 6)


def pinned_to(made: House, caller: Caller, times: int = 1) -> list[Prediction]:
    async def run() -> list[Prediction]:
        pre, post = pair(64)
        return [await made.predictor.predict(pre, post, caller=caller) for _ in range(times)]

    return asyncio.run(run())


def test_a_pinned_user_stays_with_a_version_and_counts_once(tmp_path: Path) -> None:
    with house(tmp_path) as made:
        version = made.healthy(2)
        policy = Policy(share=0.5, sticky=ByHeader("X-User-Id"))
        rollout = start_canary(made.store, version, policy=policy)
        made.wait_serves(1, version)
        answers = {
            name: pinned_to(made, Caller(headers={"x-user-id": name}), 2) for name in map(str, range(20))
        }
        arms = {name: {each.assigned for each in found} for name, found in answers.items()}
        slice_ = observed(made, rollout, 20)
    assert all(len(of_user) == 1 for of_user in arms.values()), "both arms are pinned"
    assert {arm for of_user in arms.values() for arm in of_user} == {Arm.CANARY, Arm.CURRENT}
    assert not any(each.override for found in answers.values() for each in found)
    assert sum(cell.successes + cell.failures for cell in slice_) == 20, "40 requests of 20 users"
    users = sum(of_user == {Arm.CANARY} for of_user in arms.values())
    assert sum(cell.successes for cell in slice_ if cell.arm is Arm.CANARY) == users


def test_a_tester_gets_the_version_that_he_asks_for_and_is_no_evidence(tmp_path: Path) -> None:
    with house(tmp_path) as made:
        version = publish(made.store, models.raising(tmp_path / "bad"))
        rollout = start_canary(made.store, version, policy=Policy(override_header="X-Serinus-Arm"))
        made.wait_serves(1, version)
        to_canary = pinned_to(made, Caller(headers={"x-serinus-arm": "canary"}), 3)
        to_current = pinned_to(made, Caller(headers={"x-serinus-arm": "current"}), 3)
        with pytest.raises(InvalidInput, match="X-Serinus-Arm"):
            pinned_to(made, Caller(headers={"x-serinus-arm": "both"}))
        ordinary = pinned_to(made, Caller())[0]
        slice_ = observed(made, rollout, 1)
    assert [(each.assigned, each.override, each.fallback) for each in to_canary] == [
        (Arm.CANARY, True, True)
    ] * 3
    assert [(each.assigned, each.override, each.fallback) for each in to_current] == [
        (Arm.CURRENT, True, False)
    ] * 3
    assert not ordinary.override
    assert sum(cell.successes + cell.failures for cell in slice_) == 1


def test_an_overloaded_service_refuses_before_the_coin_and_blames_no_version(tmp_path: Path) -> None:
    with house(tmp_path, coins=[TO_CANARY, TO_CURRENT], queue_size=4, predict_timeout_seconds=30.0) as made:
        version = made.healthy(2)
        rollout = start_canary(made.store, version)
        made.wait_serves(1, version)
        workers = [*made.pids(1), *made.pids(version)]

        async def run() -> list[Prediction | BaseException]:
            tasks: list[asyncio.Task[Prediction]] = []
            while len(tasks) < 12:
                tasks.append(asyncio.create_task(made.predictor.predict(*pair())))
                while not tasks[-1].done() and sum(in_flight(made, rollout)) < sum(
                    not t.done() for t in tasks
                ):
                    await asyncio.sleep(0.01)
                await asyncio.sleep(0.1)  # from the ticket to the queue
            for worker in workers:
                os.kill(worker, signal.SIGCONT)
            return await asyncio.gather(*tasks, return_exceptions=True)

        for worker in workers:
            os.kill(worker, signal.SIGSTOP)
        answers = asyncio.run(run())
        refused = [answer for answer in answers if isinstance(answer, Unavailable)]
        assert len(refused) == 4, "two are at the workers; six wait, three of four places each"
        assert all(answer.retry_after == 1.0 for answer in refused)
        found = observed(made, rollout, 8)
        assert sum(cell.failures for cell in found) == 0
        assert {arm: sum(c.successes for c in found if c.arm is arm) for arm in Arm} == dict.fromkeys(Arm, 4)


@pytest.mark.parametrize(("waits_for_current", "counted"), [(1, 0), (0, 1)])
def test_a_queue_that_is_full_beside_one_that_is_not_short_blames_no_version(
    tmp_path: Path, waits_for_current: int, counted: int
) -> None:
    before = [TO_CURRENT] * (1 + waits_for_current) + [TO_CANARY] * 5
    coins = [*before, TO_CANARY, TO_CURRENT]
    with house(tmp_path, coins=coins, queue_size=4, predict_timeout_seconds=30.0) as made:
        version = made.healthy(2)
        rollout = start_canary(made.store, version)
        made.wait_serves(1, version)
        workers = [*made.pids(1), *made.pids(version)]

        async def run() -> list[Prediction]:
            tasks: list[asyncio.Task[Prediction]] = []
            for number in range(len(coins)):
                tasks.append(asyncio.create_task(made.predictor.predict(*pair())))
                at_workers = len(workers) if number > waits_for_current else 1
                while made.residency.waiting != len(tasks) - at_workers:
                    await asyncio.sleep(0.01)
            for worker in workers:
                os.kill(worker, signal.SIGCONT)
            return await asyncio.gather(*tasks)

        for worker in workers:
            os.kill(worker, signal.SIGSTOP)
        answers = asyncio.run(run())
        found = observed(made, rollout, len(before) + 2 * counted)
    assert [answer.fallback for answer in answers[-2:]] == [True, False], "nobody is refused"
    assert {arm: sum(c.failures for c in found if c.arm is arm) for arm in Arm} == {
        Arm.CANARY: counted,
        Arm.CURRENT: 0,
    }


def in_flight(made: House, rollout: int) -> list[int]:
    return [made.counters.in_flight(arm, rollout) for arm in Arm]


def test_who_waits_behind_one_that_waited_for_half_of_its_time_makes_a_crowd(tmp_path: Path) -> None:
    image = np.zeros((1, 64, 64, 6), np.uint8)
    with house(tmp_path, predict_timeout_seconds=1000.0) as made, made.residency.lease() as lease:
        pool, (worker,) = lease.seats[Arm.CURRENT].pool, made.pids(Version(1))
        for left, crowded in ((900.0, False), (100.0, True)):
            os.kill(worker, signal.SIGSTOP)
            begun = pool.submit(image, monotonic() + left, wait_for_worker=True)
            wait_for(begun.running, "the worker's thread to take it")
            waits = pool.submit(image, monotonic() + 1000.0, wait_for_worker=True)
            assert (pool.fullness > 0.5) is crowded
            os.kill(worker, signal.SIGCONT)
            assert len(waits.result(60.0)) == len(begun.result(60.0))
            assert pool.fullness == 0, "nobody waits"


def test_what_a_request_waits_for_a_worker_is_not_its_versions_latency(tmp_path: Path) -> None:
    with house(tmp_path, coins=[TO_CANARY], predict_timeout_seconds=60.0) as made:
        version = made.healthy(2)
        rollout = start_canary(made.store, version)
        made.wait_serves(1, version)
        (worker,) = made.pids(version)

        async def run() -> float:
            tasks = [asyncio.create_task(made.predictor.predict(*pair())) for _ in range(4)]
            while made.residency.waiting != 3:
                await asyncio.sleep(0.01)
            since = monotonic()
            await asyncio.sleep(5.0)
            stopped = monotonic() - since
            os.kill(worker, signal.SIGCONT)
            await asyncio.gather(*tasks)
            return stopped

        os.kill(worker, signal.SIGSTOP)
        stopped = asyncio.run(run())
        found = observed(made, rollout, 4)
    slow = sum(n for cell in found for place, n in cell.ok.items() if place >= latency_bin(stopped))
    assert slow == 1, "all four waited so long, one of them for what the version did"
    assert sum(cell.successes for cell in found) == 4


def test_who_has_waited_long_is_not_given_up_with_the_worker(tmp_path: Path) -> None:
    image = np.zeros((1, 64, 64, 6), np.uint8)
    with house(tmp_path, predict_timeout_seconds=1000.0) as made, made.residency.lease() as lease:
        pool, (worker,) = lease.seats[Arm.CURRENT].pool, made.pids(Version(1))
        os.kill(worker, signal.SIGSTOP)
        begun = pool.submit(image, monotonic() + 1000.0, wait_for_worker=False)
        wait_for(begun.running, "the worker's thread to take it")
        late, soon = (
            pool.submit(image, monotonic() + left, wait_for_worker=False) for left in (100.0, 900.0)
        )
        os.kill(worker, signal.SIGKILL)
        assert [type(outcome.exception(WAIT_SECONDS)) for outcome in (begun, soon)] == [VersionFailed] * 2
        assert len(late.result(WAIT_SECONDS)) == models.FOUND, "the next worker answers it"


@pytest.mark.parametrize("judged", [True, False])
def test_who_will_wait_in_vain_is_no_evidence_where_slowness_has_a_test_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, judged: bool
) -> None:
    monkeypatch.setattr(Pool, "foreseen", property(lambda _: 1.0))
    coins = [TO_CURRENT, TO_CURRENT, TO_CANARY, TO_CANARY, TO_CURRENT]
    with house(tmp_path, coins=coins, queue_size=4, predict_timeout_seconds=60.0) as made:
        version = made.healthy(2)
        rollout = start_canary(made.store, version, policy=Policy(share=0.5, judge_latency=judged))
        made.wait_serves(1, version)
        workers = [*made.pids(1), *made.pids(version)]

        async def run() -> None:
            tasks: list[asyncio.Task[Prediction]] = []
            for waiting in (0, 1, 1, 2, 3):
                tasks.append(asyncio.create_task(made.predictor.predict(*pair())))
                while made.residency.waiting != waiting:
                    await asyncio.sleep(0.01)
                await asyncio.sleep(0.5)  # from the picture to the queue, and from there to the worker
            for worker in workers:
                os.kill(worker, signal.SIGCONT)
            await asyncio.gather(*tasks)

        for worker in workers:
            os.kill(worker, signal.SIGSTOP)
        asyncio.run(run())
        found = observed(made, rollout, 4 if judged else 5)
    assert sum(cell.successes for cell in found) == (4 if judged else 5)
