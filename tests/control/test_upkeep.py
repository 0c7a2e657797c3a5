"""Which heartbeats are forgotten."""

from pathlib import Path

from serinus.bootstrap.edge import new_id
from serinus.control.arrivals import Arrivals
from serinus.control.importing import Importer
from serinus.control.upkeep import Upkeep
from serinus.core.enums import ReasonCode
from serinus.core.ids import Version
from serinus.engine.limits import Limits
from serinus.rollout.events import RolledBack, RolloutStarted, Verified
from serinus.rollout.policy import Policy
from serinus.store import Replica, Store
from tests import models


def test_a_trip_of_the_active_rollout_is_not_forgotten(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store", clock=lambda: 10_000.0, new_id=new_id)
    store.publish(models.healthy(tmp_path / "first", 1), note="", actor="test", initial=True)
    version = store.publish(models.healthy(tmp_path / "second", 2), note="", actor="test", initial=False)
    store.append(RolloutStarted(rollout=1, version=version, policy=Policy()), actor="test", reason="test")
    store.append(Verified(rollout=1, share=0.5), actor="test", reason="test")
    for name, trips in (("tripped-a", (1,)), ("silent-b", ()), ("older-c", (0,))):
        store.put_replica(Replica(replica=name, time=100.0, seq=2, trips=trips))

    upkeep = Upkeep(
        store,
        Arrivals(store, settle_seconds=10.0, give_up_seconds=600.0),
        Importer(store, Limits(), size=640),
        clock=lambda: 10_000.0,
        heal_seconds=0.0,
        forget_seconds=600.0,
    )
    upkeep.turn(store.state(), 0.0, 1.0)
    assert [replica.replica for replica in store.replicas()] == ["tripped-a"]

    body = RolledBack(rollout=1, version=Version(version), code=ReasonCode.ERRORS)
    store.append(body, actor="test", reason="test")
    upkeep.turn(store.state(), 0.0, 2.0)
    assert store.replicas() == []
