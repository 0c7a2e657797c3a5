"""Feedback as a gate: what users judged during a rollout lets a canary pass, or keeps it where it is."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from serinus.control import commands
from serinus.control.explain import explain
from serinus.control.judged import FeedbackWatch
from serinus.control.overview import overview
from serinus.control.retrace import retrace
from serinus.core.enums import Arm, ReasonCode, RolloutPhase
from serinus.core.errors import Conflict
from serinus.core.ids import Version
from serinus.rollout.events import Promoted
from serinus.rollout.feedback import vouched
from serinus.rollout.policy import FeedbackGate, FeedbackMetric, OnInsufficient
from serinus.store import Answered, Feedback
from tests.control.world import WINDOW, World

TRUE = ((4.0, 4.0, 20.0, 20.0), (30.0, 30.0, 50.0, 44.0))
GATE = FeedbackGate(metric=FeedbackMetric.RECALL, margin=0.1, min_pairs=20)


def judge(
    world: World, version: int, pairs: int, *, wrong: float, rollout: int | None = 1, name: str = ""
) -> None:
    """Users say what was in so many pictures; of the buildings the version got a share `wrong`."""
    record = world.state.versions[Version(version)]
    for number in range(pairs):
        random = np.random.default_rng([version, number])
        classes = tuple(1 if random.random() < wrong else 0 for _ in TRUE)
        answered = Answered(
            request_id=f"{name}v{version}-{number}",
            time=world.clock(),
            version=record.version,
            digest=record.digest,
            role=Arm.CANARY if version == 2 else Arm.CURRENT,
            rollout=rollout,
            width=64,
            height=64,
            boxes=TRUE,
            scores=(0.9, 0.8),
            classes=classes,
        )
        truth = Feedback(answered=answered, time=world.clock(), boxes=TRUE, classes=(0, 0))
        world.store.feedback.put(truth, None)


def under(folder: Path, gate: FeedbackGate, **policy: object) -> World:
    world = World(folder, feedback=gate, **policy)
    world.canary()
    return world


def test_what_users_judged_as_good_is_promoted_and_recorded(tmp_path: Path) -> None:
    world = under(tmp_path, GATE)
    judge(world, 2, 30, wrong=0.0)
    judge(world, 1, 30, wrong=0.1)
    last = world.until_over(users=20, seconds=int(WINDOW) + 5)
    assert last.phase is RolloutPhase.PROMOTED
    assert "feedback: recall 1.000 on 30 judged pairs against" in last.reason
    body = world.events[-1].body
    assert isinstance(body, Promoted)
    assert (body.numbers["feedback_canary_pairs"], body.numbers["feedback_look"]) == (30, 1)
    assert body.numbers["feedback_low"] >= -body.numbers["feedback_margin"] == -0.1
    assert "feedback: recall" in explain(world.store).headline


def test_what_users_judged_as_worse_is_held_and_never_rolled_back(tmp_path: Path) -> None:
    world = under(tmp_path, GATE, max_evaluation=2)
    judge(world, 2, 30, wrong=0.5)
    judge(world, 1, 30, wrong=0.0)
    world.step(users=20, seconds=int(2 * WINDOW) + 5)
    assert (world.rollout.phase, world.rollout.code) == (RolloutPhase.HELD, ReasonCode.INSUFFICIENT)
    assert "feedback: recall" in world.rollout.reason and "lies below -0.100" in world.rollout.reason
    with pytest.raises(Conflict, match="feedback: recall"):
        commands.promote(world.store, actor="alice", reason="I like it")
    event = commands.promote(world.store, actor="alice", reason="I like it", confirm=True)
    assert isinstance(event.body, Promoted)
    assert event.body.override
    assert event.body.numbers["feedback_low"] < -0.1


def test_it_keeps_a_policy_that_promotes_when_in_doubt_from_promoting(tmp_path: Path) -> None:
    world = under(tmp_path, GATE, max_evaluation=1, on_insufficient=OnInsufficient.PROMOTE)
    judge(world, 2, 30, wrong=0.5)
    judge(world, 1, 30, wrong=0.0)
    world.step(users=20, seconds=int(WINDOW) + 5)
    assert world.rollout.phase is RolloutPhase.HELD


def test_a_next_step_waits_for_better_judgements(tmp_path: Path) -> None:
    world = under(tmp_path, GATE, steps=(0.5, 0.8))
    judge(world, 2, 30, wrong=0.5)
    judge(world, 1, 30, wrong=0.0)
    world.step(users=40, seconds=10)
    assert world.rollout.step == 0
    judge(world, 2, 80, wrong=0.0)
    judge(world, 1, 80, wrong=0.0)
    world.step(users=40, seconds=2)
    assert world.rollout.step == 1


@pytest.mark.parametrize("required", [False, True])
def test_too_little_feedback_is_waited_for_only_where_it_is_required(tmp_path: Path, required: bool) -> None:
    gate = FeedbackGate(min_pairs=20, required=required)
    world = under(tmp_path, gate, max_evaluation=2)
    judge(world, 2, 19, wrong=0.0)
    judge(world, 1, 50, wrong=0.0)
    judge(world, 2, 5, wrong=0.0, rollout=None, name="testers-")
    if not required:
        last = world.until_over(users=20, seconds=int(WINDOW) + 5)
        assert last.phase is RolloutPhase.PROMOTED
        assert "feedback not judged: 19 judged pairs of the canary and 50 of current" in last.reason
        return
    world.step(users=20, seconds=int(WINDOW) + 5)
    assert world.rollout.phase is RolloutPhase.CANARY
    assert "Feedback not judged: 19 judged pairs of the canary" in overview(world.store).words
    judge(world, 2, 20, wrong=0.0)
    assert world.until_over(users=20, seconds=2).phase is RolloutPhase.PROMOTED


def test_required_feedback_that_never_comes_holds(tmp_path: Path) -> None:
    world = under(tmp_path, FeedbackGate(required=True), max_evaluation=2)
    world.step(users=20, seconds=int(2 * WINDOW) + 5)
    assert (world.rollout.phase, world.rollout.code) == (RolloutPhase.HELD, ReasonCode.INSUFFICIENT)
    assert "0 judged pairs of the canary and 0 of current, 50 of each needed" in world.rollout.reason


def test_without_the_gate_feedback_decides_nothing(world: World) -> None:
    world.canary()
    judge(world, 2, 60, wrong=0.5)
    judge(world, 1, 60, wrong=0.0)
    last = world.until_over(users=20, seconds=int(WINDOW) + 5)
    assert last.phase is RolloutPhase.PROMOTED
    assert "feedback" not in last.reason


def test_a_look_finds_the_same_however_late_it_is_made(tmp_path: Path) -> None:
    """What came after the pairs that a look takes belongs to the next look."""
    world = under(tmp_path, GATE)
    judge(world, 2, 20, wrong=0.2)
    judge(world, 1, 20, wrong=0.0)
    early, late = FeedbackWatch(world.store), FeedbackWatch(world.store)
    first = early.standing(world.state, world.rollout)
    world.clock.now += 10
    judge(world, 2, 19, wrong=0.0, name="later-")
    judge(world, 1, 60, wrong=0.0, name="later-")
    again = late.standing(world.state, world.rollout)
    assert first is not None and again is not None
    assert first.judged is not None and first.judged == again.judged
    judge(world, 2, 21, wrong=0.0, name="later-")
    second = early.standing(world.state, world.rollout)
    assert second is not None and second.judged is not None
    assert second.judged.look == 2
    assert second.judged.low > first.judged.low


def test_who_vouches_for_a_canary(tmp_path: Path) -> None:
    world = under(tmp_path, FeedbackGate(metric=FeedbackMetric.RECALL, margin=0.3, min_pairs=10))
    watch = FeedbackWatch(world.store)
    rollout = msgspec.structs.replace(world.rollout, vouched=("golden set coast",))
    assert vouched(rollout, watch.standing(world.state, rollout)) == ("golden set coast",)
    judge(world, 2, 10, wrong=1.0)
    judge(world, 1, 10, wrong=0.0)
    assert vouched(rollout, watch.standing(world.state, rollout)) == ()
    judge(world, 2, 80, wrong=0.0, name="again-")
    judge(world, 1, 80, wrong=0.0, name="again-")
    assert vouched(rollout, watch.standing(world.state, rollout)) == ("golden set coast", "feedback")


def test_feedback_is_retraced_as_it_stood(tmp_path: Path) -> None:
    world = under(tmp_path, FeedbackGate(metric=FeedbackMetric.RECALL, min_pairs=20, required=True))
    world.step(users=20, seconds=int(WINDOW) + 8)
    world.clock.now += 0.5
    judge(world, 2, 20, wrong=0.0)
    judge(world, 1, 20, wrong=0.0)
    world.until_over(users=20, seconds=3)
    told = retrace(world.store, 1)
    assert told.same, told.words
    assert told.slice > WINDOW
