"""Whether a shared failure is over, asked every second of a long hold."""

from serinus.bootstrap.edge import new_id
from serinus.control.recovery import Recovery
from serinus.core.enums import Arm, ReasonCode
from serinus.store import FrozenSlice, Store
from tests.control.world import World


class Counted(Store):
    """A store that counts how many slices are read of it."""

    reads = 0

    def frozen(self, rollout: int, k: int) -> FrozenSlice | None:
        self.reads += 1
        return super().frozen(rollout, k)


def test_a_slice_is_read_once_however_often_one_asks(world: World) -> None:
    world.canary()
    world.replica.errors = {Arm.CURRENT: 1.0, Arm.CANARY: 1.0}
    world.step(users=20, seconds=30)
    assert world.rollout.code is ReasonCode.SHARED_FAILURE
    store = Counted(world.store.root, clock=world.clock, new_id=new_id)
    recovery = Recovery(store)
    last = world.store.last_frozen(1)
    assert not recovery.over(world.rollout, last)
    once = store.reads
    for _ in range(20):
        assert not recovery.over(world.rollout, last)
    assert last is not None and once == last.k - world.rollout.held_k > 0
    assert store.reads == once
