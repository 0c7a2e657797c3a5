"""The images, built and run by podman as Kubernetes runs them: no root, a read-only root, what a pod mounts."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from PIL import Image

from tests.k8s.engine import NAMES, base, container, pips_own_ways, podman, run
from tests.processes.installation import eventually, free_port

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]
MOST_ABOVE_BASE = 350e6


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Both images under NAMES, built by tools/images.sh; gives the name of their base."""
    podman()
    foundation = base(tmp_path_factory.mktemp("base"))
    settings = {"ENGINE": "podman", "TAG": "test", "BASE": foundation}
    settings["BUILD_ARGS"] = " ".join(["--isolation=chroot", *pips_own_ways()])
    run("tools/images.sh", timeout=3000, env=settings)
    yield foundation


def _size(image: str) -> int:
    return int(run("podman", "image", "inspect", "--format={{.Size}}", image))


def _pair() -> dict[str, bytes]:
    out = io.BytesIO()
    Image.new("RGB", (64, 64), (90, 110, 70)).save(out, "PNG")
    return {"pre_disaster": out.getvalue(), "post_disaster": out.getvalue()}


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2.0).status_code == 200
    except httpx.HTTPError:
        return False


def test_serve_is_small_enough_and_has_no_torch(images: str) -> None:
    above = _size(NAMES["serve"]) - _size(images)
    print(f"serve: {above / 1e6:.0f} MB above its base; train: {(_size(NAMES['train']) - _size(images)) / 1e6:.0f} MB")
    assert above <= MOST_ABOVE_BASE
    parts = json.loads(run("podman", "run", "--rm", "--entrypoint=cat", NAMES["serve"], "/opt/serinus/sbom.cdx.json"))
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


def test_infer_answers_without_root_and_with_a_read_only_root(images: str, tmp_path: Path) -> None:
    port = free_port()
    flags = (f"--env=INFER_PORT={port}", "--env=INFER_WORKERS=1", "--tmpfs=/models:mode=1777", "--tmpfs=/output:mode=1777")
    with container(NAMES["serve"], "infer", flags=flags) as name:
        url = f"http://127.0.0.1:{port}"
        eventually(lambda: _answers(f"{url}/readyz"), "infer is ready", tell=lambda: run("podman", "logs", name))
        told = httpx.post(f"{url}/predict", files=_pair(), timeout=60.0).raise_for_status().json()
        assert told["model_used"] == "current"
        # The documented looks into a pod.
        assert "current" in run("podman", "exec", name, "ls", "-la", "/models/")
        assert json.loads(run("podman", "exec", name, "cat", "/models/current/version.json"))["version"] == 1
        assert "Using model: current" in run("podman", "logs", name)


def test_controller_shows_that_it_lives_and_ui_shows_its_pages(images: str) -> None:
    port = free_port()
    shared = ("--tmpfs=/models:mode=1777", "--tmpfs=/data:mode=1777")
    alive = ("--env=SIGN_OF_LIFE=/tmp/alive",)
    with container(NAMES["serve"], "controller", flags=(*shared, *alive)) as name:
        probe = "test $(($(date +%s) - $(stat -c %Y /tmp/alive))) -lt 180"

        def lives() -> bool:
            try:
                run("podman", "exec", name, "sh", "-c", probe)
            except AssertionError:
                return False
            return True

        eventually(lives, "the controller's probe passes", tell=lambda: run("podman", "logs", name))
    with container(NAMES["serve"], "ui", flags=(*shared, f"--env=UI_PORT={port}")) as name:
        url = f"http://127.0.0.1:{port}"
        eventually(lambda: _answers(f"{url}/healthz"), "ui answers", tell=lambda: run("podman", "logs", name))
        assert "Serinus" in httpx.get(url, timeout=30.0).text


def test_train_trains(images: str, tmp_path: Path) -> None:
    """A synthetic data set, imported and trained on for an epoch; the result is published."""
    models, data = tmp_path / "models", tmp_path / "data"
    for folder in (models, data):
        folder.mkdir()
        folder.chmod(0o777)
    mounts = (f"--volume={models}:/models", f"--volume={data}:/data")

    def serinus(*arguments: str) -> str:
        flags = ("--read-only", "--tmpfs=/tmp:mode=1777", "--cap-drop=all", "--user=10001:10001", "--network=none")
        return run("podman", "run", "--rm", *flags, *mounts, NAMES["train"], *arguments, timeout=900)

    serinus("data", "synth", "--pairs", "12", "--size", "128", "--out", "/data/set.zip")
    serinus("data", "import", "/data/set.zip")
    serinus("train", "--data", "newest", "--epochs", "1", "--batch", "4")
    assert (models / "versions" / "000002").exists() or "2" in serinus("versions", "list")
