"""Starting what is measured: Serinus with a model, and peers in environments of their own."""

import importlib.metadata
import os
import socket
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

from serinus.bootstrap.edge import new_id, now
from serinus.rollout.events import RolloutStarted, Verified
from serinus.rollout.policy import Policy
from serinus.store import Store

PARTS = Path(__file__).parent
ROOT = PARTS.parent.parent
BASE = ROOT / "src/serinus/base"
BUILD = ROOT / "build/bench"
PEERS = {
    "granian": ["granian==2.8.9"],
    "litserve": ["litserve==0.2.19", "python-multipart"],
    "bentoml": ["bentoml==1.4.40"],
}
"""With what their environments hold; the other peers run in ours."""
SHARED = ["numpy", "onnxruntime", "opencv-python-headless"]
_START_SECONDS = 120


class Failed(Exception):
    """Something measured did not start or did not answer."""


def on(cores: list[int]) -> list[str]:
    """Puts a command on these cores."""
    return ["taskset", "-c", ",".join(map(str, cores))]


def environment(model: Path = BASE) -> dict[str, str]:
    """For what runs `pipeline.py`. `model`: a folder with model.onnx."""
    return os.environ | {
        "BENCH_MODEL": str(model / "model.onnx"),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(PARTS), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]),
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(
    command: list[str], port: int, cores: list[int], model: Path = BASE, **extra: str
) -> Iterator[psutil.Process]:
    """A server and its children on `cores`, from its first answer on. Raises Failed."""
    log = tempfile.TemporaryFile()  # noqa: SIM115
    process = subprocess.Popen(
        [*on(cores), *command],
        cwd=PARTS,
        env=environment(model) | extra,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    try:
        until = time.monotonic() + _START_SECONDS
        while True:
            try:
                httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=5).read()
                break
            except httpx.TransportError:
                if process.poll() is not None or time.monotonic() > until:
                    log.seek(0)
                    words = log.read().decode("utf-8", "replace")[-2000:]
                    raise Failed(f"{command[0]} does not start:\n{words}") from None
                time.sleep(0.1)
        yield psutil.Process(process.pid)
    finally:
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        process.terminate()
        _, alive = psutil.wait_procs(family, timeout=15)
        for each in alive:
            each.kill()
        log.close()


@contextmanager
def serinus(
    cores: list[int], *, canary: bool = False, model: Path = BASE, **extra: str
) -> Iterator[tuple[int, psutil.Process]]:
    """`serinus infer` with a model, and a copy of it as canary at half of the traffic. Raises Failed."""
    with tempfile.TemporaryDirectory() as folder:
        root, port = Path(folder) / "models", free_port()
        root.mkdir()
        store = Store.open(root, clock=now, new_id=new_id)
        store.publish(model, note="base", actor="bench", initial=True)
        if canary:
            second = store.publish(model, note="the same again", actor="bench")
            policy = Policy(window_seconds=3600)
            store.append(
                RolloutStarted(rollout=1, version=second, policy=policy), actor="bench", reason="bench"
            )
            store.append(Verified(rollout=1, share=0.5), actor="bench", reason="bench")
        command = [sys.executable, "-m", "serinus", "infer", "--model-dir", str(root)]
        command += ["--data-dir", str(Path(folder) / "data"), "--infer-port", str(port)]
        with running(command, port, cores, model, WORKERS=str(len(cores)), **extra) as process:
            until = time.monotonic() + _START_SECONDS
            while not _serves(port, canary):
                if time.monotonic() > until:
                    raise Failed("serinus infer does not get ready.")
                time.sleep(0.2)
            yield port, process


def _serves(port: int, canary: bool) -> bool:
    try:
        ready = httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=5)
        status = httpx.get(f"http://127.0.0.1:{port}/model-status", timeout=5)
    except httpx.TransportError:  # the machine is busy
        return False
    if ready.status_code != 200 or status.status_code != 200:
        return False
    return not canary or (status.json().get("canary") or {}).get("loaded", False)


@contextmanager
def peer(name: str, cores: list[int], *, model: Path = BASE) -> Iterator[tuple[int, psutil.Process]]:
    """A peer in its own environment. Raises Failed."""
    port, python = free_port(), environment_of(name)
    command = [str(python), f"{name}_app.py", str(port), str(len(cores))]
    if name == "bentoml":
        command = [str(python.parent / "bentoml"), "serve", "bentoml_app:Damage", "--port", str(port)]
        command += ["--host", "127.0.0.1"]
    extra = {"BENCH_THREADS": str(len(cores)), "BENTOML_DO_NOT_TRACK": "1"}
    with running(command, port, cores, model, **extra) as process:
        yield port, process


def environment_of(name: str) -> Path:
    """The interpreter of a peer's environment. Raises Failed."""
    if name not in PEERS:
        return Path(sys.executable)
    folder = BUILD / name
    python = folder / "bin/python"
    wanted = [*PEERS[name], *(f"{each}=={importlib.metadata.version(each)}" for each in SHARED)]
    ready = folder / ".ready"
    if not ready.exists() or ready.read_text() != "\n".join(wanted):
        venv.create(folder, with_pip=True, clear=True)
        install = [str(python), "-m", "pip", "install", "-q", *wanted]
        done = subprocess.run(install, check=False, capture_output=True, text=True)
        if done.returncode:
            raise Failed(f"{name} cannot be installed: {done.stderr[-500:]}")
        ready.write_text("\n".join(wanted))
    return python


def cpu_seconds(process: psutil.Process) -> float:
    """Of a process and all below it."""
    total = 0.0
    for each in [process, *process.children(recursive=True)]:
        times = each.cpu_times()
        total += times.user + times.system
    return total
