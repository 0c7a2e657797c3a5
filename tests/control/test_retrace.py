"""Recorded rollouts judged again: the same decision at the same slice, and another one by another policy."""

from pathlib import Path

import msgspec
import pytest

from serinus.control import commands
from serinus.control.ledger import Ledger
from serinus.control.retrace import Retraced, retrace
from serinus.core.enums import Arm, ReasonCode, RolloutPhase
from serinus.core.errors import Conflict, InvalidInput, NotFound
from serinus.rollout.events import Held, RolloutStarted, Verified
from serinus.rollout.policy import LITERAL, ByHeader, OnInsufficient, Policy
from serinus.store import Replica
from tests import models
from tests.control.world import WINDOW, World


def again(world: World, policy: Policy | None = None) -> Retraced:
    return retrace(world.store, 1, policy)


def faithful(world: World) -> Retraced:
    found = again(world)
    assert found.same, (found.steps, found.recorded, world.story())
    return found


def test_a_promotion_falls_at_the_slice_at_which_it_fell(world: World) -> None:
    world.canary()
    world.until_over(users=20, seconds=60)
    found = faithful(world)
    assert (found.decision, found.position, found.why) == ("promote", None, None)
    last = world.store.last_frozen(1)
    assert last is not None
    assert (found.slice, found.clock) == (last.k, last.clock)
    assert found.recorded is not None and found.recorded.reason == found.words


def test_a_rollback_falls_at_the_slice_at_which_it_fell(world: World) -> None:
    world.canary()
    world.step(users=10, seconds=3)
    world.replica.errors[Arm.CANARY] = 0.4
    world.until_over(users=10, seconds=40)
    found = faithful(world)
    assert (found.decision, found.why) == ("rollback", ReasonCode.ERRORS)
    assert found.position == found.numbers["canary_requests"] + found.numbers["current_requests"]


def test_what_if_the_policy_had_allowed_more_errors(world: World) -> None:
    world.canary()
    world.replica.errors[Arm.CANARY] = 0.2
    world.until_over(users=20, seconds=60)
    assert faithful(world).decision == "rollback"
    assert again(world, Policy(window_seconds=2.0, max_error_rate=0.6)).decision == "promote"
    tolerant = again(world, Policy(window_seconds=WINDOW, max_error_rate=0.6))
    assert (tolerant.decision, tolerant.same) == ("extend", False), "its window is longer than the recording"
    assert "the window is open for another" in tolerant.words


def test_what_if_it_had_allowed_fewer(world: World) -> None:
    world.canary()
    world.replica.errors[Arm.CANARY] = 0.02
    world.until_over(users=60, seconds=200)
    assert faithful(world).decision == "promote"
    strict = again(world, Policy(window_seconds=WINDOW, max_error_rate=0.001))
    assert (strict.decision, strict.why) == ("rollback", ReasonCode.ERRORS)


def test_a_shared_outage_is_held_reset_and_promoted_alike(world: World) -> None:
    world.canary()
    world.step(users=20, seconds=5)
    world.replica.errors = {Arm.CURRENT: 0.9, Arm.CANARY: 0.9}
    world.step(users=20, seconds=10)
    world.replica.errors = {Arm.CURRENT: 0.0, Arm.CANARY: 0.0}
    world.until_over(users=20, seconds=90)
    found = faithful(world)
    assert [step.code for step in found.steps] == [ReasonCode.SHARED_FAILURE, ReasonCode.EVIDENCE_GOOD]
    held = next(event.body for event in world.events if isinstance(event.body, Held))
    assert held.k == found.steps[0].slice


def test_a_hold_for_too_little_evidence_and_what_another_policy_makes_of_it(tmp_path: Path) -> None:
    world = World(tmp_path, probes=False, max_evaluation=2, hold_for_seconds=20.0)
    world.canary()
    world.step(users=0, seconds=int(2 * WINDOW) + 40)
    assert world.rollout.phase is RolloutPhase.HELD
    found = faithful(world)
    assert (found.decision, found.steps[-1].code) == ("extend", ReasonCode.INSUFFICIENT)
    careless = Policy(window_seconds=WINDOW, max_evaluation=1, on_insufficient=OnInsufficient.PROMOTE)
    assert again(world, careless).decision == "promote"
    careful = Policy(window_seconds=WINDOW, max_evaluation=1, on_insufficient=OnInsufficient.ROLLBACK)
    found = again(world, careful)
    assert (found.decision, found.why) == ("rollback", None)


def test_pauses_holds_and_what_people_did_stand_where_they_stood(world: World) -> None:
    world.canary()
    world.step(users=20, seconds=5)
    commands.pause(world.store, actor="alice", reason="lunch", expect=None)
    world.step(users=20, seconds=int(WINDOW))
    commands.resume(world.store, actor="alice", reason="back", expect=None)
    world.until_over(users=20, seconds=60)
    assert faithful(world).decision == "promote"


def test_a_wrong_split_is_held_and_its_evidence_starts_afresh_when_resumed(world: World) -> None:
    world.canary()
    world.replica.coin = 0.2
    world.step(users=20, seconds=10)
    assert world.rollout.code is ReasonCode.ASSIGNMENT
    world.step(users=50, seconds=11)
    world.replica.coin = None
    commands.resume(world.store, actor="alice", reason="the proxy is repaired", expect=None)
    world.until_over(users=20, seconds=60)
    found = faithful(world)
    assert [step.code for step in found.steps] == [ReasonCode.ASSIGNMENT, ReasonCode.EVIDENCE_GOOD]


def test_a_trip_that_vetoed_vetoes_again(tmp_path: Path) -> None:
    world = World(tmp_path, max_evaluation=2)
    world.canary()
    world.store.put_replica(Replica(replica="tripped-b", time=world.clock() + 0.5, seq=4, trips=(1,)))
    world.step(users=20, seconds=int(3 * WINDOW))
    assert (world.rollout.phase, world.rollout.code) == (RolloutPhase.HELD, ReasonCode.INSUFFICIENT)
    assert faithful(world).decision == "extend"


def test_what_the_evidence_did_not_decide_is_not_compared(world: World) -> None:
    world.canary()
    world.step(users=5, seconds=5)
    commands.rollback(world.store, actor="alice", reason="looks odd", expect=None)
    found = again(world)
    assert (found.decision, found.same) == ("extend", None)
    assert found.recorded is not None
    assert (found.recorded.decision, found.recorded.code) == ("rollback", ReasonCode.MANUAL)


def test_a_superseded_rollout_ends_with_its_slices(tmp_path: Path) -> None:
    world = World(tmp_path, on_new_version="supersede")
    world.canary()
    world.step(users=5, seconds=5)
    world.publish(models.healthy(tmp_path / "third", seed=2))
    world.step(users=5)
    found = again(world)
    assert (found.decision, found.same) == ("extend", None)
    assert found.recorded is not None and found.recorded.code is ReasonCode.SUPERSEDED


def test_a_rollout_that_goes_on_has_decided_nothing_yet(world: World) -> None:
    world.canary()
    world.step(users=5, seconds=5)
    found = faithful(world)
    assert (found.decision, found.recorded, found.steps) == ("extend", None, ())


def test_what_cannot_be_retraced_is_refused(world: World) -> None:
    with pytest.raises(NotFound):
        again(world)
    version = world.publish(models.healthy(world.folder / "next", seed=1))
    start = RolloutStarted(rollout=1, version=version, policy=world.policy)
    world.store.append(start, actor="controller", reason="the next that was published")
    with pytest.raises(Conflict):
        again(world)
    with pytest.raises(InvalidInput, match="max_error_rate"):
        again(world, Policy(max_error_rate=2.0))
    with pytest.raises(InvalidInput, match="window"):
        retrace(world.store, 1, window=-1.0)


def test_a_rollout_in_steps_with_another_policy_on_the_way_is_retraced(tmp_path: Path) -> None:
    world = World(tmp_path, steps=(0.05, 0.25, 0.5), probes=False)
    world.canary(share=0.05)
    world.step(users=100, seconds=20)
    policy = msgspec.structs.replace(world.policy, name="other", max_error_rate=0.1)
    commands.change_policy(world.store, policy=policy, actor="alice", reason="an older camera")
    world.until_over(users=100, seconds=300)
    found = faithful(world)
    assert (found.decision, found.policy) == ("promote", policy)
    other = again(world, msgspec.structs.replace(world.policy, window_seconds=1e6))
    assert other.decision == "extend"


def test_the_literal_policy_is_retraced_and_asked_about(world: World) -> None:
    world.policy = msgspec.structs.replace(LITERAL, window_seconds=WINDOW)
    world.canary()
    world.replica.errors = {Arm.CANARY: 0.5, Arm.CURRENT: 0.5}
    world.until_over(users=20, seconds=20)
    assert faithful(world).decision == "rollback"
    assert again(world, Policy(window_seconds=WINDOW)).decision == "extend", "both versions fail"


def change(world: World, **fields: object) -> None:
    policy = msgspec.structs.replace(world.rollout.policy, **fields)
    commands.change_policy(world.store, policy=policy, actor="alice", reason="an older camera")


def limit_good(world: World) -> float:
    return world.events[-1].body.numbers["limit_good"]  # type: ignore[union-attr]


def test_two_changes_between_two_slices_restart_the_evidence_once(world: World) -> None:
    world.canary()
    world.step(users=20, seconds=5)
    change(world, max_error_rate=0.04)
    change(world, max_error_rate=0.03)
    world.until_over(users=20, seconds=200)
    found = faithful(world)
    assert (found.decision, found.numbers["limit_good"]) == ("promote", limit_good(world))


def test_a_change_before_the_first_slice_restarts_nothing(world: World) -> None:
    world.canary()
    change(world, max_error_rate=0.03)
    world.replica.errors[Arm.CANARY] = 0.5
    world.until_over(users=3, seconds=60)
    found = faithful(world)
    assert (found.decision, found.numbers["limit_good"]) == ("rollback", limit_good(world))


@pytest.mark.parametrize("ahead", [10.0, -10.0])
def test_a_change_stands_where_it_stood_whatever_its_authors_clock(world: World, ahead: float) -> None:
    world.canary()
    world.step(users=20, seconds=12)
    world.clock.now += ahead
    change(world, max_error_rate=0.6)
    world.clock.now -= ahead
    world.replica.errors[Arm.CANARY] = 0.4
    world.until_over(users=20, seconds=100)
    found = faithful(world)
    assert found.decision == "promote"
    assert found.numbers["canary_requests"] == world.events[-1].body.numbers["canary_requests"]  # type: ignore[union-attr]


def test_a_slice_that_was_frozen_before_the_change_was_read_counts_before_it(world: World) -> None:
    world.canary()
    world.step(users=20, seconds=5)
    before = world.rollout
    world.replica.errors[Arm.CANARY] = 0.5
    world.clock.now += 1.0
    world.replica.work(20)
    change(world, max_error_rate=0.04)
    other = Ledger(world.store, clock=world.clock, clamp=5.0, clock_slice=5.0)
    late = other.turn(before, now=world.clock(), running=True, in_flight=0)
    assert late.last is not None and late.last.analysis.epochs < world.rollout.epoch
    world.until_over(users=4, seconds=60)
    found = faithful(world)
    assert found.decision == "rollback"
    recorded = world.events[-1].body.numbers  # type: ignore[union-attr]
    assert {name: recorded[name] for name in found.numbers} == found.numbers


def test_a_pause_stands_where_it_stood_whatever_the_clock_of_who_paused(tmp_path: Path) -> None:
    world = World(tmp_path, probes=False)
    world.canary()
    world.step(users=2, seconds=40)
    world.clock.now += 60.0
    commands.pause(world.store, actor="alice", reason="lunch", expect=None)
    world.clock.now -= 60.0
    world.step(users=20, seconds=30)
    commands.resume(world.store, actor="alice", reason="back", expect=None)
    world.until_over(users=20, seconds=200)
    assert faithful(world).decision == "promote"


def test_a_pause_is_possible_when_the_evidence_is_damaged(world: World) -> None:
    world.canary()
    world.step(users=5, seconds=3)
    for file in (world.store.root / "evidence").rglob("*"):
        if file.is_file():
            file.write_bytes(b"?")
    commands.pause(world.store, actor="alice", reason="what is this?", expect=None)
    assert world.rollout.phase is RolloutPhase.PAUSED


@pytest.mark.parametrize("ahead", [15.0, -15.0])
def test_a_resumed_hold_goes_on_where_it_did_whatever_the_clock_of_who_resumed(
    world: World, ahead: float
) -> None:
    world.canary()
    world.replica.coin = 0.2
    world.step(users=20, seconds=10)
    assert world.rollout.code is ReasonCode.ASSIGNMENT
    world.replica.coin = None
    world.step(users=20, seconds=5)
    world.clock.now += ahead
    commands.resume(world.store, actor="alice", reason="the proxy is repaired", expect=None)
    world.clock.now -= ahead
    world.until_over(users=20, seconds=100)
    assert [step.code for step in faithful(world).steps] == [ReasonCode.ASSIGNMENT, ReasonCode.EVIDENCE_GOOD]


def test_what_if_asks_of_its_policy_alone_also_where_it_was_changed_before_traffic(world: World) -> None:
    version = world.publish(models.healthy(world.folder / "next", seed=1))
    world.replica.beat(world.state)
    start = RolloutStarted(rollout=1, version=version, policy=world.policy)
    world.store.append(start, actor="controller", reason="the next that was published")
    change(world, max_error_rate=0.6)
    verified = Verified(rollout=1, share=0.5, measured=True)
    world.store.append(verified, actor="controller", reason="All checks passed.")
    world.replica.errors[Arm.CANARY] = 0.2
    world.until_over(users=20, seconds=60)
    assert faithful(world).decision == "promote"
    found = again(world, Policy(window_seconds=WINDOW))
    assert (found.decision, found.policy.max_error_rate) == ("rollback", 0.05)


def test_what_if_the_window_alone_had_been_another_one(world: World) -> None:
    world.canary()
    world.step(users=20, seconds=10)
    change(world, sticky=ByHeader(name="X-User"))
    world.until_over(users=20, seconds=100)
    recorded = faithful(world)
    alike = retrace(world.store, 1, window=WINDOW)
    assert (alike.same, alike.policy) == (True, recorded.policy)
    longer = retrace(world.store, 1, window=1e6)
    assert (longer.decision, longer.policy.window_seconds) == ("extend", 1e6)
    assert longer.policy.sticky == recorded.policy.sticky
