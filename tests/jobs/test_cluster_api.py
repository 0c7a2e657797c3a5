"""What the cluster's API is relied on for: the same of the fake as of a real server, where one is at hand."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("lightkube")

from serinus.core.enums import JobKind
from serinus.core.errors import Conflict, Misconfigured
from serinus.jobs.cluster_api import ClusterApi
from serinus.jobs.manifest import JOB_LABEL, manifest, template_of
from serinus.jobs.model import TrainJob
from tests.jobs.fake_cluster import FakeCluster
from tests.jobs.test_cluster import TEMPLATE


@pytest.fixture(params=["fake", "real"])
def api(request: pytest.FixtureRequest) -> Iterator[ClusterApi]:
    if request.param == "real":
        yield ClusterApi(request.getfixturevalue("real"))
        return
    with FakeCluster() as cluster:
        yield ClusterApi(cluster.config)


def wanted(root: Path, name: str) -> dict[str, object]:
    """A Job as it is asked for, under a name of its own."""
    (root / "train.yaml").write_text(TEMPLATE)
    job = root / f"train-{secrets.token_hex(6)}"
    found = manifest(template_of(root, JobKind.TRAIN), TrainJob(), job)
    found["metadata"]["name"] = name
    return found


def test_a_job_is_made_once_found_and_only_that_one_deleted(api: ClusterApi, tmp_path: Path) -> None:
    name = f"t-{secrets.token_hex(4)}"
    assert api.job(name) is None
    asked = wanted(tmp_path, name)
    made = api.create_job(asked)
    with pytest.raises(Conflict):
        api.create_job(wanted(tmp_path, name))
    found = api.job(name)
    assert found is not None
    assert found.metadata.uid == made.metadata.uid
    assert not found.over
    assert found.metadata.labels[JOB_LABEL] == asked["metadata"]["labels"][JOB_LABEL]  # type: ignore[index]
    assert made.metadata.uid in {each.metadata.uid for each in api.jobs()}
    assert api.events(made.metadata.uid) == []
    api.pods()
    api.delete_job(made)
    assert api.job(name) is None
    again = api.create_job(wanted(tmp_path, name))
    api.delete_job(made)
    assert api.job(name) is not None, "the first one's deletion is not the second one's"
    api.delete_job(again)
    api.delete_job(again)


def test_a_lease_that_changed_since_it_was_read_is_not_overwritten(api: ClusterApi) -> None:
    name = f"t-{secrets.token_hex(4)}"
    assert api.lease(name) is None
    document = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name},
        "spec": {
            "holderIdentity": "a",
            "leaseDurationSeconds": 15,
            "renewTime": "2026-01-01T00:00:00.250000Z",
            "acquireTime": "2026-01-01T00:00:00.250000Z",
            "leaseTransitions": 0,
        },
    }
    api.create_lease(document)
    with pytest.raises(Conflict):
        api.create_lease({**document, "metadata": {"name": name}})
    one, two = api.lease(name), api.lease(name)
    assert one is not None and two is not None
    one["spec"]["holderIdentity"] = "b"
    api.update_lease(one)
    with pytest.raises(Conflict):
        api.update_lease(two)
    found = api.lease(name)
    assert found is not None
    assert found["spec"]["holderIdentity"] == "b"


def test_without_a_cluster_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(Misconfigured, match="no cluster"):
        ClusterApi()
