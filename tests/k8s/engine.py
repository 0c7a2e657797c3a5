"""Container engines as they are on this machine, and a base image where none can be pulled."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.k8s.sets import ROOT

BASE = re.findall(r"(?m)^ARG BASE=(\S+)$", (ROOT / "Dockerfile").read_text())[0]
OWN_BASE = "localhost/serinus-test-base:bookworm"
NAMES = {name: f"docker.io/library/serinus-{name}:test" for name in ("serve", "train")}


def run(*command: str, timeout: float = 60.0, env: dict[str, str] | None = None) -> str:
    """What a command prints. Fails the test with all that it said when it fails."""
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=timeout, cwd=ROOT, env={**os.environ, **(env or {})}
    )
    assert done.returncode == 0, (
        f"{' '.join(command)}: {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    )
    return done.stdout


def podman() -> None:
    """Skips where there is no podman."""
    if shutil.which("podman") is None:
        pytest.skip("podman is not here: apt-get install podman")


_PLAIN = """
[containers]
default_ulimits = ["nofile=8192:8192", "nproc=8192:8192"]
[engine]
cgroup_manager = "cgroupfs"
runtime = "{runtime}"
"""
"""For podman in a container itself: it may not raise limits, and has no systemd."""


def able_to_run(image: str, scratch: Path) -> None:
    """Lets podman run containers, with a configuration of its own where the usual one does not; skips where
    none does."""
    told = ""
    for runtime in ("", "crun", "runc"):
        if runtime:
            path = scratch / f"{runtime}.conf"
            path.write_text(_PLAIN.format(runtime=runtime))
            os.environ["CONTAINERS_CONF"] = str(path)
        done = subprocess.run(
            ["podman", "run", "--rm", "--network=host", "--entrypoint=true", image],
            capture_output=True,
            text=True,
        )
        if done.returncode == 0:
            return
        told = done.stderr.strip()[-300:]
    pytest.skip(f"podman cannot run containers here: {told}")


def base(scratch: Path) -> str:
    """The Dockerfile's base where it can be pulled, else one of Debian's packages with as much in it."""
    pulled = subprocess.run(["podman", "pull", "-q", BASE], capture_output=True, text=True, timeout=300)
    if pulled.returncode == 0:
        return BASE
    if subprocess.run(["podman", "image", "exists", OWN_BASE]).returncode == 0:
        return OWN_BASE
    if shutil.which("debootstrap") is None or os.geteuid() != 0:
        pytest.skip("No base image can be pulled, and none made: apt-get install debootstrap, as root")
    root = scratch / "root"
    packages = "--include=python3,python3-venv,ca-certificates"
    run("debootstrap", "--variant=minbase", packages, "bookworm", str(root), timeout=1200)
    for left in ("var/cache/apt/archives", "var/lib/apt/lists"):
        shutil.rmtree(root / left, ignore_errors=True)
    with tarfile.open(scratch / "root.tar", "w") as archive:
        archive.add(root, arcname=".")
    run("podman", "import", "-q", str(scratch / "root.tar"), OWN_BASE, timeout=600)
    return OWN_BASE


def pips_own_ways() -> list[str]:
    """Flags that let pip in the build find what it finds here: its configuration, certificates, folders of wheels."""
    told = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True)
    flags = [
        flag
        for name, value in os.environ.items()
        if name.startswith("PIP_") and name != "PIP_ARGS"
        for flag in ("--env", f"{name}={value}")
    ]
    paths = {Path(each) for each in re.findall(r"(?:file://|(?<=['\s]))(/[^\s']+)", told.stdout)}
    paths |= {Path("/etc/pip.conf"), Path("/etc/xdg/pip")}
    return [*flags, *(f"--volume={path}:{path}:ro" for path in sorted(paths) if path.exists())]


@contextmanager
def container(image: str, *arguments: str, flags: tuple[str, ...] = ()) -> Iterator[str]:
    """A container as Kubernetes runs it: no root, a read-only root file system; removed at the end."""
    name = run(
        "podman", "run", "--detach", "--read-only", "--read-only-tmpfs=false", "--tmpfs=/tmp:mode=1777",
        "--cap-drop=all", "--security-opt=no-new-privileges", "--user=10001:10001", "--network=host",
        *flags, image, *arguments,
    ).strip()  # fmt: skip
    try:
        yield name
    finally:
        subprocess.run(["podman", "rm", "--force", "--time=5", name], capture_output=True, timeout=60)
