"""Decisions by hand: what they need, what they refuse, what they write; and what people read of it."""

import pytest

from serinus.control import commands
from serinus.control.history import history
from serinus.control.ledger import Ledger, standing
from serinus.control.overview import overview
from serinus.control.registry import version_detail, versions
from serinus.core.enums import Arm, ReasonCode, RolloutPhase, VersionState
from serinus.core.errors import Conflict, Corrupt, InvalidInput, NotFound
from serinus.core.ids import Version
from serinus.rollout.events import Promoted, RolledBack, Undone
from serinus.rollout.policy import Policy
from tests import models
from tests.control.world import WINDOW, World

ALICE = "alice via cli"


@pytest.fixture
def canary(world: World) -> World:
    world.canary()
    assert world.rollout.phase is RolloutPhase.CANARY
    return world


def test_a_pause_freezes_clock_and_promotion_and_a_resume_goes_on(canary: World) -> None:
    canary.step(users=20, seconds=5)
    commands.pause(canary.store, actor=ALICE, reason="a look at the pictures")
    canary.step(users=20)
    stood = canary.clock_of_window
    canary.step(users=20, seconds=int(2 * WINDOW))
    assert canary.rollout.phase is RolloutPhase.PAUSED
    assert canary.clock_of_window == stood
    commands.resume(canary.store, actor=ALICE)
    canary.step(users=20, seconds=5)
    assert stood < canary.clock_of_window < WINDOW
    assert canary.until_over(users=20, seconds=60).phase is RolloutPhase.PROMOTED


def test_a_paused_canary_is_still_rolled_back(canary: World) -> None:
    commands.pause(canary.store, actor=ALICE)
    canary.replica.errors[Arm.CANARY] = 1.0
    assert canary.until_over(users=10, seconds=10).code is ReasonCode.ERRORS


def test_a_stale_view_decides_nothing_whatever_else_speaks_against_it(canary: World) -> None:
    seen = canary.state.seq - 1
    for decide in (commands.promote, commands.rollback, commands.pause):
        with pytest.raises(Conflict, match="moved on"):
            decide(canary.store, actor=ALICE, reason="because", expect=seen)


def damage(world: World, version: Version) -> None:
    model = world.store.artifact(world.state.versions[version].digest) / "model.onnx"
    model.chmod(0o644)
    model.write_bytes(model.read_bytes()[:-1] + b"x")


def test_a_canary_damaged_on_disk_is_not_promoted(canary: World) -> None:
    canary.step(users=20, seconds=5)
    damage(canary, canary.rollout.version)
    with pytest.raises(Corrupt, match=r"model\.onnx"):
        commands.promote(canary.store, actor=ALICE, reason="hurry", confirm=True)
    ended = canary.until_over(users=20, seconds=60)
    assert (ended.phase, ended.code) == (RolloutPhase.ROLLED_BACK, ReasonCode.LOAD_FAILURE)
    assert "model.onnx" in ended.reason


def test_a_damaged_previous_version_is_not_brought_back(canary: World) -> None:
    assert canary.until_over(users=20, seconds=60).phase is RolloutPhase.PROMOTED
    damage(canary, Version(1))
    with pytest.raises(Corrupt, match=r"model\.onnx"):
        commands.undo(canary.store, actor=ALICE)
    assert canary.state.current == 2


def test_a_hold_is_resumed_and_the_evaluation_counts_anew(world: World) -> None:
    world.policy = Policy(window_seconds=WINDOW, probes=False, max_evaluation=1)
    world.controllers = [world.controller()]
    world.canary()
    world.step(seconds=int(WINDOW) + 8)
    assert world.rollout.phase is RolloutPhase.HELD
    commands.resume(world.store, actor=ALICE, reason="users come in the morning")
    world.step(seconds=5)
    assert world.rollout.phase is RolloutPhase.CANARY
    assert world.until_over(users=20, seconds=20).phase is RolloutPhase.PROMOTED


def test_a_hold_because_of_the_split_is_resumed_once_the_split_is_repaired(canary: World) -> None:
    canary.replica.coin = 1.0
    canary.step(users=20, seconds=3)
    assert (canary.rollout.phase, canary.rollout.code) == (RolloutPhase.HELD, ReasonCode.ASSIGNMENT)
    canary.replica.coin = None
    canary.step(users=20, seconds=3)
    assert canary.rollout.phase is RolloutPhase.HELD
    commands.resume(canary.store, actor=ALICE, reason="the balancer is repaired")
    assert not standing(canary.store, canary.rollout).verdict().mismatch
    canary.step(users=20, seconds=3)
    assert canary.rollout.phase is RolloutPhase.CANARY
    assert canary.until_over(users=20, seconds=60).phase is RolloutPhase.PROMOTED


def test_requests_from_before_the_resume_say_nothing_about_the_split(canary: World) -> None:
    canary.replica.coin = 1.0
    canary.step(users=20, seconds=3)
    assert (canary.rollout.phase, canary.rollout.code) == (RolloutPhase.HELD, ReasonCode.ASSIGNMENT)
    canary.step(users=100, seconds=3)  # wait to be frozen
    commands.resume(canary.store, actor=ALICE, reason="the balancer is repaired, this very second")
    canary.step(users=100)  # a replica's last slice
    canary.replica.coin = None
    canary.step(users=100, seconds=15)
    assert canary.rollout.phase is RolloutPhase.CANARY
    assert canary.until_over(users=20, seconds=60).phase is RolloutPhase.PROMOTED


def test_a_split_that_stays_wrong_is_held_again(canary: World) -> None:
    canary.replica.coin = 1.0
    canary.step(users=20, seconds=3)
    commands.resume(canary.store, actor=ALICE)
    assert canary.rollout.phase is RolloutPhase.CANARY
    canary.step(users=2, seconds=9 + 5)
    assert (canary.rollout.phase, canary.rollout.code) == (RolloutPhase.HELD, ReasonCode.ASSIGNMENT)
    assert canary.rollout.split_restarts == 1


def test_promotion_before_the_window_needs_confirmation_and_a_reason(canary: World) -> None:
    canary.step(users=5, seconds=2)
    with pytest.raises(Conflict, match=r"s of the window are left"):
        commands.promote(canary.store, actor=ALICE, reason="I am in a hurry")
    with pytest.raises(InvalidInput, match="needs a reason"):
        commands.promote(canary.store, actor=ALICE, confirm=True, reason="  ")
    event = commands.promote(canary.store, actor=ALICE, reason="I am in a hurry", confirm=True)
    assert isinstance(event.body, Promoted)
    assert event.body.override
    assert event.reason.startswith("I am in a hurry (Override: ")
    assert event.actor == ALICE
    assert canary.state.current == 2


def pass_window(world: World, users: int, seconds: int) -> None:
    """Evidence is frozen and nobody decides: the controller is slow, a person is faster."""
    for controller in world.controllers:
        controller.close()
    ledger = Ledger(world.store, clock=world.clock, clamp=5.0, clock_slice=5.0)
    for _ in range(seconds):
        world.clock.now += 1
        world.replica.work(users)
        ledger.turn(world.rollout, now=world.clock(), running=True, in_flight=0)


def test_promotion_against_an_alarm_is_an_override(canary: World) -> None:
    pass_window(canary, users=20, seconds=int(WINDOW) + 2)
    canary.replica.errors[Arm.CANARY] = 1.0
    pass_window(canary, users=20, seconds=2)
    with pytest.raises(Conflict, match=r"not ready to be promoted: \d+ of \d+ canary requests failed"):
        commands.promote(canary.store, actor=ALICE, reason="it is fine")
    event = commands.promote(canary.store, actor=ALICE, reason="it is fine", confirm=True)
    assert isinstance(event.body, Promoted)
    assert event.body.override
    assert event.body.numbers["canary_failures"] > 0


def test_promotion_when_all_is_well_is_no_override(canary: World) -> None:
    pass_window(canary, users=20, seconds=int(WINDOW) + 2)
    event = commands.promote(canary.store, actor=ALICE)
    assert isinstance(event.body, Promoted)
    assert not event.body.override
    assert event.reason == "by hand"


def test_rollback_by_hand_while_it_is_verified_and_as_a_canary(world: World) -> None:
    world.publish(models.healthy(world.folder / "one", seed=1))
    world.tick()
    assert world.rollout.phase is RolloutPhase.VERIFYING
    commands.rollback(world.store, actor=ALICE, reason="wrong data")
    assert world.state.last is not None
    assert world.state.last.phase is RolloutPhase.ROLLED_BACK
    world.publish(models.healthy(world.folder / "two", seed=2))
    world.verify()
    world.step(users=10, seconds=3)
    event = commands.rollback(world.store, actor=ALICE, reason="users complain")
    assert isinstance(event.body, RolledBack)
    assert event.body.code is ReasonCode.MANUAL
    assert event.body.numbers["canary_requests"] > 5
    assert event.body.evidence
    world.step()
    routes = world.store.routes()
    assert routes is not None
    assert routes.canary is None


def test_undo_brings_the_previous_version_back_once(canary: World) -> None:
    canary.until_over(users=20, seconds=60)
    event = commands.undo(canary.store, actor=ALICE, reason="roads look odd")
    assert isinstance(event.body, Undone)
    assert (canary.state.current, canary.state.versions[Version(2)].state) == (1, VersionState.RETIRED)
    with pytest.raises(Conflict, match="nothing to undo"):
        commands.undo(canary.store, actor=ALICE)
    for version in (1, 2, 9):
        with pytest.raises(Conflict, match=f"No undo leads to version {version}"):
            commands.undo(canary.store, version=Version(version), actor=ALICE)


def test_a_stale_page_decides_nothing(canary: World) -> None:
    seen = canary.state.seq
    commands.pause(canary.store, actor=ALICE)
    with pytest.raises(Conflict):
        commands.rollback(canary.store, actor="bob via ui", expect=seen)
    assert canary.rollout.phase is RolloutPhase.PAUSED


def test_without_a_rollout_there_is_nothing_to_decide(world: World) -> None:
    for command in (commands.promote, commands.rollback, commands.pause, commands.resume):
        with pytest.raises(Conflict, match="no rollout is active"):
            command(world.store, actor=ALICE)
    assert world.state.seq == 1


def test_what_the_phase_does_not_allow_is_refused(canary: World) -> None:
    with pytest.raises(Conflict):
        commands.resume(canary.store, actor=ALICE)
    commands.pause(canary.store, actor=ALICE)
    with pytest.raises(Conflict):
        commands.pause(canary.store, actor=ALICE)


def test_a_rejected_version_is_started_again_by_hand(canary: World) -> None:
    commands.rollback(canary.store, actor=ALICE)
    with pytest.raises(NotFound):
        commands.start(canary.store, Version(9), policy=canary.policy, actor=ALICE)
    with pytest.raises(InvalidInput, match="share"):
        commands.start(canary.store, Version(2), policy=Policy(share=2.0), actor=ALICE)
    commands.start(canary.store, Version(2), policy=canary.policy, actor=ALICE, reason="once more")
    canary.verify()
    assert (canary.rollout.number, canary.rollout.version) == (2, 2)
    assert canary.until_over(users=20, seconds=60).phase is RolloutPhase.PROMOTED


def test_the_history_says_who_what_why_and_how_many(world: World) -> None:
    world.publish(models.healthy(world.folder / "next", seed=1), note="more data")
    world.verify()
    canary = world
    canary.step(users=10, seconds=3)
    canary.replica.errors[Arm.CANARY] = 1.0
    canary.until_over(users=10, seconds=10)
    rows = history(canary.store)
    assert [row.kind for row in rows] == [
        "published", "published", "rollout_started", "verified", "rolled_back",
    ]  # fmt: skip
    assert [row.seq for row in rows] == [1, 2, 3, 4, 5]
    assert rows[1].why.endswith("more data")
    assert rows[3].what == "version 2: is the canary, 50% of the requests"
    assert [check["failed"] for check in rows[3].report["checks"]] == [None] * 5
    last = rows[-1]
    assert (last.actor, last.version, last.rollout) == ("controller", 2, 1)
    assert last.what == "version 2: rolled back (errors)"
    assert "canary requests failed" in last.why
    assert last.numbers["canary_failures"] > 0
    assert last.evidence
    assert history(canary.store, limit=2) == rows[-2:]


def test_the_overview_in_every_phase(world: World) -> None:
    assert overview(world.store).words == "Version 1 is current."
    world.publish(models.healthy(world.folder / "next", seed=1))
    world.tick()
    assert "Version 2 is being verified" in overview(world.store).words
    world.verify()
    world.step(users=10, seconds=4)
    view = overview(world.store)
    assert view.canary is not None
    assert view.canary.version == 2
    assert view.rollout is not None
    assert view.rollout.clock + view.rollout.seconds_left == WINDOW
    assert view.rollout.numbers["canary_requests"] > 0
    assert "Version 2 is canary with 50% of the requests" in view.words
    commands.pause(world.store, actor=ALICE, reason="a look")
    assert "Why: a look" in overview(world.store).words
    commands.rollback(world.store, actor=ALICE, reason="ugly")
    view = overview(world.store)
    assert view.rollout is None
    assert view.last is not None
    assert "version 2 rolled_back. ugly" in view.words


def test_the_registry(canary: World) -> None:
    rows = versions(canary.store)
    assert [row.version for row in rows] == [2, 1]
    assert rows[0].note == "more data"
    assert rows[0].metrics["map50"] == 0.7
    assert version_detail(canary.store, Version(2)).manifest.lineage.trainer == "tests.models"
    with pytest.raises(NotFound):
        version_detail(canary.store, Version(3))
