"""What waits for a version's workers, and how requests that may share a run find each other."""

import heapq
import itertools
import math
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
_NEWS = 0.2
"""Weight of the newest interval in the mean of those between one that is taken and the next."""


class Outcome(Future[Rows]):
    """What will come of one request."""

    began: float | None = None
    """When a worker was at it, the last time, monotonic seconds; None: none was yet."""


class Task(NamedTuple):
    """One request of one version."""

    image: npt.NDArray[np.uint8]
    """[1, H, W, C]"""
    asked: float
    """When, monotonic seconds."""
    start_by: float
    """Monotonic seconds."""
    wait_for_worker: bool
    """Also while all workers are being restarted."""
    rescue: bool
    """Another version failed it before."""
    answer: Outcome
    alone: bool = False
    """A run that it shared failed: it has begun, waits once more, and shares no run any more."""

    def begin(self) -> bool:
        """Whether it is to be asked now; who waited too long is told so."""
        self.answer.began = monotonic()
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


_Entry: TypeAlias = tuple[float, int, Task]
"""When its turn is (monotonic seconds), a number that no other has, and what waits."""


class Tasks:
    """The queue before the workers of one version. Thread-safe.

    Who came first is taken first. What another version failed yields for its first second: it lets those pass
    who come meanwhile, and at most half as many are taken at once as there are workers. All that waited for a
    version that hangs may be given up at once, and would keep everybody waiting.
    """

    def __init__(self, workers: int) -> None:
        self._own, self._rescues = list[_Entry](), list[_Entry]()
        self._at_rescues, self._most_at_rescues = 0, max(1, workers // 2)
        self._numbers = itertools.count()
        self.spare = math.inf
        """Seconds that the one which was taken last might still have waited; below 0: it waited too long."""
        self._taken_at, self._pace, self._in_a_row = monotonic(), 0.0, False
        self._changed = threading.Condition()

    @property
    def waiting(self) -> int:
        return len(self._own) + len(self._rescues)

    @property
    def own(self) -> int:
        """How many of them no other version failed before."""
        return len(self._own)

    @property
    def expected_seconds(self) -> float:
        """How long who comes now will wait behind them, as fast as they are taken at present."""
        with self._changed:
            since = monotonic() - self._taken_at if self._in_a_row else 0.0
            return len(self._own) * self._pace + max(0.0, since - self._pace)

    def put(self, task: Task) -> None:
        entry = (task.asked + (_YIELDS_SECONDS if task.rescue else 0.0), next(self._numbers), task)
        with self._changed:
            heapq.heappush(self._rescues if task.rescue else self._own, entry)
            self._changed.notify()

    def take(self, timeout: float) -> Task | None:
        """The next one, within `timeout` seconds. Who takes it says when it is `done`."""
        with self._changed:
            if not self._changed.wait_for(self._next, timeout):
                return None
            _, _, task = heapq.heappop(self._next())
            self._at_rescues += task.rescue
            now = monotonic()
            if self._in_a_row:
                self._pace += _NEWS * (now - self._taken_at - self._pace)
            self._taken_at, self._in_a_row = now, self.waiting > 0
            self.spare = task.start_by - now
            return task

    def done(self, task: Task) -> None:
        """Who took it is free for another one."""
        with self._changed:
            self._at_rescues -= task.rescue
            self._changed.notify()

    def sift(self, stays: Callable[[Task], bool], words: str) -> None:
        """Drops what nobody waits for; refuses, with `words`, what does not stay."""
        refused = list[Task]()
        with self._changed:
            for entries in (self._own, self._rescues):
                kept = list[_Entry]()
                for entry in entries:
                    task = entry[2]
                    if task.answer.cancelled():
                        continue
                    if stays(task):
                        kept.append(entry)
                    else:
                        refused.append(task)
                entries[:] = kept
                heapq.heapify(entries)
            self._in_a_row &= self.waiting > 0
        for task in refused:
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

    def _next(self) -> list[_Entry]:
        """Where the next one is; empty: nowhere."""
        due = self._rescues[0][0] if self._rescues else math.inf
        if self._at_rescues >= self._most_at_rescues and due > monotonic():
            return self._own
        return self._own if self._own and self._own[0][0] <= due else self._rescues
