import pytest

from serinus.core.enums import RolloutPhase
from serinus.core.ids import Digest, Version
from serinus.store import Replica, Routes, Served, Store
from tests.store.drafts import names

DIGEST = Digest("ab" * 32)


def test_replicas_come_and_go(store: Store) -> None:
    assert store.replicas(newer_than=0) == []
    old = Replica(replica="infer-1-cd", time=100.0, seq=3)
    new = Replica(
        replica="infer-0-ab",
        time=200.0,
        seq=4,
        loaded=(DIGEST,),
        failed={Digest("cd" * 32): "does not load"},
        trips=(1,),
        in_flight=2,
        share=0.5,
        url="http://127.0.0.1:9000",
    )
    store.put_replica(old)
    store.put_replica(new)
    assert store.replicas(newer_than=0) == [new, old]
    assert store.replicas(newer_than=100.0) == [new]
    again = Replica(replica="infer-1-cd", time=300.0, seq=5)
    store.put_replica(again)
    assert store.replicas(newer_than=100.0) == [new, again]
    store.remove_replica("infer-0-ab")
    store.remove_replica("infer-0-ab")
    assert store.replicas(newer_than=0) == [again]
    assert names(store.root / ".tmp") == []


def test_routes_are_replaced(store: Store) -> None:
    assert store.routes() is None
    first = Routes(seq=1, current=Served(version=Version(1), digest=DIGEST))
    second = Routes(
        seq=4,
        current=first.current,
        canary=Served(version=Version(2), digest=DIGEST),
        rollout=1,
        phase=RolloutPhase.CANARY,
        share=0.5,
        clock=12.5,
        window_seconds=180.0,
        time=1000.0,
    )
    for routes in (first, second):
        store.put_routes(routes)
        assert store.routes() == routes


def test_torn_documents_are_as_good_as_none(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    store.put_replica(Replica(replica="infer-0-ab", time=1.0, seq=1))
    for path in (store.root / "routes.json", store.root / "replicas" / "infer-9-zz.json"):
        path.write_bytes(b'{"seq":')
    assert store.routes() is None
    assert [replica.replica for replica in store.replicas(newer_than=0)] == ["infer-0-ab"]
    assert "routes.json" in caplog.text and "infer-9-zz.json" in caplog.text
