"""Whole rollouts against a real store: each ends as it should, for the reason it should."""

import time
from pathlib import Path

import pytest

from serinus.control import commands
from serinus.core.enums import Arm, ReasonCode, RolloutPhase, VersionState
from serinus.core.errors import Conflict
from serinus.rollout.events import Promoted, RolledBack, Verified
from serinus.store import Replica
from tests import models
from tests.control.world import WINDOW, World


def test_a_healthy_canary_is_promoted_after_the_window_and_not_before(world: World) -> None:
    world.canary()
    world.step(users=20, seconds=int(WINDOW) - 2)
    assert world.rollout.phase is RolloutPhase.CANARY
    last = world.until_over(users=20, seconds=10)
    assert (last.phase, last.code) == (RolloutPhase.PROMOTED, ReasonCode.EVIDENCE_GOOD)
    assert world.clock_of_window >= WINDOW
    assert world.state.current == 2
    assert world.state.versions[1].state is VersionState.RETIRED
    body = world.events[-1].body
    assert isinstance(body, Promoted)
    assert body.evidence == world.store.last_frozen(1).digest  # type: ignore[union-attr]
    assert body.numbers["canary_requests"] > 200
    assert not body.override


def test_the_event_of_the_canary_carries_the_report_of_the_checks(world: World) -> None:
    world.publish(models.healthy(world.folder / "next", seed=1))
    world.verify()
    verified = next(event for event in world.events if isinstance(event.body, Verified))
    assert isinstance(verified.body, Verified)
    checks = verified.body.report["checks"]
    names = [check["name"] for check in checks]
    assert names == ["files", "signature", "contract", "golden pictures", "golden results"]
    assert all(check["failed"] is None for check in checks)


def test_errors_roll_it_back_at_once(world: World) -> None:
    world.canary()
    world.step(users=10, seconds=3)
    world.replica.errors[Arm.CANARY] = 1.0
    last = world.until_over(users=10, seconds=5)
    assert (last.phase, last.code) == (RolloutPhase.ROLLED_BACK, ReasonCode.ERRORS)
    assert world.state.current == 1
    assert world.state.versions[last.version].state is VersionState.REJECTED
    body = world.events[-1].body
    assert isinstance(body, RolledBack)
    assert body.numbers["canary_failures"] >= 6
    assert "canary requests failed" in world.events[-1].reason


def test_an_idle_canary_is_promoted_on_probes(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.canary()
    last = world.until_over(users=0, seconds=int(3 * WINDOW))
    assert (last.phase, last.code) == (RolloutPhase.PROMOTED, ReasonCode.EVIDENCE_GOOD)
    assert "probes" in last.reason
    assert world.replica.probe_rate == 0.0


def test_an_idle_canary_that_fails_its_probes_is_rolled_back(world: World) -> None:
    world.canary()
    world.replica.errors[Arm.CANARY] = 0.9
    last = world.until_over(users=0, seconds=30)
    assert (last.phase, last.code) == (RolloutPhase.ROLLED_BACK, ReasonCode.ERRORS)


def test_busy_users_make_probes_unnecessary(world: World) -> None:
    world.canary()
    world.step()
    assert world.replica.probe_rate > 0
    world.step(users=50, seconds=8)
    assert world.replica.probe_rate == 0.0


def test_a_shared_outage_holds_then_goes_on_and_promotes(world: World) -> None:
    world.canary()
    world.step(users=20, seconds=5)
    world.replica.errors = {Arm.CURRENT: 0.9, Arm.CANARY: 0.9}
    for _ in range(30):
        world.step(users=20)
        if world.rollout.phase is RolloutPhase.HELD:
            break
    assert (world.rollout.phase, world.rollout.code) == (RolloutPhase.HELD, ReasonCode.SHARED_FAILURE)
    stood = world.clock_of_window
    world.step(users=20, seconds=5)
    assert world.clock_of_window == stood
    world.replica.errors = {Arm.CURRENT: 0.0, Arm.CANARY: 0.0}
    for _ in range(30):
        world.step(users=20)
        if world.rollout.phase is RolloutPhase.CANARY:
            break
    assert (world.rollout.phase, world.rollout.epoch) == (RolloutPhase.CANARY, 1)
    last = world.until_over(users=20, seconds=60)
    assert last.phase is RolloutPhase.PROMOTED, world.story()
    assert last.epoch == 1


def test_a_shared_outage_of_an_idle_system_ends_with_the_help_of_probes(world: World) -> None:
    world.canary()
    world.replica.errors = {Arm.CURRENT: 1.0, Arm.CANARY: 1.0}
    for _ in range(20):
        world.step()
        if world.rollout.phase is RolloutPhase.HELD:
            break
    assert world.rollout.code is ReasonCode.SHARED_FAILURE
    world.replica.errors = {Arm.CURRENT: 0.0, Arm.CANARY: 0.0}
    last = world.until_over(users=0, seconds=200)
    assert last.phase is RolloutPhase.PROMOTED, world.story()


def test_a_version_that_a_replica_cannot_load_is_rolled_back(world: World) -> None:
    world.canary()
    assert world.state.canary is not None
    world.replica.broken[world.state.canary.digest] = "no kernel for this operator"
    last = world.until_over(users=0, seconds=3)
    assert (last.phase, last.code) == (RolloutPhase.ROLLED_BACK, ReasonCode.LOAD_FAILURE)
    assert "no kernel for this operator" in last.reason


def test_a_dead_replica_does_not_speak_for_the_canary_any_more(world: World) -> None:
    world.canary()
    assert world.state.canary is not None
    digest = world.state.canary.digest
    world.store.put_replica(
        Replica(replica="gone-b", time=world.clock() - 60, seq=1, failed={digest: "disk full"})
    )
    world.step(users=10, seconds=3)
    assert world.rollout.phase is RolloutPhase.CANARY


def test_a_trip_of_a_replica_vetoes_the_promotion_even_after_its_death(world: World) -> None:
    world.canary()
    world.store.put_replica(
        Replica(replica="tripped-b", time=world.clock() + 0.5, seq=4, trips=(world.rollout.number,))
    )
    world.step(users=20, seconds=int(1.5 * WINDOW))
    assert world.rollout.phase is RolloutPhase.CANARY
    assert world.clock_of_window > WINDOW


def test_the_clock_runs_only_while_every_replica_has_the_canary(world: World) -> None:
    world.canary()
    world.replica.loads = False
    world.step(users=5, seconds=8)
    assert world.clock_of_window == 0.0
    world.replica.loads = True
    world.step(users=5, seconds=8)
    assert 5.0 <= world.clock_of_window <= 8.0


def test_a_clock_set_back_stalls_no_rollout(world: World) -> None:
    world.canary()
    world.step(users=20, seconds=3)
    world.clock.now -= 3600.0
    assert world.until_over(users=20, seconds=60).phase is RolloutPhase.PROMOTED


def test_a_replica_that_died_before_the_clock_was_set_back_is_gone(world: World) -> None:
    world.canary()
    world.store.put_replica(Replica(replica="gone-b", time=world.clock(), seq=1))
    world.clock.now -= 3600.0
    assert world.until_over(users=20, seconds=60).phase is RolloutPhase.PROMOTED


def test_a_trip_vetoes_a_promotion_by_hand_after_the_clock_was_set_back(world: World) -> None:
    world.canary()
    world.clock.now -= 3600.0
    world.replica.trips = (world.rollout.number,)
    world.step(users=20)
    with pytest.raises(Conflict, match="a replica stopped it on its own evidence"):
        commands.promote(world.store, actor="alice via cli")


def test_a_shared_outage_is_seen_to_be_over_after_the_clock_was_set_back(world: World) -> None:
    world.canary()
    world.replica.errors = {Arm.CURRENT: 1.0, Arm.CANARY: 1.0}
    world.step(users=20, seconds=5)
    assert world.rollout.code is ReasonCode.SHARED_FAILURE, world.story()
    world.clock.now -= 3600.0
    world.replica.errors = {Arm.CURRENT: 0.0, Arm.CANARY: 0.0}
    assert world.until_over(users=20, seconds=90).phase is RolloutPhase.PROMOTED, world.story()


def test_without_replicas_nothing_moves(world: World) -> None:
    world.canary()
    for _ in range(60):
        world.clock.now += 1
        world.tick()
    assert world.rollout.phase is RolloutPhase.CANARY
    assert world.clock_of_window <= 10.0  # until the last heartbeat counts as old


def test_an_absence_moves_the_clock_only_by_the_clamp(world: World) -> None:
    world.canary()
    world.step(users=5, seconds=3)
    before = world.clock_of_window
    world.clock.now += 3600.0
    world.replica.work(5)
    world.tick()
    assert before < world.clock_of_window <= before + 5.0


def test_too_little_evidence_is_held_and_then_loses_its_share(tmp_path: Path) -> None:
    world = World(tmp_path, probes=False, max_evaluation=2, hold_for_seconds=40.0)
    world.canary()
    world.step(users=0, seconds=int(2 * WINDOW) + 8)
    assert (world.rollout.phase, world.rollout.code) == (RolloutPhase.HELD, ReasonCode.INSUFFICIENT)
    assert world.rollout.share == 0.5
    world.step(seconds=45)
    assert world.rollout.share == 0.0


def test_observations_of_a_rollout_that_is_over_go_after_a_day_and_its_evidence_stays(world: World) -> None:
    world.clock.now = time.time()
    world.canary()
    world.until_over(users=20, seconds=60)
    assert world.store.new_observations(1, {})
    world.clock.now = time.time() + 23 * 3600
    world.step()
    assert world.store.new_observations(1, {})
    world.clock.now = time.time() + 25 * 3600
    world.step()
    assert not world.store.new_observations(1, {})
    assert world.store.last_frozen(1) is not None


def test_observations_of_a_rollout_that_goes_on_stay(world: World) -> None:
    world.clock.now = time.time()
    world.canary()
    world.step(users=20, seconds=3)
    world.clock.now += 48 * 3600
    world.step(seconds=2)
    assert [n for _, n, _ in world.store.new_observations(1, {})][:3] == [0, 1, 2]


def test_a_second_version_waits_for_its_turn(world: World) -> None:
    world.canary()
    third = world.publish(models.healthy(world.folder / "third", seed=2))
    world.step(users=20, seconds=3)
    assert world.rollout.version == 2
    world.until_over(users=20, seconds=60)
    world.verify()
    assert (world.rollout.version, world.rollout.baseline) == (third, 2)


def test_a_superseding_version_takes_the_place_in_one_event(tmp_path: Path) -> None:
    world = World(tmp_path, on_new_version="supersede")
    world.canary()
    third = world.publish(models.healthy(tmp_path / "third", seed=2))
    world.step()
    assert world.rollout.version == third
    assert world.state.last is not None
    assert world.state.last.phase is RolloutPhase.SUPERSEDED
    world.verify()
    assert world.rollout.phase is RolloutPhase.CANARY


@pytest.mark.parametrize("users", [0, 20])
def test_routes_and_views_follow(world: World, users: int) -> None:
    world.canary()
    world.step(users=users, seconds=7)
    routes = world.store.routes()
    assert routes is not None
    assert (routes.seq, routes.share, routes.phase) == (world.state.seq, 0.5, RolloutPhase.CANARY)
    assert routes.clock == world.clock_of_window > 0
    assert routes.canary is not None
    assert routes.canary.version == 2
    assert (world.store.root / "canary" / "version.json").exists()
    world.replica.errors[Arm.CANARY] = 1.0
    world.until_over(users=20, seconds=10)
    routes = world.store.routes()
    assert routes is not None
    assert (routes.seq, routes.canary, routes.share) == (world.state.seq, None, 0.0)
    assert not (world.store.root / "canary").exists()
