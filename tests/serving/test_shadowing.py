"""Both versions on one picture, through real worker processes: what is counted and kept; users never pay."""

import asyncio
import math
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from serinus.core.enums import Arm, ShadowDrop, Stratum
from serinus.core.ids import Version
from serinus.evaluation.agreement import agreement
from serinus.evidence import pairs
from serinus.evidence.counts import Slice, merge
from serinus.evidence.pairs import PairCounts
from serinus.rollout.events import ShareChanged
from serinus.rollout.policy import Policy
from serinus.serving.prediction import Prediction
from serinus.serving.shadowing import counts_of
from serinus.store import GalleryFile
from tests import models
from tests.serving.house import House, house, pair, publish, roll_back, start_canary, wait_for

pytestmark = pytest.mark.processes

TO_CANARY, TO_CURRENT = 0.0, 0.999
ALL = Policy(shadow_share=1.0)


def begin(made: House, version: Version, policy: Policy = ALL, *, ready: bool = True) -> int:
    rollout = start_canary(made.store, version, policy=policy)
    made.wait_serves(1, version)
    if ready:
        wait_for(lambda: all(made.shadow_pids(v) for v in (1, version)), "the workers for shadow pairs")
    return rollout


def ask(
    made: House,
    times: int = 1,
    *,
    stratum: Stratum = Stratum.USERS,
    first: int = 0,
    keep_post: bool = False,
) -> list[Prediction]:
    """Each request as the service handles it: the answer, then the offer."""

    async def run() -> list[Prediction]:
        answers = []
        for number in range(first, first + times):
            pre, post = pair(seed=number)
            answer = await made.predictor.predict(
                pre, post, stratum=stratum, shadowed=True, keep_post=keep_post
            )
            made.shadows.offer(f"request-{number}", answer, pre, post)
            answers.append(answer)
        return answers

    return asyncio.run(run())


def reported(made: House, rollout: int) -> PairCounts:
    return pairs.add(counts for _, _, counts in made.store.new_pairs(rollout, {}))


def settled(counts: PairCounts) -> int:
    return counts.pairs + sum(counts.failed.values()) + sum(counts.dropped.values())


def wait_settled(made: House, rollout: int, requests: int) -> PairCounts:
    wait_for(lambda: settled(reported(made, rollout)) >= requests, f"{requests} shadows")
    return reported(made, rollout)


def test_each_answer_is_compared_with_the_other_versions(tmp_path: Path) -> None:
    with house(tmp_path, coins=[TO_CANARY, TO_CURRENT]) as made:
        policy = Policy(shadow_share=1.0, keep_inputs=True)
        rollout = begin(made, publish(made.store, models.other_classes(tmp_path / "other", 2)), policy)
        answers = []
        for number in range(4):  # one after the other: none is dropped
            answers += ask(made, first=number)
            counts = wait_settled(made, rollout, number + 1)
        wait_for(lambda: len(made.store.gallery.ids(rollout)) == 4, "the gallery")
        slices = merge(slice_ for _, _, slice_ in made.store.new_observations(rollout, {}))
        items = [made.store.gallery.get(rollout, name) for name in made.store.gallery.ids(rollout)]
        files = [
            made.store.gallery.file(rollout, name, kind)
            for name in made.store.gallery.ids(rollout)
            for kind in GalleryFile
        ]
    assert [(a.assigned, a.fallback) for a in answers] == [("canary", False), ("current", False)] * 2
    assert counts.pairs == 4
    assert counts.matched == counts.boxes_current == counts.boxes_canary == 4 * models.FOUND
    assert counts.agreed == 0, "the second version names each class one higher"
    assert counts.disagreed(0.5) == 4
    assert sum(n for row in counts.confusion.values() for n in row.values()) == 4 * models.FOUND
    assert all(row.keys() == {(label + 1) % 4} for label, row in counts.confusion.items())
    assert {arm: sum(bins.values()) for arm, bins in counts.answered.items()} == {"current": 2, "canary": 2}
    assert {arm: sum(bins.values()) for arm, bins in counts.shadowed.items()} == {"current": 2, "canary": 2}
    # Evidence of errors and latency comes from the users' answers alone.
    assert sum(cell.successes for cell in slices) == 4
    assert {cell.stratum for cell in slices} == {Stratum.USERS}
    assert all(item is not None and item.disputed == 2 * models.FOUND for item in items)
    assert {item.answered.request_id for item in items if item} == {f"request-{n}" for n in range(4)}
    assert all(item.answered.version != item.shadow.version for item in items if item)
    assert all(files) and pair(seed=0)[1] in files
    assert sum(data is not None and data.startswith(b"\xff\xd8") for data in files) == 8


def test_users_get_every_answer_while_the_worker_for_shadows_hangs(tmp_path: Path) -> None:
    with house(tmp_path, coins=[TO_CURRENT], predict_timeout_seconds=30.0) as made:
        rollout = begin(made, made.healthy(2))
        canary = made.store.state().rollout
        assert canary is not None
        (pid,) = made.shadow_pids(canary.version)
        os.kill(pid, signal.SIGSTOP)
        roles = [a.role for a in ask(made, keep_post=True)]
        wait_for(lambda: made.shadows.asking, "the worker that hangs to be asked")
        roles += [a.role for a in ask(made, 11, first=1, keep_post=True)]
        assert roles == [Arm.CURRENT] * 12
        wait_for(lambda: made.predictor.pixels.held == 0, "the room for decoded pictures, which is users'")
        # One is being asked, as many as may wait do; none of the others waits for them.
        counts = wait_settled(made, rollout, 12 - 1 - made.settings.shadow_queue)
        assert counts.dropped == {ShadowDrop.FULL: 12 - 1 - made.settings.shadow_queue}
        assert len(made.pids(canary.version)) == 1, "the one that answers users is another one"
    # Closing cancels what waits and what runs, and counts it.
    assert reported(made, rollout).dropped == {ShadowDrop.FULL: 7, ShadowDrop.GONE: 5}


@pytest.mark.parametrize("draft", [models.raising, models.nan])
def test_what_fails_as_a_shadow_costs_nobody_anything(tmp_path: Path, draft) -> None:
    with house(tmp_path, coins=[TO_CURRENT]) as made:
        rollout = begin(made, publish(made.store, draft(tmp_path / "bad")))
        answers = ask(made)
        assert wait_settled(made, rollout, 1) == PairCounts(failed={Arm.CANARY: 1})
        unharmed(made, rollout, answers)


def test_a_crash_as_a_shadow_costs_nobody_anything(tmp_path: Path) -> None:
    with house(tmp_path, coins=[TO_CANARY], predict_timeout_seconds=30.0) as made:
        rollout = begin(made, made.healthy(2))
        (worker,) = made.pids(1)
        (pid,) = made.shadow_pids(1)
        os.kill(pid, signal.SIGSTOP)
        answers = ask(made)
        wait_for(lambda: made.shadows.asking, "the shadow to be asked")
        os.kill(pid, signal.SIGKILL)
        assert wait_settled(made, rollout, 1) == PairCounts(failed={Arm.CURRENT: 1})
        assert made.pids(1) == [worker], "current's own worker lives"
        unharmed(made, rollout, answers)
        wait_for(lambda: made.shadow_pids(1), "a new worker for shadow pairs")
        ask(made)
        assert wait_settled(made, rollout, 2).pairs == 1


def unharmed(made: House, rollout: int, answers: list[Prediction]) -> None:
    def seen() -> Slice:
        return merge(slice_ for _, _, slice_ in made.store.new_observations(rollout, {}))

    wait_for(lambda: sum(cell.successes for cell in seen()) == len(answers), "the observations")
    assert sum(cell.failures for cell in seen()) == 0, "no evidence of errors"
    assert not any(answer.fallback for answer in answers)
    assert made.residency.snapshot.share == 0.5, "nobody tripped"


def test_shadows_are_dropped_while_a_user_waits(tmp_path: Path) -> None:
    with house(tmp_path, coins=[TO_CURRENT], predict_timeout_seconds=30.0) as made:
        rollout = begin(made, made.healthy(2))
        pre, post = pair()
        (worker,) = made.pids(1)

        async def run() -> None:
            answer = await made.predictor.predict(pre, post, shadowed=True)
            os.kill(worker, signal.SIGSTOP)
            users = [asyncio.create_task(made.predictor.predict(pre, post)) for _ in range(2)]
            while not made.residency.crowded:
                await asyncio.sleep(0.01)
            made.shadows.offer("late", answer, pre, post)
            os.kill(worker, signal.SIGCONT)
            await asyncio.gather(*users)

        asyncio.run(run())
        counts = wait_settled(made, rollout, 1)
    assert counts == PairCounts(dropped={ShadowDrop.LOAD: 1})


def test_who_is_asked_twice(tmp_path: Path) -> None:
    # Of each request the first toss assigns, the second decides about its shadow.
    with house(tmp_path, coins=[TO_CURRENT, 0.1, TO_CURRENT, 0.3]) as made:
        version = publish(made.store, models.healthy(tmp_path / "same", 5 * 4 + 1))
        rollout = begin(made, version, Policy(shadow_share=0.25))
        answers = ask(made, 4)
        assert [answer.shadow is not None for answer in answers] == [True, False, True, False]
        assert [answer.shadow for answer in ask(made, 2, stratum=Stratum.PROBES)] == [None, None]
        counts = wait_settled(made, rollout, 2)
        assert (counts.pairs, counts.disagreed(1.0)) == (2, 0), "these two always agree"
        assert made.store.gallery.ids(rollout) == []

        made.store.append(ShareChanged(rollout=rollout, share=0.0), actor="test", reason="test")
        wait_for(lambda: made.residency.snapshot.share == 0.0, "the share")
        answers = ask(made, 2)
        assert {answer.role for answer in answers} == {Arm.CURRENT}
        assert [answer.shadow is not None for answer in answers] == [False, True], "also without traffic"

        roll_back(made.store, rollout, version)
        made.wait_serves(1)
        wait_for(lambda: not made.shadow_pids(1), "the end of the worker for shadow pairs")
        begin(made, publish(made.store, models.healthy(tmp_path / "third", 3)), Policy(), ready=False)
        assert [answer.shadow for answer in ask(made, 2)] == [None, None]
        assert not made.shadow_pids(1)


def test_what_one_pair_counts() -> None:
    current = np.array([[0, 0, 10, 10, 0.9, 0], [20, 0, 30, 10, 0.8, 1]], np.float32)
    canary = np.array([[0, 0, 10, 10, 0.7, 2], [60, 0, 70, 10, 0.6, 3]], np.float32)
    said = agreement(current, canary, 4)
    by_canary = counts_of(said, Arm.CANARY, answered_seconds=0.1, shadow_seconds=0.2)
    assert by_canary.f1 == {0: 1}
    assert by_canary.confusion == {-1: {3: 1}, 0: {2: 1}, 1: {-1: 1}}
    assert by_canary.score_shift == pytest.approx(-200_000, abs=1)
    assert by_canary.slower == {Arm.CURRENT: round(math.log(2) * 1e6)}
    by_current = counts_of(said, Arm.CURRENT, answered_seconds=0.1, shadow_seconds=0.2)
    assert by_current.slower == {Arm.CANARY: -round(math.log(2) * 1e6)}, "always canary over current"
    assert (by_current.shadowed.keys(), by_current.answered.keys()) == ({Arm.CURRENT}, {Arm.CANARY})
