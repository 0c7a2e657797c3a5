"""Base and overlays applied by kubectl to a real API server, which keeps all that they say."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("lightkube")

from tests.jobs import real_cluster
from tests.k8s.sets import SETS, Object, Set, load, manifests

if TYPE_CHECKING:
    from lightkube import KubeConfig

OLDEST = 31
"""Of Kubernetes 1: the first that the manifests are for. An older server gets what it knows."""
FORERUNNERS = {"policy/v1": "policy/v1beta1", "autoscaling/v2": "autoscaling/v2beta2"}
"""What an older server has in place of an API; the fields that we use mean the same there."""
NEW_FIELDS = {
    "Job": ("podFailurePolicy", "podReplacementPolicy"),
    "PodDisruptionBudget": ("unhealthyPodEvictionPolicy",),
}
"""Of a kind's `spec`, those that an older server does not know. It is to know all others."""


class Kubectl:
    """kubectl with a cluster."""

    def __init__(self, config: "KubeConfig", folder: Path) -> None:
        self._file = real_cluster.kubeconfig(config, folder / "kubeconfig")

    def __call__(self, *words: str, told: str | None = None) -> str:
        program = manifests.command()[0]
        command = (program, f"--kubeconfig={self._file}", *words)
        done = subprocess.run(command, input=told, capture_output=True, check=False, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    @property
    def minor(self) -> int:
        version: dict[str, Any] = json.loads(self("version", "-o", "json"))["serverVersion"]
        return int(version["gitVersion"].split(".")[1])

    def offered(self) -> frozenset[str]:
        """Every version of every API that this server has."""
        return frozenset(self("api-versions").split())


@pytest.fixture
def kubectl(tmp_path: Path) -> Iterator[Kubectl]:
    """With an empty cluster, which is gone afterwards."""
    if not real_cluster.own():
        pytest.skip("KUBE_APISERVER and ETCD (paths of binaries) are not set")
    with real_cluster.api_server(tmp_path) as config:
        yield Kubectl(config, tmp_path)


def _for_older(each: Object, offered: frozenset[str]) -> Object:
    """The same in the words of a server that is older than our manifests."""
    version = each["apiVersion"]
    if version not in offered:
        each = {**each, "apiVersion": FORERUNNERS[version]}
    if new := NEW_FIELDS.get(each["kind"]):
        each = {**each, "spec": {name: value for name, value in each["spec"].items() if name not in new}}
    return each


def _objects(deployed: Set, kubectl: Kubectl) -> list[Object]:
    """All that is applied, and the Jobs; unchanged where the server is as new as they want."""
    found = [*deployed.objects, *deployed.jobs.values()]
    if kubectl.minor >= OLDEST:
        return found
    offered = kubectl.offered()
    return [_for_older(each, offered) for each in found]


@pytest.mark.parametrize("name", sorted(SETS))
def test_a_real_server_takes_all_of_it_unchanged(name: str, kubectl: Kubectl) -> None:
    objects = _objects(load(name), kubectl)
    text = "".join(f"---\n{json.dumps(each)}\n" for each in objects)
    assert len(kubectl("apply", "--validate=strict", "-f", "-", told=text).splitlines()) == len(objects)
    # An apply of the same would change nothing: what the server kept says all of it.
    assert kubectl("diff", "-f", "-", told=text) == ""
