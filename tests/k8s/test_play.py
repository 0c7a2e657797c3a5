"""The manifests' own pods, run by `podman play kube`: three Deployments and their volumes on this machine."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from ruamel.yaml import YAML

from tests.k8s.engine import NAMES, podman, run
from tests.k8s.sets import Object, load
from tests.k8s.test_images import answers, images, pair  # noqa: F401
from tests.processes.installation import eventually, free_port

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]


NOT_PODMANS = ("affinity", "topologySpreadConstraints", "serviceAccountName", "automountServiceAccountToken")
OF_A_CLUSTER = ("JOB_TEMPLATES", "CONTROLLER_LEASE")


def _folder(place: Path) -> dict[str, str]:
    """A folder of this machine as a volume, to be written by any user."""
    place.mkdir(exist_ok=True)
    place.chmod(0o777)
    return {"path": str(place), "type": "Directory"}


def _volume(volume: Object, folder: Path) -> Object:
    if "persistentVolumeClaim" in volume:
        return {
            "name": volume["name"],
            "hostPath": _folder(folder / volume["persistentVolumeClaim"]["claimName"]),
        }
    if "secret" in volume:
        (item,) = volume["secret"]["items"]
        found = {"name": volume["name"], "hostPath": _folder(folder / volume["secret"]["secretName"])}
        (folder / volume["secret"]["secretName"] / item["path"]).write_text("# none\n")
        return found
    return volume


def _pods(folder: Path, infer: int, ui: int) -> list[Object]:
    """The overlay cpu as pods that podman can run: its ConfigMaps, and the pod of each Deployment.

    What podman has no counterpart of is left out: accounts, affinity, downward addresses, claims, Secrets by
    name (it has folders), and what asks a cluster. Ports are free ones.
    """
    deployed = load("cpu")
    maps = deployed.of("ConfigMap")
    here = {"INFER_PORT": str(infer), "UI_PORT": str(ui), "INFER_URL": f"http://127.0.0.1:{infer}"}
    config = maps["app-config"]
    found: list[Object] = [{**config, "data": config["data"] | here}, maps["job-templates"]]
    for name, deployment in deployed.of("Deployment").items():
        template = deployment["spec"]["template"]
        spec = {key: value for key, value in template["spec"].items() if key not in NOT_PODMANS}
        (container,) = spec["containers"]
        kept = ("name", "args", "envFrom", "securityContext", "volumeMounts")
        container = {key: container[key] for key in kept} | {
            "image": NAMES["serve"],
            "imagePullPolicy": "Never",
            "env": [
                each
                for each in container.get("env", ())
                if "$(" not in each.get("value", "$(") and each["name"] not in OF_A_CLUSTER
            ],
        }
        volumes = [_volume(each, folder) for each in spec["volumes"]]
        pod = spec | {"containers": [container], "volumes": volumes, "hostNetwork": True}
        metadata = {"name": f"serinus-{name}", "labels": template["metadata"]["labels"]}
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
        subprocess.run(
            ["podman", "play", "kube", "--down", str(path)], capture_output=True, check=False, timeout=120
        )


def test_the_pods_of_the_overlay_serve_from_one_store(played: tuple[str, str]) -> None:
    infer, ui = played
    eventually(
        lambda: answers(f"{infer}/readyz"), "infer is ready", tell=lambda: run("podman", "ps", "--all")
    )
    eventually(lambda: answers(f"{ui}/healthz"), "ui answers", tell=lambda: run("podman", "ps", "--all"))
    told = httpx.post(f"{infer}/predict", files=pair(), timeout=60.0).raise_for_status().json()
    assert told["model_used"] == "current"
    # The dashboard sees through the volume that this replica serves, and through the network what it says.
    assert httpx.get(f"{ui}/infer-status", timeout=30.0).raise_for_status().json()["current_model"] is True
    eventually(
        lambda: bool(httpx.get(f"{ui}/api/state", timeout=30.0).json()["replicas"]), "a heartbeat is seen"
    )
