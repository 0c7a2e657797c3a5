"""What Kustomize makes of k8s/: base and overlays as sets of objects, and ways to look into them."""

import importlib.util
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
Object = dict[str, Any]


def _tool() -> Any:
    spec = importlib.util.spec_from_file_location("manifests", ROOT / "tools" / "manifests.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


manifests = _tool()
SETS: dict[str, tuple[Path, Path]] = {place.name: (place, jobs) for place, jobs in manifests.SETS.items()}
"""The folder that is applied, and the one where its Jobs are built, by the set's name."""


class Set(NamedTuple):
    """Everything that is applied, and the Jobs that are made of its templates."""

    name: str
    objects: tuple[Object, ...]
    jobs: dict[str, Object]

    def of(self, kind: str) -> dict[str, Object]:
        """The objects of a kind, by name."""
        return {each["metadata"]["name"]: each for each in self.objects if each["kind"] == kind}

    def workloads(self) -> Iterator[tuple[str, Object]]:
        """Names and pod templates of all that runs, Jobs included."""
        for each in (*self.of("Deployment").values(), *self.jobs.values()):
            yield each["metadata"]["name"], each["spec"]["template"]

    def pod(self, name: str) -> Object:
        """The pod's spec of a workload."""
        return dict(self.workloads())[name]["spec"]

    def container(self, name: str) -> Object:
        (only,) = self.pod(name)["containers"]
        return only

    def environment(self, name: str) -> dict[str, str]:
        """What a workload's process finds in its environment, with `$(NAME)` as Kubernetes fills it in."""
        found: dict[str, str] = {}
        container = self.container(name)
        for source in container.get("envFrom", ()):
            if "configMapRef" in source:
                found |= self.of("ConfigMap")[source["configMapRef"]["name"]]["data"]
        named: dict[str, str] = {}
        for each in container.get("env", ()):
            if "value" in each:
                value = each["value"]
                for key, known in named.items():
                    value = value.replace(f"$({key})", known)
            elif "secretKeyRef" in each["valueFrom"]:
                value = "s" * 40
            elif "configMapKeyRef" in each["valueFrom"]:
                ref = each["valueFrom"]["configMapKeyRef"]
                value = self.of("ConfigMap")[ref["name"]]["data"][ref["key"]]
            else:
                value = {"status.podIP": "10.1.2.3", "status.hostIP": "192.168.49.2"}[
                    each["valueFrom"]["fieldRef"]["fieldPath"]
                ]
            named[each["name"]] = value
        return found | named


@cache
def load(name: str) -> Set:
    """One set, built by Kustomize; skips where there is none."""
    place, jobs = SETS[name]
    try:
        return Set(name, tuple(manifests.build(place)), manifests.templates(jobs))
    except manifests.NoKustomize as missing:
        pytest.skip(str(missing))
