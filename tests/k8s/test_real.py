"""Base and overlays applied by kubectl to a real API server, and applied again without a change."""

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

    def kinds(self) -> set[tuple[str, str]]:
        """(apiVersion, kind) of all that this server has."""
        lines = self("api-resources", "--no-headers").splitlines()
        return {(line.split()[-3], line.split()[-1]) for line in lines}


@pytest.fixture
def kubectl(tmp_path: Path) -> Iterator[Kubectl]:
    """With an empty cluster, which is gone afterwards."""
    if not real_cluster.own():
        pytest.skip("KUBE_APISERVER and ETCD (paths of binaries) are not set")
    with real_cluster.api_server(tmp_path) as config:
        yield Kubectl(config, tmp_path)


def _objects(deployed: Set, kubectl: Kubectl) -> list[Object]:
    """All that is applied, and the Jobs; without kinds that an old server does not have."""
    found = [*deployed.objects, *deployed.jobs.values()]
    if kubectl.minor >= OLDEST:
        return found
    kinds = kubectl.kinds()
    return [each for each in found if (each["apiVersion"], each["kind"]) in kinds]


@pytest.mark.parametrize("name", sorted(SETS))
def test_a_real_server_takes_all_of_it_unchanged(name: str, kubectl: Kubectl) -> None:
    objects = _objects(load(name), kubectl)
    old = kubectl.minor < OLDEST
    text = "".join(f"---\n{json.dumps(each)}\n" for each in objects)
    apply = ("apply", f"--validate={'ignore' if old else 'strict'}", "-f", "-")
    assert len(kubectl(*apply, told=text).splitlines()) == len(objects)
    again = kubectl(*apply, told=text).splitlines()
    assert [line for line in again if not line.endswith("unchanged") and not old] == []
