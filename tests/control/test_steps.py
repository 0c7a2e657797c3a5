"""Shares that rise in steps, policies that change on the way, and the prototype's plain counting."""

from pathlib import Path

import msgspec
import pytest

from serinus.control import commands
from serinus.control.explain import explain, in_words
from serinus.control.ledger import standing, step_proof
from serinus.control.overview import overview
from serinus.control.retrace import retrace
from serinus.core.enums import Arm, ReasonCode, RolloutPhase
from serinus.core.errors import Conflict, InvalidInput
from serinus.rollout.events import PolicyChanged, Promoted, RolledBack, ShareChanged
from serinus.rollout.policy import LITERAL, ByHeader, Policy
from tests.control.world import WINDOW, World

STEPS = (0.05, 0.25, 0.5)
ALICE = "alice via cli"


def stepped(tmp_path: Path, **policy: object) -> World:
    world = World(tmp_path, **({"steps": STEPS, "probes": False} | policy))
    world.canary(share=STEPS[0])
    return world


def shares(world: World) -> list[float]:
    return [event.body.share for event in world.events if isinstance(event.body, ShareChanged)]


def test_a_healthy_canary_climbs_every_step_and_is_promoted(tmp_path: Path) -> None:
    world = stepped(tmp_path)
    last = world.until_over(users=100, seconds=400)
    assert (last.phase, last.code, last.step) == (RolloutPhase.PROMOTED, ReasonCode.EVIDENCE_GOOD, 2)
    assert shares(world) == [0.25, 0.5]
    for event in world.events:
        if isinstance(event.body, ShareChanged):
            numbers = event.body.numbers
            assert numbers["step_e_good"] >= numbers["step_limit_good"] == 20.0
            assert event.body.evidence == world.store.frozen(1, event.body.k).digest  # type: ignore[union-attr]
            assert event.body.policy == "default"
    assert isinstance(world.events[-1].body, Promoted)


def test_two_controllers_take_each_step_once(tmp_path: Path) -> None:
    world = stepped(tmp_path)
    world.controllers.append(world.controller())
    last = world.until_over(users=100, seconds=400)
    assert last.phase is RolloutPhase.PROMOTED
    assert shares(world) == [0.25, 0.5]


def test_a_restart_of_the_controller_goes_on_in_the_step(tmp_path: Path) -> None:
    world = stepped(tmp_path)
    while not shares(world):
        world.step(users=100)
    world.controllers = [world.controller()]
    world.until_over(users=100, seconds=400)
    assert shares(world) == [0.25, 0.5]


def test_a_step_whose_first_slice_is_gone_is_never_proved(tmp_path: Path) -> None:
    world = stepped(tmp_path)
    while not shares(world):
        world.step(users=100)
    (world.store.root / "evidence" / "1" / f"{world.rollout.step_after:010d}.json").unlink()
    world.step(users=100, seconds=20)
    assert shares(world) == [0.25]


def test_each_step_needs_its_own_proof(tmp_path: Path) -> None:
    world = stepped(tmp_path)
    while not shares(world):
        world.step(users=100)
    proved = standing(world.store, world.rollout).analysis.users.canary.requests
    world.step(users=10)
    assert shares(world) == [0.25], "the proof of the first step does not count in the second"
    while len(shares(world)) < 2:
        world.step(users=100)
    body = [event.body for event in world.events if isinstance(event.body, ShareChanged)][-1]
    assert body.numbers["step_canary_requests"] >= 59
    assert body.numbers["users_canary_requests"] >= proved + 59


def test_no_promotion_before_the_last_step_however_long_the_window(tmp_path: Path) -> None:
    world = stepped(tmp_path, max_evaluation=50)
    world.step(users=10, seconds=int(2 * WINDOW))
    assert world.rollout.phase is RolloutPhase.CANARY
    assert world.clock_of_window > WINDOW
    assert world.rollout.share < STEPS[-1]


def test_a_promotion_by_hand_before_the_last_step_is_an_override(tmp_path: Path) -> None:
    world = stepped(tmp_path, window_seconds=5.0)
    while not shares(world):
        world.step(users=100)
    with pytest.raises(Conflict, match="step 2 of 3 is reached"):
        commands.promote(world.store, actor=ALICE, reason="now")
    event = commands.promote(world.store, actor=ALICE, reason="now", confirm=True)
    assert isinstance(event.body, Promoted)
    assert event.body.override


def test_a_canary_that_fails_in_a_step_is_rolled_back(tmp_path: Path) -> None:
    world = stepped(tmp_path)
    while not shares(world):
        world.step(users=100)
    world.replica.errors[Arm.CANARY] = 0.5
    last = world.until_over(users=100, seconds=20)
    assert (last.phase, last.code, last.share) == (RolloutPhase.ROLLED_BACK, ReasonCode.ERRORS, 0.25)


def test_a_step_with_too_little_evidence_is_held_and_resumes_where_it_was(tmp_path: Path) -> None:
    world = stepped(tmp_path, max_evaluation=1, hold_for_seconds=5.0)
    while not shares(world):
        world.step(users=100)
    for _ in range(60):
        world.step(users=0)
        if world.rollout.share == 0.0:
            break
    assert (world.rollout.phase, world.rollout.code) == (RolloutPhase.HELD, ReasonCode.INSUFFICIENT)
    commands.resume(world.store, actor=ALICE)
    assert (world.rollout.share, world.rollout.step) == (0.25, 1)


def test_a_last_step_without_a_control_arm_takes_evidence_of_its_own(tmp_path: Path) -> None:
    world = stepped(tmp_path, steps=(0.25, 1.0))
    last = world.until_over(users=40, seconds=300)
    assert last.phase is RolloutPhase.PROMOTED
    body = world.events[-1].body
    assert isinstance(body, Promoted)
    assert body.numbers["limit_good"] == 40.0, "evidence of another design restarts with limits doubled"
    assert body.numbers["step_e_good"] >= 40.0


def test_another_window_changes_what_follows_and_the_evidence_goes_on(world: World) -> None:
    world.canary()
    world.step(users=20, seconds=5)
    before = standing(world.store, world.rollout).analysis
    event = commands.change_policy(
        world.store,
        policy=Policy(name="short", window_seconds=8.0, share=0.25),
        actor=ALICE,
        reason="the release is late",
    )
    assert isinstance(event.body, PolicyChanged)
    assert (event.actor, event.body.fresh, event.body.share) == (ALICE, False, 0.25)
    assert event.reason == "the release is late (Policy short; the evidence goes on.)"
    assert standing(world.store, world.rollout).analysis == before
    world.until_over(users=20, seconds=6)
    body = world.events[-1].body
    assert isinstance(body, Promoted)
    assert (body.policy, body.numbers["window_seconds"]) == ("short", 8.0)


@pytest.mark.parametrize(
    "changed",
    [
        {"max_error_rate": 0.2},
        {"judge_latency": True},
        {"sticky": ByHeader("X-User-Id")},
    ],
)
def test_a_policy_that_tests_something_else_begins_fresh_evidence(world: World, changed: dict) -> None:  # type: ignore[type-arg]
    world.policy = msgspec.structs.replace(world.policy, judge_latency=False)
    world.canary()
    world.step(users=20, seconds=5)
    assert standing(world.store, world.rollout).analysis.users.canary.requests > 0
    policy = msgspec.structs.replace(world.rollout.policy, name="other", **changed)
    event = commands.change_policy(world.store, policy=policy, actor=ALICE)
    assert isinstance(event.body, PolicyChanged)
    assert event.body.fresh
    world.step(users=20)
    users = standing(world.store, world.rollout).analysis.users
    assert users.restarts == 1
    assert users.canary.requests <= 20
    assert world.rollout.epoch == 1
    assert (users.latency is not None) is policy.judge_latency
    world.step(users=20)
    assert standing(world.store, world.rollout).analysis.users.restarts == 1, "it restarts once"


def test_fresh_evidence_gets_a_whole_window(world: World) -> None:
    """Else a lenient policy at the end of the window is obeyed on a handful of requests."""
    world.canary()
    world.step(users=20, seconds=int(WINDOW) - 1)
    stood = world.clock_of_window
    policy = msgspec.structs.replace(world.rollout.policy, max_error_rate=0.5)
    commands.change_policy(world.store, policy=policy, actor=ALICE)
    assert overview(world.store).rollout.seconds_left == WINDOW  # type: ignore[union-attr]
    world.step(users=20, seconds=int(WINDOW) - 1)
    assert world.state.rollout is not None, world.story()
    assert world.until_over(users=20, seconds=10).phase is RolloutPhase.PROMOTED
    assert world.clock_of_window >= stood + WINDOW
    body = world.events[-1].body
    assert isinstance(body, Promoted) and WINDOW <= body.numbers["clock"] < 2 * WINDOW
    found = explain(world.store)
    seen = body.numbers["users_canary_requests"] + body.numbers["probes_canary_requests"]
    whole = body.numbers["canary_requests"]
    assert whole > seen
    assert f"since the evidence started afresh ({whole:.0f} in all)" in found.headline
    assert f"of {whole:.0f} canary requests failed" in found.whole and found.whole in in_words(found)
    again = retrace(world.store, 1)
    assert again.same and again.clock == body.numbers["clock"]


def test_a_restart_is_not_lost_when_a_slice_was_frozen_meanwhile(world: World) -> None:
    """The change names slice k; another controller may have frozen k + 1 before it saw the change."""
    world.canary()
    world.step(users=20, seconds=3)
    policy = msgspec.structs.replace(world.rollout.policy, max_error_rate=0.2)
    body = PolicyChanged(
        rollout=1, policy=policy, share=0.5, fresh=True, k=standing(world.store, world.rollout).k
    )
    world.step(users=20)
    world.store.append(body, actor=ALICE, reason="late")
    world.step(users=20, seconds=2)
    assert standing(world.store, world.rollout).analysis.users.restarts == 1


def test_a_policy_is_changed_only_while_there_is_a_rollout_and_it_can_be_obeyed(world: World) -> None:
    with pytest.raises(Conflict, match="no rollout is active"):
        commands.change_policy(world.store, policy=Policy(), actor=ALICE)
    world.canary()
    with pytest.raises(InvalidInput, match="steps must rise"):
        commands.change_policy(world.store, policy=Policy(steps=(0.5, 0.25)), actor=ALICE)


def test_a_change_to_steps_goes_on_at_the_step_that_was_reached(world: World) -> None:
    world.canary()
    world.step(users=20, seconds=2)
    commands.change_policy(world.store, policy=Policy(steps=(0.1, 0.3, 0.9)), actor=ALICE)
    assert (world.rollout.share, world.rollout.step) == (0.3, 1)


def test_a_change_of_share_is_taken_back_to_the_step_that_it_left(tmp_path: Path) -> None:
    world = stepped(tmp_path)
    while not shares(world):
        world.step(users=100)
    before = world.rollout
    assert before.step == 1
    commands.change_share(world.store, 0.04, actor=ALICE, reason="less")
    world.step(users=100, seconds=2)
    with pytest.raises(InvalidInput, match="has no step 3"):
        commands.change_policy(world.store, policy=before.policy, step=3, actor=ALICE)
    commands.change_policy(world.store, policy=before.policy, step=1, actor=ALICE)
    after = world.rollout
    assert (after.policy, after.step, after.share, after.epoch) == (before.policy, 1, 0.25, before.epoch)
    last = world.until_over(users=100, seconds=400)
    assert last.phase is RolloutPhase.PROMOTED
    assert shares(world) == [0.25, 0.5]


def test_another_step_of_the_same_ladder_takes_evidence_of_its_own(tmp_path: Path) -> None:
    world = stepped(tmp_path)
    world.step(users=100, seconds=3)
    commands.change_policy(world.store, policy=world.policy, step=1, actor=ALICE)
    proof = step_proof(world.store, world.rollout, standing(world.store, world.rollout), 0)
    assert proof is not None
    assert (world.rollout.share, proof.requests) == (0.25, 0)


def literal(tmp_path: Path) -> World:
    fields = msgspec.structs.asdict(LITERAL) | {"window_seconds": WINDOW}
    world = World(tmp_path, **fields)
    world.canary()
    return world


def test_the_literal_policy_promotes_when_the_time_is_over_however_little_it_saw(tmp_path: Path) -> None:
    world = literal(tmp_path)
    last = world.until_over(users=0, seconds=int(WINDOW) + 5)
    assert (last.phase, last.policy.name) == (RolloutPhase.PROMOTED, "literal")
    assert world.replica.probe_rate == 0.0


def test_the_literal_policy_counts_and_rolls_back_from_twenty_requests_on(tmp_path: Path) -> None:
    world = literal(tmp_path)
    world.replica.errors[Arm.CANARY] = 1.0
    world.step(users=4, seconds=2)
    assert world.rollout.phase is RolloutPhase.CANARY, "seven failures of seven are fewer than 20 requests"
    last = world.until_over(users=4, seconds=20)
    assert (last.phase, last.code) == (RolloutPhase.ROLLED_BACK, ReasonCode.ERRORS)
    body = world.events[-1].body
    assert isinstance(body, RolledBack)
    assert body.numbers["canary_requests"] >= 20
    assert body.numbers["error_rate"] == 1.0
    assert "by plain counting" in last.reason


def test_the_literal_policy_blames_the_canary_for_what_both_versions_fail(tmp_path: Path) -> None:
    world = literal(tmp_path)
    world.replica.errors = {Arm.CANARY: 0.9, Arm.CURRENT: 0.9}
    assert world.until_over(users=20, seconds=10).phase is RolloutPhase.ROLLED_BACK
