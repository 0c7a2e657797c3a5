"""What waits for a version's workers, and how requests that may share a run find each other."""

import itertools
import math
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from time import monotonic
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from serinus.core.enums import FailureKind
from serinus.serving.batching import Batching
from serinus.serving.worker_handle import VersionFailed

Rows: TypeAlias = npt.NDArray[np.float32]
WAITED_TOO_LONG = "the request waited too long in the queue."
_YIELDS_SECONDS = 1.0


class Task(NamedTuple):
    """One request of one version."""

    image: npt.NDArray[np.uint8]
    """[1, H, W, C]"""
    start_by: float
    """Monotonic seconds."""
    wait_for_worker: bool
    """Also while all workers are being restarted."""
    rescue: bool
    """Another version failed it before."""
    answer: "Future[Rows]"
    alone: bool = False
    """A run that it shared failed: it has begun, waits once more, and shares no run any more."""

    def begin(self) -> bool:
        """Whether it is to be asked now; who waited too long is told so."""
        if self.alone:
            return True
        if not self.answer.set_running_or_notify_cancel():
            return False
        if monotonic() > self.start_by:
            self.answer.set_exception(VersionFailed(FailureKind.TIMEOUT, WAITED_TOO_LONG))
            return False
        return True

    def refuse(self, words: str) -> None:
        """It will not be asked."""
        if self.alone or self.answer.set_running_or_notify_cancel():
            self.answer.set_exception(VersionFailed(FailureKind.UNAVAILABLE, words))

    def apart(self) -> "Task":
        """The same after a run that it shared has failed."""
        return self._replace(alone=True)

    def suits(self, other: "Task") -> bool:
        """Whether the two may share a run."""
        return not (self.alone or other.alone) and self.image.shape == other.image.shape


class Tasks:
    """The queue before the workers of one version. Thread-safe.

    Who came first is taken first, but what another version failed lets those pass who come within a second:
    all that waited for a version that hangs is given up at once, and would keep everybody waiting.
    """

    def __init__(self) -> None:
        self._queue: queue.PriorityQueue[tuple[float, int, Task]] = queue.PriorityQueue()
        self._numbers = itertools.count()
        self._rescues = 0
        self.spare = math.inf
        """Seconds that the one which was taken last might still have waited; below 0: it waited too long."""
        self._lock = threading.Lock()

    @property
    def waiting(self) -> int:
        return self._queue.qsize()

    @property
    def own(self) -> int:
        """How many of them no other version failed before."""
        return self._queue.qsize() - self._rescues

    def put(self, task: Task) -> None:
        if task.rescue:
            with self._lock:
                self._rescues += 1
        due = task.start_by + (_YIELDS_SECONDS if task.rescue else 0.0)
        self._queue.put((due, next(self._numbers), task))

    def take(self, timeout: float) -> Task | None:
        """The next one, within `timeout` seconds."""
        try:
            _, _, task = self._queue.get(timeout=timeout) if timeout > 0 else self._queue.get_nowait()
        except queue.Empty:
            return None
        self.spare = task.start_by - monotonic()
        if task.rescue:
            with self._lock:
                self._rescues -= 1
        return task

    def sift(self, stays: Callable[[Task], bool], words: str) -> None:
        """Drops what nobody waits for; refuses, with `words`, what does not stay."""
        spare, taken = self.spare, list[Task]()
        while (task := self.take(0.0)) is not None:
            taken.append(task)
        self.spare = spare  # nobody was served
        for task in taken:
            if task.answer.cancelled():
                continue
            if stays(task):
                self.put(task)
            else:
                task.refuse(words)

    def gather(self, first: Task, batching: Batching) -> tuple[list[Task], Task | None]:
        """`first` with those that share its run, and one that was next and may not."""
        batch = [first]
        until = monotonic() + batching.wait_seconds
        while len(batch) < batching.size and not first.alone:
            task = self.take(max(0.0, until - monotonic()))
            if task is None:
                break
            if not first.suits(task):
                return batch, task
            batch.append(task)
        return batch, None
