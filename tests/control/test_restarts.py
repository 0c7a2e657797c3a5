"""Controllers that die at every step, and controllers that run twice: the rollout goes on and counts once."""

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from serinus.bootstrap.edge import new_id
from serinus.control.controller import Controller
from serinus.control.settings import ControllerSettings
from serinus.core.enums import Arm, RolloutPhase
from serinus.evidence.counts import merge
from serinus.rollout.events import Body, Event, Promoted, RolloutStarted, Verified
from serinus.store import FrozenSlice, Routes, Store
from tests import models
from tests.control.world import AimedAt, World


class Killed(BaseException):
    """The process is gone: nobody catches it."""


class DyingStore(Store):
    """A store whose process dies right before or right after its n-th change."""

    left = 0
    after = False

    def _change(self, change: Callable[[], object]) -> object:
        self.left -= 1
        if self.left == 0 and not self.after:
            raise Killed
        done = change()
        if self.left == 0:
            raise Killed
        return done

    def append(self, body: Body, *, actor: str, reason: str, expect: int | None = None) -> Event:
        event = self._change(
            lambda: super(DyingStore, self).append(body, actor=actor, reason=reason, expect=expect)
        )
        assert isinstance(event, Event)
        return event

    def freeze(self, frozen: FrozenSlice) -> bool:
        return bool(self._change(lambda: super(DyingStore, self).freeze(frozen)))

    def put_routes(self, routes: Routes) -> None:
        self._change(lambda: super(DyingStore, self).put_routes(routes))

    def refresh_views(self) -> None:
        self._change(super().refresh_views)


def mortal(world: World, changes: int, after: bool) -> Controller:
    store = DyingStore(world.store.root, clock=world.clock, new_id=new_id)
    store.left, store.after = changes, after
    return Controller(
        store,
        ControllerSettings(policy=world.policy),
        clock=world.clock,
        monotonic=world.clock,
        prober=AimedAt(world.replica),
        notify=world.events.append,
    )


def counted(world: World, rollout: int) -> int:
    """Requests in all frozen slices of a rollout, whose numbers and links are checked on the way."""
    total, k, clock = 0, 0, 0.0
    while (frozen := world.store.frozen(rollout, k)) is not None:
        total += sum(cell.successes + cell.failures for cell in frozen.slice)
        clock += frozen.clock_increment
        assert frozen.clock == pytest.approx(clock)
        k += 1
    return total


def reported(world: World, rollout: int) -> int:
    """Requests that the replica reported."""
    slices = [slice_ for _, _, slice_ in world.store.new_observations(rollout, {})]
    return sum(cell.successes + cell.failures for cell in merge(slices))


@pytest.mark.parametrize("after", [False, True])
def test_it_may_die_around_every_change(tmp_path: Path, after: bool) -> None:
    world = World(tmp_path, window_seconds=12.0)
    world.publish(models.healthy(tmp_path / "next", seed=1))
    deaths, life = 0, 0
    world.controllers = [mortal(world, 1, after)]
    for _ in range(4000):
        if world.state.last is not None:
            break
        try:
            if world.state.canary is None:
                world.tick()
                time.sleep(0.02)
            else:
                world.step(users=20)
        except Killed:
            deaths, life = deaths + 1, life + 1
            world.controllers = [mortal(world, 1 + life % 7, after)]
    assert world.state.last is not None, world.story()
    assert world.state.last.phase is RolloutPhase.PROMOTED, world.story()
    assert deaths > 10
    kinds = [type(event.body) for event in world.store.events()]
    assert [kinds.count(kind) for kind in (RolloutStarted, Verified, Promoted)] == [1, 1, 1]
    assert counted(world, 1) <= reported(world, 1) <= counted(world, 1) + 20
    world.controllers = [world.controller()]
    world.step()
    routes = world.store.routes()
    assert routes is not None
    assert (routes.seq, routes.canary) == (world.state.seq, None)
    assert json.loads((world.store.root / "current" / "version.json").read_text())["version"] == 2


def test_a_new_controller_takes_over_every_few_seconds(world: World) -> None:
    world.canary()
    for _ in range(30):
        world.controllers = [world.controller()]
        world.step(users=15, seconds=3)
        if world.state.rollout is None:
            break
    assert world.state.current == 2, world.story()


def test_two_controllers_decide_once_and_count_once(world: World) -> None:
    world.controllers.append(world.controller())
    world.canary()
    began = world.clock()
    with ThreadPoolExecutor(2) as pool:
        for _ in range(90):
            world.clock.now += 1
            world.replica.work(15)
            list(pool.map(Controller.tick, world.controllers))
            assert world.clock_of_window <= world.clock() - began
            if world.state.rollout is None:
                break
    assert world.state.current == 2, world.story()
    kinds = [type(event.body) for event in world.store.events()]
    assert [kinds.count(kind) for kind in (RolloutStarted, Verified, Promoted)] == [1, 1, 1]
    assert counted(world, 1) == reported(world, 1)
    assert world.clock() - began < 45  # two do not slow each other's clock down


def test_two_controllers_roll_back_once(world: World) -> None:
    world.controllers.append(world.controller())
    world.canary()
    world.replica.errors[Arm.CANARY] = 1.0
    last = world.until_over(users=10, seconds=10)
    assert last.phase is RolloutPhase.ROLLED_BACK


def test_a_damaged_journal_stops_decisions_and_not_the_loop(world: World) -> None:
    world.canary()
    torn = world.store.root / "journal" / f"{world.state.seq + 1:010d}.json"
    torn.write_text("{")
    world.clock.now += 1
    ticks = [controller.tick() for controller in world.controllers]
    assert ticks[0].event is None
    assert str(torn) in ticks[0].words
    torn.unlink()
    world.until_over(users=20, seconds=60)
    assert world.state.current == 2
