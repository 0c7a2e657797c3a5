"""A whole Serinus on this machine for tests: `serinus up` in a folder, on free ports, windows of seconds."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import psutil

from serinus.bootstrap import edge
from serinus.bootstrap.settings import Settings, load
from serinus.core.enums import RolloutPhase
from serinus.core.ids import Version
from serinus.rollout.state import Rollout, State
from serinus.store import Address, Store
from tests import models

PATIENCE = 90.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(
    done: Callable[[], Any], what: str, patience: float = PATIENCE, tell: Callable[[], str] = str
) -> None:
    """Wait for a condition; a busy machine only makes it later."""
    until = time.monotonic() + patience
    while not done():
        assert time.monotonic() < until, f"{what}: not within {patience:g} s. {tell()}"
        time.sleep(0.05)


def pair(seed: int, height: int = 64, width: int = 64) -> tuple[bytes, bytes]:
    """PNG bytes of one picture pair with bright squares."""
    image = models.golden_images(64, 1, seed)[0][:height, :width]
    return tuple(  # type: ignore[return-value]
        cv2.imencode(".png", np.ascontiguousarray(half[..., ::-1]))[1].tobytes()
        for half in (image[..., :3], image[..., 3:])
    )


@dataclass
class Installation:
    """One folder, one process tree."""

    root: Path
    settings: dict[str, str] = field(default_factory=dict)
    infer_port: int = field(default_factory=free_port)
    ui_port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    bucket: Address | None = None
    """Where the store lies, unless in the folder; who looks at it from here has copies of its own."""

    def __post_init__(self) -> None:
        self.base = self.root / "base"
        if not self.base.exists():
            models.healthy(self.base, seed=0)
        folder = self.root / ("models" if self.bucket is None else "observer")
        self.store = Store.open(folder, clock=edge.now, new_id=edge.new_id, bucket=self.bucket)

    @property
    def env(self) -> dict[str, str]:
        return {
            **os.environ,
            "MODEL_DIR": str(self.root / "models"),
            "DATA_DIR": str(self.root / "data"),
            "INFER_PORT": str(self.infer_port),
            "UI_PORT": str(self.ui_port),
            "BASE_WEIGHTS": str(self.base),
            "INFER_WORKERS": "1",
            "WINDOW_SECONDS": "4",
            "TICK_SECONDS": "0.2",
            "POLL_SECONDS": "0.1",
            "SLICE_SECONDS": "0.2",
            "LATENCY_FLOOR_SECONDS": "0.05",  # two busy cores and a version's single worker: no comparison
            "OMP_NUM_THREADS": "1",
            **({} if self.bucket is None else {"STORE_URL": self.bucket.url}),
            **self.settings,
        }

    def documented(self, keep: tuple[str, ...] = ()) -> None:
        """From now on the defaults that the documents name, and the packaged base model."""
        defaults = {"WINDOW_SECONDS": "180", "TICK_SECONDS": "1", "POLL_SECONDS": "0.5", "SLICE_SECONDS": "1"}
        shortened = {name: value for name, value in self.settings.items() if name in keep}
        self.settings = {**self.settings, **defaults, "BASE_WEIGHTS": "", **shortened}

    def as_settings(self) -> Settings:
        return load(model_dir=self.root / "models", data_dir=self.root / "data")

    @property
    def infer(self) -> str:
        return f"http://127.0.0.1:{self.infer_port}"

    @property
    def ui(self) -> str:
        return f"http://127.0.0.1:{self.ui_port}"

    def launch(self) -> None:
        log = (self.root / "up.log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "serinus", "up"],
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        log.close()

    def up(self) -> None:
        """Start it and wait until both services answer."""
        self.launch()
        eventually(self.ready, "serinus up is ready", tell=self.log)

    def ready(self) -> bool:
        try:
            return (
                httpx.get(f"{self.infer}/readyz", timeout=5).status_code == 200
                and httpx.get(f"{self.ui}/healthz", timeout=5).status_code == 200
            )
        except httpx.HTTPError:
            return False

    def down(self) -> None:
        """SIGTERM, and it ends in peace; whatever is left of its tree then is killed, and told."""
        if self.process is None:
            return
        tree = self.tree()
        self.process.terminate()
        try:
            code = self.process.wait(PATIENCE)
        finally:
            left = [process for process in tree if _lives(process)]
            for process in left:
                process.kill()
            self.process = None
        assert code == 0, self.log()
        assert not left, f"orphans: {left}"

    def log(self) -> str:
        return (self.root / "up.log").read_text(errors="replace")[-6000:]

    def tree(self) -> list[psutil.Process]:
        """All processes below `serinus up`, itself not counted."""
        if self.process is None:
            return []
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def process_of(self, name: str) -> psutil.Process | None:
        """`infer`, `ui`, `controller`, a `worker` of infer, or `up` itself."""
        if name == "up":
            return psutil.Process(self.process.pid) if self.process else None
        for process in self.tree():
            try:
                words = process.cmdline()
            except psutil.Error:
                continue
            if name in words[1:5] or (name == "worker" and any("worker" in word for word in words)):
                return process
        return None

    def kill(self, name: str) -> bool:
        """kill -9; False when there is no such process at this moment."""
        found = self.process_of(name)
        if found is None:
            return False
        os.kill(found.pid, signal.SIGKILL)
        if name == "up" and self.process is not None:
            self.process.wait()
            self.process = None
        return True

    def publish(self, draft: Path, note: str = "") -> Version:
        return self.store.publish(draft, note=note, actor="test")

    def upload(self, archive: Path) -> None:
        with archive.open("rb") as file:
            reply = httpx.post(f"{self.ui}/upload-dataset", files={"file": (archive.name, file)}, timeout=60)
        assert reply.status_code == 200, reply.text

    def start_training(self, epochs: int, batch: int) -> None:
        reply = httpx.post(f"{self.ui}/trigger-train", data={"epochs": epochs, "batch": batch}, timeout=60)
        assert reply.status_code == 202, reply.text

    def wait_version(self, number: int) -> Version:
        eventually(lambda: number in self.state().versions, f"version {number} exists", 900, self._tell)
        return Version(number)

    def steer(self, action: str) -> httpx.Response:
        return httpx.post(f"{self.ui}/api/rollout/{action}", json={"reason": "test"}, timeout=60)

    def state(self) -> State:
        return self.store.state()

    def ended(self, version: Version) -> Rollout | None:
        """The rollout of `version`, once it has ended and nothing else is active."""
        state = self.state()
        last = state.last
        return last if state.rollout is None and last is not None and last.version == version else None

    def wait_ended(self, version: Version, patience: float = PATIENCE) -> Rollout:
        eventually(lambda: self.ended(version), f"the rollout of {version} ends", patience, self._tell)
        found = self.ended(version)
        assert found is not None
        return found

    def wait_phase(self, phase: RolloutPhase) -> None:
        eventually(
            lambda: (active := self.state().rollout) is not None and active.phase is phase,
            f"a rollout is {phase}",
            tell=self._tell,
        )

    def _tell(self) -> str:
        return f"{self.state().rollout}\n{self.log()}"

    def status(self) -> dict[str, Any]:
        return dict(httpx.get(f"{self.infer}/model-status", timeout=30).json())

    def predict(self, pictures: tuple[bytes, bytes]) -> httpx.Response:
        return httpx.post(
            f"{self.infer}/predict",
            params={"overlay": "none"},
            files={"pre_disaster": pictures[0], "post_disaster": pictures[1]},
            timeout=60,
        )


@contextmanager
def traffic(
    place: Installation, pictures: list[tuple[bytes, bytes]], users: int = 8, pause: float = 0.02
) -> Iterator[list[dict[str, Any]]]:
    """`users` threads sending pairs, each `pause` seconds after an answer; gives replies (or failures)."""
    seen: list[dict[str, Any]] = []
    stop = threading.Event()

    def user(number: int) -> None:
        with httpx.Client(timeout=60) as client:
            turn = number
            while not stop.is_set():
                before, after = pictures[turn % len(pictures)]
                turn += users
                try:
                    reply = client.post(
                        f"{place.infer}/predict",
                        params={"overlay": "none"},
                        files={"pre_disaster": before, "post_disaster": after},
                    )
                    seen.append(
                        {
                            "status": reply.status_code,
                            **(reply.json() if reply.status_code == 200 else {"text": reply.text}),
                        }
                    )
                except httpx.HTTPError as error:
                    seen.append({"status": 0, "text": f"{type(error).__name__}: {error}"})
                stop.wait(pause)

    threads = [threading.Thread(target=user, args=(number,)) for number in range(users)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def failures(seen: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [reply for reply in seen if reply["status"] != 200]


def _lives(process: psutil.Process) -> bool:
    """Not one that ended and waits for whoever inherited it to take note."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
