"""What answers are like, as a replica counts it: by the arm that was meant; before a rollout, current's."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from serinus.core.enums import Arm, Signal, Stratum
from serinus.core.ids import Digest, Version
from serinus.evidence.counts import Slice, merge
from serinus.observe.past import Past
from serinus.rollout.policy import ByHeader, Policy
from serinus.serving.answers import answer_of
from serinus.serving.assignment import Caller
from tests import models
from tests.serving.house import House, house, pair, publish, start_canary, wait_for

CLASSES = ("no-damage", "minor-damage", "major-damage", "destroyed")


@pytest.mark.parametrize(
    ("kinds", "golden", "answer"),
    [
        ([], False, ("0", "none", "")),
        ([], True, ("0", "none", "empty")),
        ([3], True, ("1", "destroyed", "found")),
        ([3, 1, 1], False, ("2-3", "minor-damage", "")),
        ([2, 1], False, ("2-3", "minor-damage", "")),
        ([0] * 31, False, ("16-31", "no-damage", "")),
        ([0] * 5000, False, ("32 and more", "no-damage", "")),
    ],
)
def test_an_answer_is_in_one_category_of_each_signal(
    kinds: list[int], golden: bool, answer: tuple[str, str, str]
) -> None:
    detections = np.zeros((len(kinds), 6), np.float32)
    detections[:, 5] = kinds
    assert answer_of(detections, CLASSES, golden=golden) == answer


def test_the_past_is_of_one_version_and_of_late() -> None:
    past, one, other = Past(), Digest("a" * 64), Digest("b" * 64)
    for n in range(12_000):
        past.note(one, ("1", "old" if n < 1000 else "new", ""))
    version, counts = past.read()
    assert version == one
    assert counts == {Signal.DETECTIONS: {"1": 7000}, Signal.DOMINANT_CLASS: {"new": 7000}}
    past.note(other, ("0", "none", ""))
    assert past.read() == (other, {Signal.DETECTIONS: {"0": 1}, Signal.DOMINANT_CLASS: {"none": 1}})


def ask(made: House, times: int, **how: object) -> None:
    async def run() -> None:
        for _ in range(times):
            await made.predictor.predict(*pair(), **how)  # type: ignore[arg-type]

    asyncio.run(run())


def observed(made: House, rollout: int, requests: int) -> Slice:
    def all_slices() -> Slice:
        return merge(slice_ for _, _, slice_ in made.store.new_observations(rollout, {}))

    wait_for(lambda: sum(c.successes + c.failures for c in all_slices()) >= requests, "the observations")
    return all_slices()


@pytest.mark.processes
def test_signals_follow_the_arm_that_was_meant(tmp_path: Path) -> None:
    """The first, third ... request is the canary's; the past is of current, before there was one."""
    with house(tmp_path, coins=[0.0, 0.999]) as made:
        ask(made, 5)
        digest = made.store.state().versions[Version(1)].digest
        wait_for(
            lambda: any(
                replica.past_of == digest and sum(replica.past[Signal.DETECTIONS].values()) == 5
                for replica in made.store.replicas()
                if replica.past
            ),
            "the heartbeat tells the past",
        )
        version = publish(made.store, models.empty(tmp_path / "v2", 2))
        rollout = start_canary(made.store, version)
        made.wait_serves(Version(1), version)
        ask(made, 6)
        ask(made, 4, stratum=Stratum.PROBES, golden=True)
        cells = {(cell.stratum, cell.arm): cell.signals for cell in observed(made, rollout, 10)}
        assert made.counters.past.read()[1][Signal.DETECTIONS] == {"8-15": 5}, "a rollout is no past"
    users, probes = Stratum.USERS, Stratum.PROBES
    assert cells[users, Arm.CANARY] == {Signal.DETECTIONS: {"0": 3}, Signal.DOMINANT_CLASS: {"none": 3}}
    assert cells[users, Arm.CURRENT][Signal.DETECTIONS] == {"8-15": 3}
    assert Signal.GOLDEN not in cells[users, Arm.CANARY]
    assert cells[probes, Arm.CANARY][Signal.GOLDEN] == {"empty": 2}
    assert cells[probes, Arm.CURRENT][Signal.GOLDEN] == {"found": 2}


@pytest.mark.processes
def test_a_pinned_user_and_a_failure_count_once_or_not_at_all(tmp_path: Path) -> None:
    policy = Policy(sticky=ByHeader("x-user"))
    with house(tmp_path) as made:
        version = publish(made.store, models.nan(tmp_path / "v2", 2))
        rollout = start_canary(made.store, version, policy=policy)
        made.wait_serves(Version(1), version)
        for user in range(12):
            ask(made, 3, caller=Caller({"x-user": str(user)}))
        cells = observed(made, rollout, 12)
    for cell in cells:
        if cell.arm is Arm.CANARY:
            assert (cell.successes, cell.signals) == (0, {}), "what was not answered is like nothing"
        else:
            assert sum(cell.signals[Signal.DETECTIONS].values()) == cell.successes
    assert sum(cell.successes + cell.failures for cell in cells) == 12
