"""A real store with tiny real versions, and a predictor over real worker processes."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Self

import numpy as np
import psutil

from serinus.bootstrap.edge import coin, new_id, now
from serinus.core.ids import Version
from serinus.imagery.decode import encode_png
from serinus.observe.counters import Counters
from serinus.observe.metrics import Metrics
from serinus.rollout.events import Promoted, RolledBack, RolloutStarted, Verified
from serinus.rollout.policy import Policy
from serinus.serving.agent import Agent
from serinus.serving.predict import Predictor
from serinus.serving.recorder import Recorder
from serinus.serving.residency import Residency
from serinus.serving.settings import InferenceSettings
from serinus.serving.shadowing import Shadows
from serinus.store import Store
from serinus.store.local import Disk
from tests import models

WAIT_SECONDS = 40.0


def wait_for(condition: Callable[[], object], what: str, seconds: float = WAIT_SECONDS) -> None:
    """Waits until `condition` holds; fails the test when it does not within `seconds`."""
    until = monotonic() + seconds
    while not condition():
        assert monotonic() < until, f"waited in vain for {what}"
        sleep(0.02)


def open_store(root: Path, disk: Disk | None = None) -> Store:
    return Store.open(root, clock=now, new_id=new_id, disk=disk)


def publish(store: Store, draft: Path, *, initial: bool = False) -> Version:
    return store.publish(draft, note="", actor="test", initial=initial)


def start_canary(store: Store, version: Version, *, share: float = 0.5, policy: Policy | None = None) -> int:
    """Journals what the controller would: the version is the canary of a rollout."""
    rollout = store.state().rollouts + 1
    started = RolloutStarted(rollout=rollout, version=version, policy=policy or Policy(share=share))
    store.append(started, actor="test", reason="test")
    store.append(Verified(rollout=rollout, share=share), actor="test", reason="test")
    return rollout


def promote(store: Store, rollout: int, version: Version) -> None:
    body = Promoted(rollout=rollout, version=version, code="manual")  # type: ignore[arg-type]
    store.append(body, actor="test", reason="test")


def roll_back(store: Store, rollout: int, version: Version) -> None:
    body = RolledBack(rollout=rollout, version=version, code="errors")  # type: ignore[arg-type]
    store.append(body, actor="test", reason="test")


def pair(size: int = 64, seed: int = 0, *, height: int | None = None) -> tuple[bytes, bytes]:
    """A pre and a post picture as PNG."""
    rng = np.random.default_rng(seed)
    pre, post = rng.integers(0, 255, (2, height or size, size, 3), dtype=np.uint8)
    return encode_png(pre), encode_png(post)


class House:
    """A replica without HTTP. `coins` decides the arms in turn; None tosses a real coin."""

    def __init__(
        self,
        root: Path,
        *,
        coins: list[float] | None = None,
        disk: Disk | None = None,
        **settings: object,
    ) -> None:
        self.root = root
        self.store = open_store(root / "store", disk)
        defaults: dict[str, object] = {
            "poll_seconds": 0.02,
            "slice_seconds": 0.1,
            "heartbeat_seconds": 0.1,
            "predict_timeout_seconds": 5.0,
            "load_timeout_seconds": 30.0,
            "shadow_nice": 0,  # the tests' machine is busy, and here somebody waits
            "shadow_report_seconds": 0.1,
            "batch_wait_seconds": 0.0,  # the tests' models are so small that requests would share runs
        }
        self.settings = InferenceSettings(outputs=root / "outputs", **(defaults | settings))  # type: ignore[arg-type]
        self.metrics = Metrics()
        self.residency = Residency(self.store, self.settings, clock=now)
        self.counters = Counters(
            self.settings.slice_seconds, monotonic, deadline_seconds=self.settings.deadline_seconds
        )
        boot = new_id()[:8]
        self.recorder = Recorder(self.store, f"house-{boot}", most=10, pictures=False, clock=now)
        self.shadows = Shadows(self.store, self.residency, self.metrics, self.settings, clock=now)
        self.agent = Agent(
            self.store,
            self.residency,
            self.counters,
            self.metrics,
            self.settings,
            recorder=self.recorder,
            shadows=self.shadows,
            clock=now,
            boot=boot,
        )
        toss = itertools.cycle(coins).__next__ if coins else coin
        self.predictor = Predictor(self.residency, self.counters, self.metrics, self.settings, coin=toss)

    def __enter__(self) -> Self:
        self.agent.start()
        self.shadows.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shadows.close()
        self.agent.stop()
        self.predictor.close()
        self.residency.close()

    def healthy(self, seed: int, *, initial: bool = False) -> Version:
        draft = models.healthy(self.root / f"draft-{seed}", seed)
        return publish(self.store, draft, initial=initial)

    def serves(self, current: Version, canary: Version | None = None) -> bool:
        snapshot = self.residency.snapshot
        have = (
            snapshot.current.version if snapshot.current else None,
            snapshot.canary.version if snapshot.canary else None,
        )
        return have == (current, canary)

    def wait_serves(self, current: Version, canary: Version | None = None) -> None:
        wait_for(lambda: self.serves(current, canary), f"current {current} and canary {canary}")

    def pids(self, version: Version) -> list[int]:
        return self.residency.pids(self.store.state().versions[version].digest)

    def shadow_pids(self, version: int) -> list[int]:
        """Of the worker for shadow pairs."""
        return self.residency.shadow_pids(self.store.state().versions[Version(version)].digest)

    def loading(self) -> list[psutil.Process]:
        """Workers that were started and are not ready."""
        ready = {pid for digest in self.residency.loaded for pid in self.residency.pids(digest)}
        return [p for p in psutil.Process().children() if p.pid not in ready and _is_worker(p)]


def _is_worker(process: psutil.Process) -> bool:
    try:
        return "serinus.serving.worker_entry" in process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return False


@contextmanager
def house(
    root: Path, *, coins: list[float] | None = None, disk: Disk | None = None, **settings: object
) -> Iterator[House]:
    """A running replica whose current is version 1, a healthy one."""
    with House(root, coins=coins, disk=disk, **settings) as made:
        made.wait_serves(made.healthy(1, initial=True))
        yield made
