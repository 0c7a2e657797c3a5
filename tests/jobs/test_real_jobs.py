"""Imports as Jobs of a real API server with real controllers, asked as the account of the dashboard."""

import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("lightkube")

from lightkube import Client, KubeConfig, codecs
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Namespace, Pod

from serinus.bootstrap.edge import new_id, now
from serinus.core.enums import JobState
from serinus.jobs.cluster import KINDS, ClusterQueue
from serinus.jobs.cluster_api import ClusterApi
from serinus.jobs.local import LocalJobs
from serinus.jobs.model import DemoJob, PrepareJob, PrepareOutput
from tests.data.archives import pack_tar, pairs
from tests.jobs import real_cluster
from tests.jobs.fake_cluster import until
from tests.jobs.real_node import RealNode
from tests.k8s.sets import load

pytestmark = pytest.mark.skipif(
    not real_cluster.controlled(), reason="KUBE_APISERVER, ETCD, KUBE_CONTROLLER_MANAGER are not set"
)


class Place:
    """A dashboard with the templates and the account of k8s/overlays/cpu, and a node."""

    def __init__(self, config: KubeConfig, root: Path) -> None:
        self.root = root
        self.namespace = f"serinus-{secrets.token_hex(4)}"
        self.client = Client(config=config, namespace=self.namespace)
        self.client.create(Namespace(metadata=ObjectMeta(name=self.namespace)))
        deployed = load("cpu")
        wanted = [
            each for each in deployed.objects if each["kind"] in ("ServiceAccount", "Role", "RoleBinding")
        ]
        for each in json.loads(json.dumps(wanted).replace('"xview"', f'"{self.namespace}"')):
            self.client.create(codecs.from_dict(each))
        for name, text in deployed.of("ConfigMap")["job-templates"]["data"].items():
            (root / name).write_text(text)
        folder = root / "data" / "jobs"
        self.jobs = LocalJobs(folder, ("false",), env={}, clock=now, new_id=new_id, elsewhere=KINDS)
        account = real_cluster.account(config, "ui", self.namespace)
        self.queue = ClusterQueue(self.jobs, ClusterApi(account), root, lock=folder / ".lock", clock=now)
        env = {"DATA_DIR": str(root / "data"), "MODEL_DIR": str(root / "models")}
        self.node = RealNode(config, env, root)

    def turn(self) -> None:
        self.queue.turn()

    def over(self, *jobs: str) -> bool:
        self.turn()
        return not any(self.jobs.describe(job).active or self.jobs.alive(job) for job in jobs)

    def runs(self, job: str) -> bool:
        self.turn()
        return self.jobs.describe(job).state is JobState.RUNNING

    def pods(self) -> list[Pod]:
        return list(self.client.list(Pod))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with real_cluster.api_server(tmp_path, controllers=True) as config:
        found = Place(config, tmp_path)
        with found.node:
            yield found


def test_imports_run_with_their_logs_fail_and_make_room(place: Place) -> None:
    archive = pack_tar(place.root / "pairs.tar", pairs(3))
    good = place.jobs.submit(PrepareJob(upload=str(archive)))
    bad = place.jobs.submit(PrepareJob(upload=str(place.root / "none.zip")))
    until(lambda: place.over(good, bad), "both imports", 150.0)
    record = place.jobs.describe(good)
    assert record.state is JobState.SUCCEEDED, (record.reason, place.jobs.logs(good))
    assert isinstance(record.output, PrepareOutput)
    assert record.output.pairs_usable == 3
    assert place.jobs.logs(good)
    record = place.jobs.describe(bad)
    assert record.state is JobState.FAILED
    assert "none.zip" in record.reason
    # The finished one's pod went with it.
    until(lambda: len(place.pods()) == 1, "one pod is left")


def test_one_that_is_cancelled_is_told_to_end_and_leaves_no_pod(place: Place) -> None:
    job = place.jobs.submit(DemoJob(pairs=2000))
    until(lambda: place.runs(job) and place.jobs.describe(job).progress.step > 0, "it draws", 90.0)
    place.jobs.cancel(job)
    until(lambda: place.over(job), "it is over", 90.0)
    assert place.jobs.describe(job).state is JobState.CANCELLED
    until(lambda: place.pods() == [], "its pod is gone")


def test_a_node_that_is_lost_is_said_and_the_job_can_be_ended(place: Place) -> None:
    job = place.jobs.submit(DemoJob(pairs=2000))
    until(lambda: place.runs(job), "it runs", 90.0)
    place.node.lost()

    def said(words: str) -> bool:
        place.turn()
        return words in place.jobs.describe(job).reason

    until(lambda: said("does not answer"), "its node is missed", 120.0)
    assert place.jobs.describe(job).state is JobState.RUNNING
    place.jobs.cancel(job)
    place.turn()
    assert said("being ended")
