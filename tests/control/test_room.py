"""A version for which a replica has no room: what is decided before it gets traffic, or comes back."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from serinus.control import commands
from serinus.core.enums import ReasonCode, RolloutPhase
from serinus.core.errors import Conflict
from serinus.rollout.events import Rejected, Undone, Verified
from serinus.rollout.policy import OnNoRoom
from serinus.rollout.room import Memory
from tests import models
from tests.control.world import World


def little(free: int) -> Memory:
    return Memory(
        worker=100_000_000,
        workers=2,
        model=10**6,
        free=free,
        limit="INFER_MEMORY_MB is 500",
        load_seconds=2.5,
    )


def verified(world: World, free: int) -> None:
    """Version 2 is published and checked, while the replica has so many bytes to give."""
    world.replica.memory = little(free)
    world.replica.beat(world.state)
    world.publish(models.healthy(world.folder / "next", seed=1))
    world.verify()


def test_a_version_without_room_is_refused_before_traffic_with_the_reason(world: World) -> None:
    verified(world, free=50_000_000)
    last = world.state.last
    assert last is not None
    assert (last.phase, last.code) == (RolloutPhase.REJECTED, ReasonCode.MEMORY)
    assert last.reason == (
        "There is no room for it beside current: r1-a: it would take about 200 MB beside what is loaded, and "
        "50 MB are free (INFER_MEMORY_MB is 500)."
    )
    body = world.events[-1].body
    assert isinstance(body, Rejected)
    assert [check["name"] for check in body.report["checks"] if check["failed"]] == ["memory"]
    assert world.state.current == 1


def test_with_room_nothing_is_said_of_it(world: World) -> None:
    verified(world, free=200_000_000)
    assert world.rollout.phase is RolloutPhase.CANARY
    assert not world.rollout.sequential
    assert "room" not in world.events[-1].reason


def test_where_the_policy_lets_it_take_currents_place_the_gap_is_announced(tmp_path: Path) -> None:
    world = World(tmp_path, on_no_room=OnNoRoom.SEQUENTIAL)
    verified(world, free=50_000_000)
    assert (world.rollout.phase, world.rollout.share, world.rollout.sequential) == (
        RolloutPhase.CANARY,
        1.0,
        True,
    )
    assert isinstance(world.events[-1].body, Verified)
    assert "nobody answers until it is loaded, about 2.5 s" in world.events[-1].reason


def test_a_sequential_rollout_that_is_held_keeps_its_traffic(tmp_path: Path) -> None:
    world = World(
        tmp_path, on_no_room=OnNoRoom.SEQUENTIAL, hold_for_seconds=1.0, max_evaluation=1, probes=False
    )
    verified(world, free=50_000_000)
    world.step(users=0, seconds=60)
    assert (world.rollout.phase, world.rollout.share) == (RolloutPhase.HELD, 1.0)


@pytest.mark.parametrize("on_no_room", OnNoRoom)
def test_an_undo_that_must_load_goes_by_the_last_policy(tmp_path: Path, on_no_room: OnNoRoom) -> None:
    world = World(tmp_path, on_no_room=on_no_room)
    world.canary()
    commands.promote(world.store, actor="alice", reason="now", confirm=True)
    world.replica.memory = little(free=0)
    world.replica.beat(world.state)
    if on_no_room is OnNoRoom.REFUSE:
        with pytest.raises(Conflict, match="no room") as refused:
            commands.undo(world.store, actor="alice", reason="odd")
        assert "on_no_room" in refused.value.remedy
        assert world.state.current == 2
    else:
        event = commands.undo(world.store, actor="alice", reason="odd")
        assert isinstance(event.body, Undone)
        assert event.reason.startswith("odd (There is no room") and "nobody answers" in event.reason


def test_an_undo_of_what_still_stands_by_needs_no_room(world: World) -> None:
    world.canary()
    commands.promote(world.store, actor="alice", reason="now", confirm=True)
    state = world.state
    world.replica.memory = little(free=0)
    world.replica.beat(state)
    (beat,) = world.store.replicas()
    world.store.put_replica(replace(beat, loaded=tuple(state.versions[n].digest for n in (1, 2))))
    assert isinstance(commands.undo(world.store, actor="alice", reason="odd").body, Undone)
