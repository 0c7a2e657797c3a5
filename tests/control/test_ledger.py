"""The window's clock, and slices that two freeze at once."""

from hypothesis import given
from hypothesis import strategies as st

from serinus.control import commands
from serinus.control.gather import read
from serinus.control.ledger import Ledger, WindowClock, standing
from serinus.core.enums import Arm
from serinus.core.ids import Digest
from serinus.store import Replica
from tests.control.world import World


def test_seconds_count_when_it_runs_at_both_ends() -> None:
    clock = WindowClock(clamp=5.0)
    for now, running, pending in [
        (0.0, True, 0.0), (1.0, True, 1.0), (2.0, False, 1.0), (3.0, True, 1.0), (3.5, True, 1.5),
        (60.0, True, 6.5), (50.0, True, 6.5), (51.0, True, 7.5),
    ]:  # fmt: skip
        clock.look(now, running=running, frozen="")
        assert clock.pending == pending


def test_a_slice_of_somebody_else_holds_the_same_seconds() -> None:
    clock = WindowClock(clamp=5.0)
    clock.look(0.0, running=True, frozen="a")
    clock.look(1.0, running=True, frozen="a")
    clock.look(2.0, running=True, frozen="b")
    assert clock.pending == 0.0
    clock.look(3.0, running=True, frozen="b")
    assert clock.pending == 1.0
    clock.recorded("c")
    clock.look(3.5, running=True, frozen="c")
    assert clock.pending == 0.5


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.booleans()), max_size=30))
def test_it_never_runs_backwards_and_never_jumps(looks: list[tuple[float, bool]]) -> None:
    clock, before = WindowClock(clamp=5.0), 0.0
    for now, running in looks:
        clock.look(now, running=running, frozen="")
        assert before <= clock.pending <= before + 5.0
        before = clock.pending


def test_the_loser_of_a_slice_goes_on_from_the_winner(world: World) -> None:
    world.canary()
    rollout = world.rollout
    one, two = (Ledger(world.store, clock=world.clock, clamp=5.0, clock_slice=5.0) for _ in range(2))
    world.replica.work(10)
    first = one.turn(rollout, now=0.0, running=True, in_flight=0)
    second = two.turn(rollout, now=0.0, running=True, in_flight=3)
    assert first == second
    assert first.last is not None
    assert (first.last.k, first.last.sources) == (0, {"r1-a": 0})
    world.replica.work(10)
    third = two.turn(rollout, now=1.0, running=True, in_flight=0)
    assert third.last is not None
    assert (third.last.k, third.last.prev, third.clock) == (1, first.digest, 1.0)
    assert one.turn(rollout, now=1.0, running=True, in_flight=0) == third


def test_nothing_new_freezes_nothing(world: World) -> None:
    world.canary()
    ledger = Ledger(world.store, clock=world.clock, clamp=5.0, clock_slice=5.0)
    for now in range(20):
        assert ledger.turn(world.rollout, now=now, running=False, in_flight=0).last is None


def test_a_held_rollout_freezes_now_and_then_but_failures_at_once(world: World) -> None:
    world.canary()
    for controller in world.controllers:
        controller.close()
    ledger = Ledger(world.store, clock=world.clock, clamp=5.0, clock_slice=5.0)
    commands.pause(world.store, actor="alice", reason="for days")

    def pass_seconds(seconds: int) -> int:
        last = -1
        for _ in range(seconds):
            world.clock.now += 1
            world.replica.work(20)
            last = ledger.turn(world.rollout, now=world.clock(), running=False, in_flight=0).k
        return last

    assert pass_seconds(50) == 9
    world.replica.errors[Arm.CANARY] = 1.0
    assert pass_seconds(3) == 12
    commands.resume(world.store, actor="alice")
    world.replica.errors[Arm.CANARY] = 0.0
    assert pass_seconds(3) == 15
    users = standing(world.store, world.rollout).analysis.users
    assert users.canary.requests + users.current.requests == 56 * 20


def test_readings() -> None:
    canary = Digest("c" * 64)

    def replica(name: str, time: float, **fields: object) -> Replica:
        return Replica(replica=name, time=time, seq=1, **fields)  # type: ignore[arg-type]

    with_it = replica("a", 100.0, loaded=(canary,), in_flight=2)
    without = replica("b", 100.0)
    gone = replica("c", 50.0, failed={canary: "disk full"}, trips=(7,), in_flight=5)
    broken = replica("d", 100.0, failed={canary: "no kernel"})

    def readings(*replicas: Replica) -> tuple[bool, int, str, bool]:
        found = read(replicas, canary=canary, rollout=7, now=100.0, fresh_seconds=10.0)
        return found.ready, found.in_flight, found.load_failure, found.tripped

    assert readings() == (False, 0, "", False)
    assert readings(with_it) == (True, 2, "", False)
    assert readings(with_it, without) == (False, 2, "", False)
    assert readings(with_it, gone) == (True, 2, "", True)
    assert readings(with_it, broken) == (False, 2, "d: no kernel", False)
