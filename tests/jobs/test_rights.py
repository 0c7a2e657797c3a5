"""The rights that the manifests give, asked of a real API server: what the code calls, and nothing else."""

import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("lightkube")

from lightkube import Client, KubeConfig, codecs
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Namespace, Secret

from serinus.bootstrap.edge import new_id, now
from serinus.control.leadership import Leadership
from serinus.core.enums import JobState
from serinus.core.errors import Forbidden, NotFound
from serinus.jobs.cluster import KINDS, ClusterQueue
from serinus.jobs.cluster_api import ClusterApi
from serinus.jobs.local import LocalJobs
from serinus.jobs.model import TrainJob
from tests.jobs.real_cluster import account
from tests.k8s.sets import load

LEASE = "serinus-controller"


@pytest.fixture(scope="module")
def namespace(real: KubeConfig) -> Iterator[str]:
    """A new one, with the accounts and roles of k8s/base."""
    name = f"serinus-{secrets.token_hex(4)}"
    client = Client(config=real)
    client.create(Namespace(metadata=ObjectMeta(name=name)))
    wanted = [
        each for each in load("base").objects if each["kind"] in ("ServiceAccount", "Role", "RoleBinding")
    ]
    for each in json.loads(json.dumps(wanted).replace('"xview"', f'"{name}"')):
        client.create(codecs.from_dict(each))
    yield name
    client.delete(Namespace, name)


@pytest.fixture
def dashboard(real: KubeConfig, namespace: str) -> ClusterApi:
    return ClusterApi(account(real, "ui", namespace))


@pytest.fixture
def controller(real: KubeConfig, namespace: str) -> ClusterApi:
    return ClusterApi(account(real, "controller", namespace))


def test_the_dashboard_starts_follows_and_ends_trainings(dashboard: ClusterApi, tmp_path: Path) -> None:
    data = load("base").of("ConfigMap")["job-templates"]["data"]
    for name, text in data.items():
        (tmp_path / name).write_text(text)
    jobs = LocalJobs(tmp_path / "jobs", ("false",), env={}, clock=now, new_id=new_id, elsewhere=KINDS)
    queue = ClusterQueue(jobs, dashboard, tmp_path, lock=tmp_path / "lock", clock=now)
    job = jobs.submit(TrainJob(epochs=1))
    queue.turn()
    made = dashboard.job("train")
    assert made is not None, jobs.describe(job).reason
    queue.turn()
    assert (jobs.describe(job).state, jobs.alive(job)) == (JobState.QUEUED, True)
    assert "makes a pod" in jobs.describe(job).reason
    jobs.cancel(job)
    queue.turn()
    queue.turn()
    assert jobs.describe(job).state is JobState.CANCELLED
    assert dashboard.job("train") is None
    with pytest.raises(NotFound):
        dashboard.log("no-such-pod", None)


def test_the_controller_takes_renews_and_lets_go_of_its_lease(controller: ClusterApi) -> None:
    one, two = (
        Leadership(controller, name=LEASE, holder=name, clock=clock)
        for name, clock in (("one", now), ("two", lambda: 1_800_000_000.0))
    )
    for each in (one, two, one):
        each.turn()
    assert (one.works, two.works) == (True, False)
    one.start()
    one.stop()
    for _ in range(2):
        two.turn()
        assert two.works
        held = controller.lease(LEASE)
        assert held is not None and held["spec"]["holderIdentity"] == "two"


def test_neither_may_do_what_the_other_may(dashboard: ClusterApi, controller: ClusterApi) -> None:
    for forbidden in (
        lambda: dashboard.lease(LEASE),
        lambda: controller.lease("another"),
        controller.jobs,
        controller.pods,
        lambda: controller.log("any", None),
    ):
        with pytest.raises(Forbidden):
            forbidden()


def test_nobody_reads_secrets(real: KubeConfig, namespace: str) -> None:
    from lightkube import ApiError

    for name in ("ui", "controller", "infer", "job"):
        with pytest.raises(ApiError) as refused:
            list(Client(config=account(real, name, namespace)).list(Secret))
        assert refused.value.status.code == 403, name
