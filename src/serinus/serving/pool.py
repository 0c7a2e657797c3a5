"""The worker processes of one loaded version, and the bounded queue before them.

Each worker has a thread that starts it, feeds it, and starts it again when it dies. What a version cannot do
(load) is a state of its pool; what it fails on a request is that request's `VersionFailed`. Who dies of
requests is started again, later each time: one picture must not take a version away from everybody. Whether
that goes on for ever is up to who owns the pool (`deaths`, `give_up`).
"""

import logging
import threading
from collections.abc import Callable
from enum import StrEnum
from time import monotonic

import numpy as np
import numpy.typing as npt

from serinus.core.enums import FailureKind
from serinus.core.errors import Corrupt, Misconfigured, ModelFault, NotFound, Unavailable
from serinus.core.ids import Version
from serinus.engine.pace import Pace
from serinus.observe.logs import cause_of, fields
from serinus.serving.batching import Batching
from serinus.serving.restarts import LONGEST_PAUSE_SECONDS, Restarts
from serinus.serving.tasks import Outcome, Task, Tasks
from serinus.serving.worker_handle import DiedLoading, VersionFailed, WorkerProcess, WorkerSpec

log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.25
_SYSTEM_PAUSE_SECONDS = 1.0
_LEAVE_SECONDS = 2.0
_RESTARTING = "the workers are being restarted."


class PoolState(StrEnum):
    """Whether a version can be asked."""

    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"
    CLOSED = "closed"


class Pool:
    """One loaded version. Thread-safe.

    `prepare` checks the artifact's hashes and gives what the workers load; it runs in a worker's thread. It
    raises Corrupt, NotFound or ModelFault when the version cannot be used (a load failure); OSError,
    Unavailable or Misconfigured when it cannot be fetched just now (tried again). Making a pool raises
    Unavailable when there is no thread to be had.
    """

    def __init__(
        self,
        version: Version,
        prepare: Callable[[], WorkerSpec],
        *,
        workers: int,
        queue_size: int,
        start_limit: int,
        choose: Callable[[Pace], Batching] | None = None,
    ) -> None:
        """`choose`: whether requests share runs, given what the first worker measured; None: they do not."""
        self.version = version
        self._prepare = prepare
        self._start_limit = start_limit
        self._queue_size = queue_size
        self._choose = choose
        self._batching = Batching()
        self._tasks = Tasks(workers)
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._state = PoolState.LOADING
        self._failure = ""
        self._said = ("", "")
        self._load_seconds = 0.0
        self._patience = 0.0
        """How long a request may wait, seconds; known once the version is prepared."""
        self._restarts = Restarts()
        self._processes: set[WorkerProcess] = set()
        self._ready: set[WorkerProcess] = set()
        self._threads: list[threading.Thread] = []
        self._decided = threading.Event()
        """The first worker is ready, or there will be none."""
        try:
            self._begin(self._first)
            for _ in range(workers - 1):
                self._begin(self._later)
        except RuntimeError as error:  # "can't start new thread"
            self.close()
            raise Unavailable(f"This machine is short of threads: {error}.") from error

    @property
    def state(self) -> PoolState:
        return self._state

    @property
    def failure(self) -> str:
        """Why the state is FAILED, in words."""
        return self._failure

    @property
    def load_seconds(self) -> float:
        """How long the first worker took to load; 0 before it has."""
        return self._load_seconds

    @property
    def deaths(self) -> int:
        """Workers that died after they had loaded, in a row, without an answer between."""
        return self._restarts.deaths

    def give_up(self) -> None:
        """The version does not stay alive: a load failure, as if it had not loaded."""
        self._fail(
            f"its workers died {self.deaths} times in a row without an answer; {self._restarts.last_death}"
        )

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers that are alive."""
        with self._lock:
            return [worker.pid for worker in self._ready]

    @property
    def restarts(self) -> int:
        """How often a worker died."""
        return self._restarts.total

    @property
    def waiting(self) -> int:
        """Requests that wait for a worker."""
        return self._tasks.waiting

    @property
    def batching(self) -> Batching:
        """Whether requests share runs of the model, and why."""
        return self._batching

    @property
    def fullness(self) -> float:
        """The part of the queue that is taken, without rescues, or of the time that one may wait there: what
        who was taken last has waited."""
        own = self._tasks.own
        waited = 1.0 - self._tasks.spare / self._patience if own and self._patience else 0.0
        return max(own / self._queue_size, waited)

    @property
    def foreseen(self) -> float:
        """The part of the time that one may wait in the queue which who comes now will, as it goes now."""
        return self._tasks.expected_seconds / self._patience if self._patience else 0.0

    def submit(
        self, image: npt.NDArray[np.uint8], start_by: float, *, wait_for_worker: bool, rescue: bool = False
    ) -> Outcome:
        """Queues uint8 [1, H, W, C]; the future gives float32 [K, 6], unchecked, or VersionFailed.

        A worker must be free before `start_by` (monotonic seconds); from then on the model's own time counts.
        Nobody looks at that clock while all workers are being started: who waits cancels the future itself.
        `wait_for_worker`: wait also when all workers are being restarted. `rescue`: wait
        also in a full queue, since the request was admitted before and another version failed it; it takes no
        place from the version's own, so that a bad version does not make a good one refuse. Raises
        VersionFailed (`unavailable`) when the queue is full or nobody can take the request.
        """
        if self._state not in (PoolState.READY, PoolState.LOADING):
            raise VersionFailed(FailureKind.UNAVAILABLE, f"version {self.version} is not loaded.")
        if not wait_for_worker and not self._ready:
            raise VersionFailed(FailureKind.UNAVAILABLE, _RESTARTING)
        if not rescue and self._is_full():
            raise VersionFailed(FailureKind.UNAVAILABLE, "the queue is full.")
        task = Task(image, monotonic(), start_by, wait_for_worker, rescue, Outcome())
        self._tasks.put(task)
        # It may have ended, or lost its last worker, between the looks above and the put.
        if self._closing.is_set():
            self._refuse_all()
        elif not self._ready:
            self._sift()
        return task.answer

    def close(self) -> None:
        """Ends the workers and waits for their threads. What still waits in the queue is refused.

        A thread that fetches the version, from a store that may be far or hang, ends by itself later: who
        closes has other versions to look after.
        """
        with self._lock:
            if self._state is not PoolState.FAILED:
                self._state = PoolState.CLOSED
            self._closing.set()
            self._decided.set()
            processes, threads = list(self._processes), list(self._threads)
        for process in processes:
            process.kill()
        until = monotonic() + _LEAVE_SECONDS
        for thread in threads:
            thread.join(max(0.0, until - monotonic()))
        self._refuse_all()

    def _begin(self, work: Callable[[], None]) -> None:
        with self._lock:
            if self._closing.is_set():
                return
            thread = threading.Thread(
                target=self._guarded, args=[work], name=f"version-{self.version}", daemon=True
            )
            thread.start()
            self._threads.append(thread)

    def _guarded(self, work: Callable[[], None]) -> None:
        """A bug in a worker's thread must not leave a version that looks loaded and never answers."""
        try:
            work()
        except Exception as error:
            log.exception("The thread of a worker failed.", extra=fields(version=self.version))
            self._fail(f"internal error: {cause_of(error)}")

    def _first(self) -> None:
        """The first worker's thread: prepares, loads, then lets the other workers start."""
        spec, worker = None, None
        while worker is None and not self._closing.is_set():
            spec = spec or self._intact()
            if spec is not None and not self._closing.is_set():
                worker = self._start(spec._replace(measures=self._choose is not None))
        if spec is None or worker is None:
            return
        self._patience = spec.infer_seconds
        if self._choose is not None:
            self._batching = self._choose(worker.pace)
        with self._lock:
            if self._state is PoolState.LOADING:
                self._state = PoolState.READY
        log.info("A version is loaded.", extra=fields(version=self.version))
        self._decided.set()
        self._serve(worker)

    def _later(self) -> None:
        """The other workers' threads: they load what the first one could."""
        self._decided.wait()
        self._serve(None)

    def _serve(self, worker: WorkerProcess | None) -> None:
        """Feeds a worker, and the next one when it died, until the pool is closed."""
        while not self._closing.is_set():
            if worker is None and (spec := self._intact()) is not None and not self._closing.is_set():
                worker = self._start(spec)
            if worker is None:
                continue
            self._feed(worker)
            self._end(worker)
            if not self._closing.is_set():
                pause = self._restarts.died(worker.ended)
                log.warning(
                    "A worker died.",
                    extra=fields(version=self.version, deaths_in_a_row=self.deaths, cause=worker.ended),
                )
                self._closing.wait(pause)
            worker = None

    def _intact(self) -> WorkerSpec | None:
        """What a new worker loads, where that is what was published; else None, after a pause.

        Workers that run hold what they loaded and go on; with none the version has failed.
        """
        try:
            return self._prepare()
        except (Corrupt, NotFound, ModelFault) as error:
            if not self._ready:
                self._fail(str(error))
                return None
            self._say_once("A worker is not started again.", error)
            self._closing.wait(LONGEST_PAUSE_SECONDS)
        except (OSError, Unavailable, Misconfigured) as error:
            self._say_once("The version cannot be fetched or checked now; a worker waits.", error)
            self._closing.wait(_SYSTEM_PAUSE_SECONDS)
        return None

    def _start(self, spec: WorkerSpec) -> WorkerProcess | None:
        """A worker that is ready, or None after a pause.

        A first load that fails fails the version, unless the worker died of it: that may be the machine's
        doing (memory ran out), and is tried again, like the start of a worker in a dead one's place.
        """
        began = monotonic()
        try:
            worker = WorkerProcess(spec)
        except OSError as error:  # the machine is short of something: not the version's fault
            log.warning("A worker process cannot be started.", extra=self._fields(error))
            self._closing.wait(_SYSTEM_PAUSE_SECONDS)
            return None
        with self._lock:
            self._processes.add(worker)
            closing = self._closing.is_set()
        try:
            if closing:
                raise ModelFault("the version is no longer wanted.")
            worker.wait_ready()
        except ModelFault as error:
            self._end(worker)
            if not self._closing.is_set():
                pause = self._restarts.did_not_start()
                log.warning("A worker did not start.", extra=self._fields(error))
                hopeless = self._state is PoolState.LOADING and not isinstance(error, DiedLoading)
                if hopeless or self._restarts.failed_starts >= self._start_limit:
                    self._fail(error.message)
                else:
                    self._closing.wait(pause)
            return None
        self._restarts.started()
        with self._lock:
            self._load_seconds = self._load_seconds or monotonic() - began
            self._ready.add(worker)
        return worker

    def _end(self, worker: WorkerProcess) -> None:
        self._retire(worker)
        with self._lock:
            self._processes.discard(worker)
        worker.close()

    def _retire(self, worker: WorkerProcess) -> None:
        """Nobody is sent to the worker any more; without another one who need not wait is told so."""
        with self._lock:
            self._ready.discard(worker)
            alone = not self._ready
        if alone:
            self._sift()

    def _feed(self, worker: WorkerProcess) -> None:
        """Gives the worker one task or batch after the other until it is dead or the pool is closed."""
        task: Task | None = None
        while not self._closing.is_set() and worker.is_alive():
            task = task or self._tasks.take(_LOOK_SECONDS)
            if task is not None:
                batch, task = self._tasks.gather(task, self._batching)
                self._ask(worker, [each for each in batch if each.begin()])
                for each in batch:
                    self._tasks.done(each)
        if task is not None:
            self._tasks.done(task)
            self._put_back([task])

    def _ask(self, worker: WorkerProcess, batch: list[Task]) -> None:
        """One run for all. If it fails nobody knows who of them is to blame, and each has one alone."""
        if len(batch) > 1 and self._run(worker, batch):
            return
        for number, task in enumerate(batch):
            if not worker.is_alive():
                self._retire(worker)
                self._put_back([each.apart() for each in batch[number:]])
                return
            self._run(worker, [task])

    def _run(self, worker: WorkerProcess, batch: list[Task]) -> bool:
        """Whether all have their answer: that of one alone always, those of a batch only if it went well."""
        try:
            found = worker.infer(
                np.concatenate([task.image for task in batch]) if batch[1:] else batch[0].image
            )
        except VersionFailed as error:
            failure = error
        except Exception as error:
            # A bug of ours: who asked is told, and nobody knows what the worker will say next.
            log.exception("The thread of a worker failed.", extra=fields(version=self.version))
            worker.kill()
            failure = VersionFailed(FailureKind.UNAVAILABLE, f"internal error: {cause_of(error)}")
        else:
            self._restarts.answered()
            for task, rows in zip(batch, found, strict=True):
                task.answer.set_result(rows)
            return True
        # Out of the ready ones before the asker hears of it: who asks again must not land here.
        if not worker.is_alive():
            self._retire(worker)
        if batch[1:]:
            log.warning("A batch failed; its pairs are asked one by one.", extra=self._fields(failure))
            return False
        batch[0].answer.set_exception(failure)
        return True

    def _put_back(self, tasks: list[Task]) -> None:
        for task in tasks:
            self._tasks.put(task)
        if self._closing.is_set():
            self._refuse_all()
        elif not self._ready:
            self._sift()

    def _is_full(self) -> bool:
        if self._tasks.own < self._queue_size:
            return False
        self._sift()
        return self._tasks.own >= self._queue_size

    def _fail(self, words: str) -> None:
        """The version cannot be used: all workers stop, who waits is told."""
        with self._lock:
            if self._state is PoolState.CLOSED:
                return
            self._state, self._failure = PoolState.FAILED, words
            self._closing.set()
            self._decided.set()
            processes = list(self._processes)
        log.error("A version cannot be loaded.", extra=fields(version=self.version, cause=words))
        for process in processes:
            process.kill()
        self._refuse_all()

    def _refuse_all(self) -> None:
        self._tasks.sift(lambda _: False, f"version {self.version} is not loaded.")

    def _sift(self) -> None:
        """Drops what nobody waits for; while no worker is ready, refuses what need not wait for one.

        Who has waited for most of his time does so to its end: in one moment all that a version which hangs
        has kept waiting would come back, and whom they go to has other users.
        """
        late = monotonic() + self._patience / 2
        self._tasks.sift(
            lambda task: task.wait_for_worker or bool(self._ready) or task.start_by < late, _RESTARTING
        )
        if self._closing.is_set():
            self._refuse_all()

    def _say_once(self, words: str, error: Exception) -> None:
        """It is tried again every second, and says the same for as long."""
        if (words, str(error)) != self._said:
            self._said = (words, str(error))
            log.warning(words, extra=self._fields(error))

    def _fields(self, error: BaseException) -> dict[str, dict[str, object]]:
        return fields(version=self.version, cause=cause_of(error))
