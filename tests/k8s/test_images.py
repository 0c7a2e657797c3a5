"""The images, built and run by podman as Kubernetes runs them: no root, a read-only root, a pod's volumes."""

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from PIL import Image

from tests.k8s.engine import NAMES, able_to_run, base, container, pips_own_ways, podman, run
from tests.k8s.sets import ROOT
from tests.processes.installation import eventually, free_port

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]
MOST_ABOVE_BASE = 350e6


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Both images under NAMES, built by tools/images.sh; gives the name of their base."""
    podman()
    scratch = tmp_path_factory.mktemp("base")
    foundation = base(scratch)
    able_to_run(foundation, scratch)
    if os.environ.get("SERINUS_IMAGES_BUILT"):  # those of an earlier run, while the tests are worked on
        yield foundation
        return
    settings = {"ENGINE": "podman", "TAG": "test", "BASE": foundation}
    settings["BUILD_ARGS"] = " ".join(["--isolation=chroot", *pips_own_ways()])
    run("tools/images.sh", timeout=3000, env=settings)
    yield foundation


def _size(image: str) -> int:
    return int(run("podman", "image", "inspect", "--format={{.Size}}", image))


def pair() -> dict[str, bytes]:
    out = io.BytesIO()
    Image.new("RGB", (64, 64), (90, 110, 70)).save(out, "PNG")
    return {"pre_disaster": out.getvalue(), "post_disaster": out.getvalue()}


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2.0).status_code == 200
    except httpx.HTTPError:
        return False


def said(name: str) -> str:
    """What a container printed so far."""
    done = subprocess.run(["podman", "logs", name], capture_output=True, check=False, text=True, timeout=60)
    return done.stdout + done.stderr


def test_serve_is_small_enough_and_has_no_torch(images: str) -> None:
    above, train = (_size(NAMES[name]) - _size(images) for name in ("serve", "train"))
    sys.stdout.write(f"above the base: serve {above / 1e6:.0f} MB, train {train / 1e6:.0f} MB\n")
    assert above <= MOST_ABOVE_BASE
    parts = json.loads(
        run("podman", "run", "--rm", "--entrypoint=cat", NAMES["serve"], "/opt/serinus/sbom.cdx.json")
    )
    assert parts["bomFormat"] == "CycloneDX"
    names = {each["name"] for each in parts["components"]}
    assert {"onnxruntime", "fastapi", "numpy"} <= names
    assert not {"torch", "opencv-python-headless", "pip"} & names


@pytest.mark.parametrize("name", sorted(NAMES))
def test_images_tell_what_they_are_and_have_what_the_documents_run(images: str, name: str) -> None:
    labels = json.loads(run("podman", "image", "inspect", "--format={{json .Labels}}", NAMES[name]))
    for key in ("title", "description", "licenses", "version", "revision", "created", "base.name"):
        assert labels[f"org.opencontainers.image.{key}"], key
    user = run("podman", "image", "inspect", "--format={{.User}}", NAMES[name]).strip()
    assert user == "10001:10001"
    for tool in ("ls", "cat", "sh", "stat", "date", "python"):  # kubectl exec, probes, make job-train
        run("podman", "run", "--rm", "--entrypoint=sh", NAMES[name], "-c", f"command -v {tool}")


def _volumes(folder: Path, *names: str) -> tuple[str, ...]:
    """Flags that mount folders of `folder` at /names, to be written by any user."""
    for name in names:
        (folder / name).mkdir(exist_ok=True)
        (folder / name).chmod(0o777)
    return tuple(f"--volume={folder / name}:/{name}" for name in names)


def test_infer_answers_without_root_and_with_a_read_only_root(images: str, tmp_path: Path) -> None:
    port = free_port()
    flags = (f"--env=INFER_PORT={port}", "--env=INFER_WORKERS=1", *_volumes(tmp_path, "models", "output"))
    with container(NAMES["serve"], "infer", flags=flags) as name:
        url = f"http://127.0.0.1:{port}"
        eventually(lambda: answers(f"{url}/readyz"), "infer is ready", tell=lambda: said(name))
        told = httpx.post(f"{url}/predict", files=pair(), timeout=60.0).raise_for_status().json()
        assert told["model_used"] == "current"
        # The documented looks into a pod.
        listed = run("podman", "exec", name, "ls", "-la", "/models/")
        assert "journal" in listed
        assert "Using model: current" in said(name)


def test_the_controllers_probe_passes_and_the_views_are_there(images: str, tmp_path: Path) -> None:
    flags = (*_volumes(tmp_path, "models", "data"), "--env=SIGN_OF_LIFE=/tmp/alive")
    with container(NAMES["serve"], "controller", flags=flags) as name:

        def passes(*command: str) -> bool:
            return (
                subprocess.run(
                    ["podman", "exec", name, *command], capture_output=True, check=False
                ).returncode
                == 0
            )

        probe = "test $(($(date +%s) - $(stat -c %Y /tmp/alive))) -lt 180"
        eventually(lambda: passes("sh", "-c", probe), "the probe passes", tell=lambda: said(name))
        looks = ("cat", "/models/current/version.json")
        eventually(lambda: passes(*looks), "current is shown", tell=lambda: said(name))
        assert json.loads(run("podman", "exec", name, *looks))["version"] == 1


def test_ui_shows_its_pages(images: str, tmp_path: Path) -> None:
    port = free_port()
    flags = (*_volumes(tmp_path, "models", "data"), f"--env=UI_PORT={port}")
    with container(NAMES["serve"], "ui", flags=flags) as name:
        url = f"http://127.0.0.1:{port}"
        eventually(lambda: answers(f"{url}/healthz"), "ui answers", tell=lambda: said(name))
        assert "Serinus" in httpx.get(url, timeout=30.0).text


def test_the_runbooks_backup_and_restore_work_in_a_pod(images: str, tmp_path: Path) -> None:
    """Its blocks as they stand, with `podman exec` for `kubectl exec`, and without what needs a cluster."""
    text = (ROOT / "docs" / "runbook.md").read_text().partition("## Backup and restore")[2]
    backup, restore = (
        block for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL) if "exec" in block
    )
    flags = ("--entrypoint=sleep", *_volumes(tmp_path, "models", "data"))
    (tmp_path / "models" / "lost+found").mkdir(mode=0o700)
    with container(NAMES["serve"], "infinity", flags=flags) as name:
        stand_in = f"""
            set -eu
            make() {{ :; }}
            kubectl() {{
              [ "$1" = exec ] || return 0
              shift
              flag=--
              if [ "$1" = -i ]; then flag=-i; shift; fi
              shift 4
              case $flag in -i) podman exec -i {name} "$@" ;; *) podman exec {name} "$@" ;; esac
            }}
            cd "$1"
        """

        def walk(block: str) -> str:
            return run("bash", "-c", stand_in + block, "walk", str(tmp_path), timeout=300)

        first = (
            "from serinus.bootstrap.settings import load; "
            "from serinus.bootstrap.wiring import ensure_base, open_store, show_views; "
            "store = open_store(load()); ensure_base(store, load()); show_views(store)"
        )
        run("podman", "exec", name, "python", "-c", first)
        listed = run("podman", "exec", name, "serinus", "versions", "list", "--json")
        walk(backup)
        run("podman", "exec", name, "mv", "/data/backup", "/data/gone")
        assert "nothing is wrong" in walk(restore)
        assert run("podman", "exec", name, "serinus", "versions", "list", "--json") == listed
        assert "model.onnx" in run("podman", "exec", name, "ls", "/models/current/")


def test_train_trains(images: str, tmp_path: Path) -> None:
    """The demo data, trained on for an epoch; the result is published. What the dashboard's Jobs do."""
    mounts = _volumes(tmp_path, "models", "data")

    def serinus(image: str, *arguments: str) -> str:
        restricted = ("--read-only", "--tmpfs=/tmp:mode=1777", "--cap-drop=all", "--user=10001:10001")
        flags = (*restricted, "--network=none", *mounts)
        return run("podman", "run", "--rm", *flags, NAMES[image], *arguments, timeout=900)

    serinus("train", "data", "demo", "--pairs", "20")
    serinus("train", "train", "--data", "newest", "--epochs", "1", "--batch", "4")
    listed = json.loads(serinus("serve", "versions", "list", "--json"))
    assert sorted(each["version"] for each in listed) == [1, 2]
    broken = ("-c", "import serinus.bootstrap.broken_version, serinus.training.broken")
    run("podman", "run", "--rm", "--entrypoint=python", NAMES["train"], *broken)
