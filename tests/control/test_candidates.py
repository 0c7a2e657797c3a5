"""No request goes to a canary before every ready replica has it loaded."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from serinus.control.controller import Controller
from serinus.control.overview import overview
from serinus.control.settings import ControllerSettings
from serinus.core.enums import ReasonCode, RolloutPhase
from serinus.core.ids import Version
from serinus.rollout.events import Verified
from serinus.rollout.policy import OnNoRoom
from serinus.store import Replica
from tests import models
from tests.control.world import FakeReplica, World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    yield World(tmp_path)


def checked(world: World) -> str:
    """Version 2 passes its checks; the first replica does not load it yet. Gives its digest."""
    world.replica.beat(world.state)
    world.publish(models.healthy(world.folder / "next", seed=1))
    world.replica.loads_candidates = False
    world._wait(lambda: (routes := world.store.routes()) is not None and routes.candidate is not None)
    return str(world.state.versions[Version(2)].digest)


def phases(world: World) -> RolloutPhase | None:
    world.replica.beat(world.state)
    world.tick()
    return None if world.state.rollout is None else world.state.rollout.phase


def test_a_version_waits_until_all_have_it(world: World) -> None:
    digest = checked(world)
    routes = world.store.routes()
    assert routes is not None and routes.candidate is not None
    assert (routes.candidate.version, routes.candidate.digest, routes.canary) == (2, digest, None)
    assert phases(world) is RolloutPhase.VERIFYING
    second = FakeReplica(world.store, world.clock, "r2-b")
    second.beat(world.state)
    assert phases(world) is RolloutPhase.VERIFYING, "one of two is not all"
    world.replica.loads_candidates = True
    assert phases(world) is RolloutPhase.CANARY
    body = next(event.body for event in world.events if isinstance(event.body, Verified))
    assert body.report["replicas"] == 2
    routes = world.store.routes()
    assert routes is not None and routes.candidate is None


def test_who_starts_is_gone_or_serves_nothing_keeps_nobody_waiting(world: World) -> None:
    checked(world)
    world.replica.loads_candidates = True
    world.store.put_replica(Replica(replica="starts-b", time=world.clock(), seq=world.state.seq))
    world.store.put_replica(
        Replica(
            replica="gone-c",
            time=world.clock() - 60.0,
            seq=1,
            loaded=(world.state.versions[Version(1)].digest,),
        )
    )
    assert phases(world) is RolloutPhase.CANARY


def test_who_lags_is_waited_for_whatever_it_says(world: World) -> None:
    digest = checked(world)
    world.replica.loads_candidates = True
    late = Replica(
        replica="late-b",
        time=world.clock(),
        seq=world.state.seq - 1,
        loaded=(world.state.versions[Version(1)].digest,),
        failed={world.state.versions[Version(2)].digest: "in an earlier rollout"},
    )
    world.store.put_replica(late)
    assert phases(world) is RolloutPhase.VERIFYING
    assert digest
    world.clock.now += 11.0
    assert phases(world) is RolloutPhase.CANARY, "it is not heard of any more"


def test_one_that_cannot_load_it_ends_the_rollout_before_any_request(world: World) -> None:
    checked(world)
    world.replica.loads_candidates = True
    world.replica.broken[world.state.versions[Version(2)].digest] = "no kernel for this operator"
    assert phases(world) is None
    last = world.state.last
    assert last is not None
    assert (last.phase, last.code) == (RolloutPhase.ROLLED_BACK, ReasonCode.LOAD_FAILURE)
    assert "no kernel for this operator" in last.reason
    assert not any(isinstance(event.body, Verified) for event in world.events)


@pytest.mark.parametrize("sequential", [False, True])
def test_one_that_does_not_begin_to_load_it_is_waited_for_until_the_policy_decides(
    tmp_path: Path, sequential: bool
) -> None:
    """It reports room, or nothing of its memory, and finds none when it looks."""
    on_no_room = OnNoRoom.SEQUENTIAL if sequential else OnNoRoom.REFUSE
    world = World(tmp_path, on_no_room=on_no_room)
    checked(world)
    assert "r1-a has not begun to load it" in overview(world.store).words
    world.clock.now += ControllerSettings().candidate_seconds - 1.0
    assert phases(world) is RolloutPhase.VERIFYING
    world.clock.now += 1.0
    after = phases(world)
    event = world.events[-1]
    assert "r1-a did not begin to load it in 600 s" in event.reason
    if sequential:
        assert after is RolloutPhase.CANARY and world.rollout.sequential
    else:
        last = world.state.last
        assert after is None and last is not None
        assert (last.phase, last.code) == (RolloutPhase.REJECTED, ReasonCode.MEMORY)
    assert "has not begun" not in overview(world.store).words


def test_one_that_loads_without_end_or_lags_for_ever_ends_the_wait(world: World) -> None:
    digest = checked(world)
    world.replica.silent = True

    def beats() -> None:
        for name, seq in (("slow-b", world.state.seq), ("late-c", world.state.seq - 1)):
            loaded = (world.state.versions[Version(1)].digest,)
            loading = () if name == "late-c" else (digest,)
            beat = Replica(replica=name, time=world.clock(), seq=seq, loaded=loaded, loading=loading)  # type: ignore[arg-type]
            world.store.put_replica(beat)

    world.clock.now += 11.0
    beats()
    assert phases(world) is RolloutPhase.VERIFYING
    world.clock.now += ControllerSettings().candidate_seconds
    beats()
    assert phases(world) is None
    last = world.state.last
    assert last is not None
    assert (last.phase, last.code) == (RolloutPhase.REJECTED, ReasonCode.LOAD_FAILURE)
    assert "late-c lags behind the journal, slow-b is loading it" in last.reason


def test_without_replicas_nobody_is_waited_for(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.publish(models.healthy(world.folder / "next", seed=1))
    world.replica.silent = True
    world.verify()
    assert world.rollout.phase is RolloutPhase.CANARY


def test_two_controllers_do_not_take_the_hint_from_each_other(world: World) -> None:
    checked(world)
    world.controllers.append(world.controller())
    for _ in range(5):
        world.clock.now += 1
        world.replica.beat(world.state)
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(Controller.tick, world.controllers))
        routes = world.store.routes()
        assert routes is not None and routes.candidate is not None
    world.replica.loads_candidates = True
    world._wait(lambda: world.rollout.phase is RolloutPhase.CANARY)
    verified = [event for event in world.store.events() if isinstance(event.body, Verified)]
    assert len(verified) == 1
