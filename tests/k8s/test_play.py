"""The manifests' own pods, run by `podman play kube`: three Deployments and their volumes on this machine."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from ruamel.yaml import YAML

from tests.k8s.engine import NAMES, podman, run
from tests.k8s.sets import load
from tests.k8s.test_images import answers, images, pair  # noqa: F401
from tests.processes.installation import eventually, free_port

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]


def _pods(folder: Path, infer: int, ui: int) -> list[dict[str, Any]]:
    """The overlay cpu as pods that podman can run: its ConfigMap, and the pod of each Deployment.

    What podman has no counterpart of is left out: accounts, affinity, downward addresses, claims by name (it has
    folders). Ports are those that are free here.
    """
    deployed = load("cpu")
    config = dict(deployed.of("ConfigMap")["app-config"])
    config["data"] = config["data"] | {
        "INFER_PORT": str(infer), "UI_PORT": str(ui), "INFER_URL": f"http://127.0.0.1:{infer}", "DRAIN_DELAY_SECONDS": "0",
    }  # fmt: skip
    found: list[dict[str, Any]] = [config]
    for name, deployment in deployed.of("Deployment").items():
        template = deployment["spec"]["template"]
        spec = dict(template["spec"])
        for key in (
            "affinity",
            "topologySpreadConstraints",
            "serviceAccountName",
            "automountServiceAccountToken",
        ):
            spec.pop(key, None)
        (container,) = spec["containers"]
        container = dict(container, image=NAMES["serve"], imagePullPolicy="Never")
        container["env"] = [
            each for each in container.get("env", ()) if "value" in each and "$(" not in each["value"]
        ]
        container["envFrom"] = [{"configMapRef": {"name": "app-config"}}]
        for key in ("startupProbe", "livenessProbe", "readinessProbe", "ports", "resources"):
            container.pop(key, None)
        volumes = []
        for volume in spec["volumes"]:
            if "persistentVolumeClaim" in volume:
                place = folder / volume["persistentVolumeClaim"]["claimName"]
                place.mkdir(exist_ok=True)
                place.chmod(0o777)
                volume = {"name": volume["name"], "hostPath": {"path": str(place), "type": "Directory"}}
            elif "configMap" in volume:
                found.append(deployed.of("ConfigMap")[volume["configMap"]["name"]])
            volumes.append(volume)
        metadata = {"name": f"serinus-{name}", "labels": template["metadata"]["labels"]}
        pod = dict(spec, containers=[container], volumes=volumes, hostNetwork=True)
        found.append({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod})
    return found


@pytest.fixture
def played(images: str, tmp_path: Path) -> Iterator[tuple[str, str]]:  # noqa: F811
    """Addresses of infer and ui, which run with the controller as pods."""
    podman()
    infer, ui = free_port(), free_port()
    path = tmp_path / "pods.yaml"
    with path.open("w") as out:
        YAML().dump_all(_pods(tmp_path, infer, ui), out)
    try:
        run("podman", "play", "kube", "--network=host", str(path), timeout=300)
        yield f"http://127.0.0.1:{infer}", f"http://127.0.0.1:{ui}"
    finally:
        subprocess.run(["podman", "play", "kube", "--down", str(path)], capture_output=True, timeout=120)


def test_the_pods_of_the_overlay_serve_from_one_store(played: tuple[str, str]) -> None:
    infer, ui = played
    eventually(
        lambda: answers(f"{infer}/readyz"), "infer is ready", tell=lambda: run("podman", "ps", "--all")
    )
    eventually(lambda: answers(f"{ui}/healthz"), "ui answers", tell=lambda: run("podman", "ps", "--all"))
    told = httpx.post(f"{infer}/predict", files=pair(), timeout=60.0).raise_for_status().json()
    assert told["model_used"] == "current"
    # The dashboard sees through the shared volume that this replica serves, and through the network what it says.
    assert httpx.get(f"{ui}/infer-status", timeout=30.0).raise_for_status().json()["current_model"] is True
    eventually(
        lambda: bool(httpx.get(f"{ui}/api/state", timeout=30.0).json()["replicas"]), "a heartbeat is seen"
    )
