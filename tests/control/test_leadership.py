"""The Lease: one of several controllers works, and where it cannot be asked for, everybody does."""

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("lightkube")

from serinus.bootstrap import edge
from serinus.control.controller import Controller
from serinus.control.leadership import Leadership
from serinus.control.probes import HttpProber
from serinus.control.settings import ControllerSettings
from serinus.jobs.cluster_api import VERBS, ClusterApi
from serinus.store import Store
from tests.jobs.fake_cluster import FakeCluster, until

NAME = "serinus-controller"


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def cluster() -> Iterator[FakeCluster]:
    with FakeCluster() as found:
        yield found


def candidate(cluster: FakeCluster, holder: str, time: Time, name: str = NAME) -> Leadership:
    return Leadership(ClusterApi(cluster.config), name=name, holder=holder, clock=edge.now, monotonic=time)


def test_one_works_until_it_lets_go_or_is_silent(cluster: FakeCluster) -> None:
    time = Time()
    one, two = candidate(cluster, "one", time), candidate(cluster, "two", time)
    for each in (one, two):
        assert not each.works, "before it has asked"
        each.turn()
    assert (one.works, two.works) == (True, False)
    for _ in range(4):
        time.now += 10.0
        one.turn()
        two.turn()
        assert (one.works, two.works) == (True, False), "it is renewed"
    time.now += 16.0
    assert not one.works, "it could not renew in time, so it may be somebody else's by now"
    two.turn()
    one.turn()
    assert (one.works, two.works) == (False, True)
    spec = cluster.objects["leases", NAME]["spec"]
    assert (spec["holderIdentity"], spec["leaseTransitions"]) == ("two", 1)


def test_who_ends_lets_the_next_one_work_at_once(cluster: FakeCluster) -> None:
    time = Time()
    one, two = candidate(cluster, "one", time), candidate(cluster, "two", time)
    one.start()
    until(lambda: one.works, "the first")
    two.turn()
    one.stop()
    two.turn()
    assert two.works


def test_of_two_that_take_it_at_once_one_works(cluster: FakeCluster) -> None:
    time = Time()
    one, two = candidate(cluster, "one", time), candidate(cluster, "two", time)
    one.turn()
    two.turn()
    time.now += 16.0
    two.turn()
    assert two.works
    read = ClusterApi(cluster.config).lease(NAME)
    assert read is not None
    two.turn()
    with pytest.raises(Exception, match="has changed"):
        ClusterApi(cluster.config).update_lease(read)


@pytest.mark.parametrize("away", [True, False], ids=["away", "forbidden"])
def test_without_the_lease_everybody_works(cluster: FakeCluster, away: bool) -> None:
    time = Time()
    one, two = candidate(cluster, "one", time), candidate(cluster, "two", time)
    one.turn()
    two.turn()
    if away:
        cluster.stop()
    else:
        cluster.denied["get", "leases"] = (403, "leases is forbidden")
    time.now += 5.0
    one.turn()
    two.turn()
    assert (one.works, two.works) == (True, True)
    if away:
        cluster.start()
    cluster.denied.clear()
    one.turn()
    two.turn()
    assert (one.works, two.works) == (True, False)


def test_a_whole_second_is_a_time_that_a_server_reads(cluster: FakeCluster) -> None:
    one = Leadership(
        ClusterApi(cluster.config), name=NAME, holder="one", clock=lambda: 1_800_000_000.0, monotonic=Time()
    )
    for _ in range(2):
        one.turn()
        assert cluster.objects["leases", NAME]["spec"]["holderIdentity"] == "one"


def test_only_what_is_listed_is_asked_for(cluster: FakeCluster) -> None:
    one = candidate(cluster, "one", Time())
    one.turn()
    one.turn()
    ((_, resource),) = VERBS["controller"]
    assert set(cluster.calls) == {
        (verb, resource) for verb in VERBS["controller"]["coordination.k8s.io", "leases"]
    }


def test_a_controller_whose_turn_it_is_not_looks_at_nothing(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "models", clock=edge.now, new_id=edge.new_id)
    standing_by = Controller(
        store,
        ControllerSettings(),
        clock=edge.now,
        prober=HttpProber("http://127.0.0.1:9"),
        notify=lambda _: None,
        works=lambda: False,
    )
    assert standing_by.tick().words == "Another controller works."
    assert store.routes() is None
    standing_by.close()
