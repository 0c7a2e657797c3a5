"""What answers are like: invalid ones roll back, other ones are explained or held, drift blames nobody."""

from pathlib import Path

import msgspec
import pytest

from serinus.control import commands
from serinus.control.explain import explain, in_words
from serinus.control.overview import overview
from serinus.control.retrace import retrace
from serinus.core.enums import Arm, FailureKind, ReasonCode, RolloutPhase
from serinus.rollout.events import Held, Noted
from serinus.rollout.policy import OnShift
from tests.control.world import ALIKE, WINDOW, World

OTHER = {"none": 2, "minor-damage": 1, "destroyed": 7}
FOUND_NOTHING = {"none": 9, "destroyed": 1}


def noted(world: World) -> list[Noted]:
    return [event.body for event in world.events if isinstance(event.body, Noted)]


def until_held(world: World, users: int = 20, seconds: int = 40) -> None:
    for _ in range(seconds):
        world.step(users)
        if world.state.rollout is None or world.rollout.phase is RolloutPhase.HELD:
            break
    assert world.state.rollout is not None and world.rollout.phase is RolloutPhase.HELD, world.story()


def test_other_answers_are_held_until_a_person_has_looked(world: World) -> None:
    world.replica.answers[Arm.CANARY] = OTHER
    world.canary()
    until_held(world)
    assert (world.rollout.code, world.rollout.share) == (ReasonCode.SIGNALS, 0.5)
    held = world.events[-1]
    assert "dominant class " in held.reason and "nothing vouches" in held.reason
    assert isinstance(held.body, Held)
    assert held.body.numbers["e_shift"] >= held.body.numbers["limit_shift"] == 400.0
    assert "answers differently" in overview(world.store).words
    words = in_words(explain(world.store))
    assert "is held" in words and "dominant class " in words
    commands.resume(world.store, actor="alice", reason="more damage is right: I looked at them")
    last = world.until_over(users=20, seconds=60)
    assert (last.phase, last.code) == (RolloutPhase.PROMOTED, ReasonCode.EVIDENCE_GOOD)
    assert not noted(world)
    again = retrace(world.store, 1)
    assert again.same, (again.steps, again.recorded)
    assert [step.code for step in again.steps] == [ReasonCode.SIGNALS, ReasonCode.EVIDENCE_GOOD]


def test_other_answers_that_a_golden_set_vouches_for_are_noted_once(world: World) -> None:
    world.replica.answers[Arm.CANARY] = OTHER
    world.canary(vouched=("golden set coast",))
    last = world.until_over(users=20, seconds=60)
    assert last.phase is RolloutPhase.PROMOTED
    assert [body.code for body in noted(world)] == [ReasonCode.SIGNALS]
    assert "vouched for by golden set coast" in world.story()
    assert retrace(world.store, 1).same
    assert "answers differently" in in_words(explain(world.store))


def test_a_policy_may_let_other_answers_pass(tmp_path: Path) -> None:
    world = World(tmp_path, on_shift="note")
    world.replica.answers[Arm.CANARY] = OTHER
    world.canary()
    assert world.until_over(users=20, seconds=60).phase is RolloutPhase.PROMOTED
    assert len(noted(world)) == 1


def test_where_no_golden_set_is_there_other_answers_pass_with_a_note(world: World) -> None:
    world.replica.answers[Arm.CANARY] = OTHER
    world.canary(measured=False)
    assert world.until_over(users=20, seconds=60).phase is RolloutPhase.PROMOTED
    assert [body.code for body in noted(world)] == [ReasonCode.SIGNALS]
    assert "neither a golden set nor held-out pairs" in world.story()
    assert retrace(world.store, 1).same


def test_what_a_policy_let_pass_is_held_by_a_stricter_one(world: World) -> None:
    world.replica.answers[Arm.CANARY] = OTHER
    world.canary(measured=False)
    while not noted(world):
        world.step(20)
    assert noted(world)[0].lenient
    stricter = msgspec.structs.replace(world.policy, on_shift=OnShift.HOLD)
    commands.change_policy(world.store, policy=stricter, actor="alice", reason="no more surprises")
    until_held(world)
    assert world.rollout.code is ReasonCode.SIGNALS
    commands.resume(world.store, actor="alice", reason="I looked at them")
    assert world.until_over(users=20, seconds=60).phase is RolloutPhase.PROMOTED
    assert len(noted(world)) == 1
    assert retrace(world.store, 1).same


def test_what_if_the_policy_had_let_them_pass(world: World) -> None:
    world.replica.answers[Arm.CANARY] = OTHER
    world.canary()
    until_held(world)
    world.step(users=20, seconds=int(WINDOW))
    policy = world.policy.__class__(window_seconds=world.clock_of_window / 2, on_shift="note")  # type: ignore[arg-type]
    assert retrace(world.store, 1, policy).decision == "promote"


def test_pictures_that_differ_from_those_of_before_are_nobodys_fault(world: World) -> None:
    world.replica.past = {"none": 1000, "minor-damage": 2500, "destroyed": 1500}
    world.replica.answers = {Arm.CANARY: OTHER, Arm.CURRENT: OTHER}
    world.canary(vouched=("golden set coast",))
    until_held(world)
    assert world.rollout.code is ReasonCode.DRIFT
    assert "data drift" in world.events[-1].reason
    assert world.state.rollout is not None and world.state.rollout.past
    commands.resume(world.store, actor="alice", reason="it is another storm")
    assert world.until_over(users=20, seconds=60).phase is RolloutPhase.PROMOTED
    assert retrace(world.store, 1).same


@pytest.mark.parametrize("past", [{}, {"none": 20, "minor-damage": 50, "destroyed": 30}])
def test_where_nothing_changed_nothing_is_said(world: World, past: dict[str, int]) -> None:
    world.replica.past = past
    assert world.replica.answers[Arm.CANARY] == ALIKE
    world.canary()
    assert world.until_over(users=40, seconds=60).phase is RolloutPhase.PROMOTED
    assert not noted(world)
    assert "No difference is shown" in in_words(explain(world.store))


def test_invalid_answers_have_a_limit_of_their_own(world: World) -> None:
    """At 4 % no error test blames it: it may fail 5 %."""
    world.replica.errors[Arm.CANARY] = 0.04
    world.replica.kinds[Arm.CANARY] = FailureKind.INVALID_OUTPUT
    world.canary()
    last = world.until_over(users=60, seconds=60)
    assert (last.phase, last.code) == (RolloutPhase.ROLLED_BACK, ReasonCode.SIGNALS), world.story()
    assert "invalid" in last.reason
    again = retrace(world.store, 1)
    assert (again.same, again.why) == (True, ReasonCode.SIGNALS)


def test_pictures_that_break_both_versions_roll_nobody_back(world: World) -> None:
    world.replica.errors = dict.fromkeys(Arm, 0.04)
    world.replica.kinds = dict.fromkeys(Arm, FailureKind.INVALID_OUTPUT)
    world.canary()
    world.step(users=60, seconds=60)
    assert world.state.last is None or world.state.last.phase is not RolloutPhase.ROLLED_BACK, world.story()


def test_a_canary_that_finds_nothing_on_golden_pairs_is_rolled_back(world: World) -> None:
    world.replica.answers = {Arm.CANARY: FOUND_NOTHING, Arm.CURRENT: {"destroyed": 10}}
    world.canary(vouched=("golden set coast",))
    last = world.until_over(users=0, seconds=60)
    assert (last.phase, last.code) == (RolloutPhase.ROLLED_BACK, ReasonCode.SIGNALS), world.story()
    assert "golden pairs" in last.reason


def test_a_failing_current_does_not_bar_its_repair(world: World) -> None:
    """What it cannot answer has no category: the canary's answers are many more, and no others."""
    world.replica.errors[Arm.CURRENT] = 0.7
    world.canary()
    last = world.until_over(users=20, seconds=60)
    assert (last.phase, last.code) == (RolloutPhase.PROMOTED, ReasonCode.EVIDENCE_GOOD), world.story()
    assert not noted(world)
