"""Shadow pairs: after a user has the answer, the other version is asked about the same picture.

Users never pay for it. The pictures wait in a short queue, and one thread asks a worker that answers nobody
else, at the lowest priority; while a user waits for a worker, or the queue is full, pictures are dropped, and
that is counted. What a version fails here is counted apart and is no evidence of errors or latency. The worst
disagreements go to the gallery, drawn and written by the same thread.
"""

import logging
import queue
import threading
from collections import defaultdict
from concurrent.futures import CancelledError, Future
from math import log as ln
from time import monotonic
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from serinus.core.enums import Arm, FailureKind, ShadowDrop
from serinus.core.errors import SerinusError
from serinus.core.ids import Clock
from serinus.evaluation.agreement import Agreement, agreement
from serinus.evidence import pairs
from serinus.evidence.counts import latency_bin
from serinus.evidence.pairs import MICRO, PairCounts
from serinus.imagery.decode import Data, decode
from serinus.imagery.overlay import preview
from serinus.observe.logs import cause_of, fields
from serinus.observe.metrics import Metrics
from serinus.serving.asking import checked
from serinus.serving.prediction import Prediction, Shadow
from serinus.serving.recorder import answered_of, recorded
from serinus.serving.residency import Residency
from serinus.serving.settings import InferenceSettings
from serinus.serving.tasks import Rows
from serinus.serving.worker_handle import VersionFailed
from serinus.store import Answered, Disagreement, GalleryFile, Store
from serinus.store.gallery import Limits, pair_sha256, rank_of

log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.2
_MOST_INPUT_BYTES = 16 << 20
"""Pictures of a disagreement beyond this are not kept."""
_MOST_UNWRITTEN = 8
"""Disagreements that wait for a store that is away; the worst ones."""


class _Job(NamedTuple):
    request_id: str
    prediction: Prediction
    shadow: Shadow
    pre: Data
    post: Data

    @property
    def size(self) -> int:
        """Bytes that it holds."""
        return len(self.pre) + len(self.post) + self.shadow.fitted.image.nbytes


class _Unwritten(NamedTuple):
    rank: str
    item: Disagreement
    files: dict[GalleryFile, bytes]


class _Gone(Exception):
    """The rollout or the process is over: nobody wants the pair any more."""


class Shadows:
    """The queue, its thread, and what was counted. `offer` and `take` may be called from any thread."""

    def __init__(
        self,
        store: Store,
        residency: Residency,
        metrics: Metrics,
        settings: InferenceSettings,
        *,
        clock: Clock,
        limits: Limits | None = None,
    ) -> None:
        self._store = store
        self._residency = residency
        self._metrics = metrics
        self._settings = settings
        self._clock = clock
        self._limits = limits or Limits()
        self._jobs: queue.Queue[_Job] = queue.Queue(settings.shadow_queue)
        self._lock = threading.Lock()
        self._bytes = 0
        self._counts: dict[int, PairCounts] = defaultdict(PairCounts)
        self._unwritten: list[_Unwritten] = []
        self.asking = False
        """Whether a version is being asked now."""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="shadows", daemon=True)

    def start(self) -> None:
        """Begins to ask."""
        self._thread.start()

    def close(self) -> None:
        """Drops what waits and gives up what runs; what was counted can still be taken."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        while (job := self._next(0.0)) is not None:
            self._drop(job.shadow, ShadowDrop.GONE)

    def offer(self, request_id: str, prediction: Prediction, pre: Data, post: Data) -> None:
        """The answer was sent. Never waits."""
        shadow = prediction.shadow
        if shadow is None:
            return
        if self._stopping.is_set():
            self._drop(shadow, ShadowDrop.GONE)
            return
        if self._residency.crowded:
            self._drop(shadow, ShadowDrop.LOAD)
            return
        # The decoded picture goes: the room for those belongs to users.
        job = _Job(request_id, prediction._replace(post=None), shadow, pre, post)
        with self._lock:
            fits = self._bytes + job.size <= self._settings.shadow_queue_bytes
            if fits:
                try:
                    self._jobs.put_nowait(job)
                    self._bytes += job.size
                except queue.Full:
                    fits = False
        if not fits:
            self._drop(shadow, ShadowDrop.FULL)

    def take(self) -> dict[int, PairCounts]:
        """What was counted since the last call, by rollout."""
        with self._lock:
            counts, self._counts = dict(self._counts), defaultdict(PairCounts)
        return counts

    def _run(self) -> None:
        while not self._stopping.is_set():
            job = self._next(_LOOK_SECONDS)
            try:
                if job is not None:
                    self._ask(job)
                self._write()
            except Exception:
                # A bug here must not end the thread: the next picture may be another one.
                log.exception("A shadow pair failed.")

    def _next(self, timeout: float) -> _Job | None:
        try:
            job = self._jobs.get(timeout=timeout) if timeout else self._jobs.get_nowait()
        except queue.Empty:
            return None
        with self._lock:
            self._bytes -= job.size
        return job

    def _ask(self, job: _Job) -> None:
        shadow = job.shadow
        if self._residency.crowded:
            self._drop(shadow, ShadowDrop.LOAD)
            return
        began = monotonic()
        try:
            found = self._found(shadow)
        except _Gone:
            self._drop(shadow, ShadowDrop.GONE)
        except VersionFailed as error:
            if error.kind is FailureKind.UNAVAILABLE:
                self._drop(shadow, ShadowDrop.UNREADY)
                return
            log.warning(
                "A version failed a shadow request; no user noticed.",
                extra=fields(
                    role=shadow.arm.value,
                    version=shadow.target.version,
                    failure=error.kind.value,
                    cause=cause_of(error),
                ),
            )
            self._metrics.pairs.labels("failed").inc()
            self._count(shadow.rollout, PairCounts(failed={shadow.arm: 1}))
        else:
            self._compare(job, found, monotonic() - began)

    def _found(self, shadow: Shadow) -> npt.NDArray[np.float32]:
        """What the other version says. Raises VersionFailed, _Gone."""
        with self._residency.lease() as lease:
            seat = lease.seats.get(shadow.arm)
            same = lease.snapshot.rollout == shadow.rollout and seat is not None
            if seat is None or not same or seat.target.digest != shadow.target.digest:
                raise _Gone
            pool = seat.shadow
        if pool is None:
            raise VersionFailed(FailureKind.UNAVAILABLE, "its worker is not started yet.")
        start_by = monotonic() + self._settings.predict_timeout_seconds
        self.asking = True
        try:
            return self._answer(pool.submit(shadow.fitted.image, start_by, wait_for_worker=False), shadow)
        finally:
            self.asking = False

    def _answer(self, future: "Future[Rows]", shadow: Shadow) -> npt.NDArray[np.float32]:
        while not self._stopping.is_set():
            try:
                return checked(future.result(_LOOK_SECONDS), shadow.contract, shadow.fitted)
            except TimeoutError:
                continue  # the pool ends a worker that is late
            except CancelledError:
                break
        future.cancel()
        raise _Gone

    def _compare(self, job: _Job, found: npt.NDArray[np.float32], seconds: float) -> None:
        shadow, prediction = job.shadow, job.prediction
        answered_seconds = prediction.timing.model / 1000
        mine = prediction.detections
        current, canary = (mine, found) if shadow.arm is Arm.CANARY else (found, mine)
        said = agreement(current, canary, len(shadow.contract.classes))
        counted = counts_of(said, shadow.arm, answered_seconds=answered_seconds, shadow_seconds=seconds)
        self._metrics.paired(said.f1, disagrees=counted.disagreed(shadow.shadowing.below) > 0)
        self._count(shadow.rollout, counted)
        if said.f1 == 1.0:
            return
        disputed = said.boxes_a + said.boxes_b - 2 * said.agreed
        rank = rank_of(said.f1, disputed)
        pair = pair_sha256(bytes(job.pre), bytes(job.post))
        if not self._wanted(shadow.rollout, rank, pair):
            return
        answered = answered_of(job.request_id, prediction, self._clock())
        item = Disagreement(
            rollout=shadow.rollout,
            answered=answered,
            shadow=recorded(_of_other(answered, shadow, self._clock()), found),
            f1=said.f1,
            matched=said.matched,
            agreed=said.agreed,
            confusion=counted.confusion,
            score_shift=said.score_shift,
            answered_seconds=answered_seconds,
            shadow_seconds=seconds,
            pair_sha256=pair,
        )
        self._unwritten.append(_Unwritten(rank, item, self._files(job, current, canary)))
        worst: dict[tuple[int, str], _Unwritten] = {}
        for one in sorted(self._unwritten, key=lambda one: one.rank):
            worst.setdefault((one.item.rollout, one.item.pair_sha256), one)
        self._unwritten = list(worst.values())[:_MOST_UNWRITTEN]

    def _files(
        self, job: _Job, current: npt.NDArray[np.float32], canary: npt.NDArray[np.float32]
    ) -> dict[GalleryFile, bytes]:
        post = decode(job.post, max_pixels=self._settings.max_image_pixels)
        classes = job.shadow.contract.classes
        files = {
            GalleryFile.CURRENT: preview(post, current, classes),
            GalleryFile.CANARY: preview(post, canary, classes),
        }
        if job.shadow.shadowing.keep_inputs and len(job.pre) + len(job.post) <= _MOST_INPUT_BYTES:
            files |= {GalleryFile.PRE: bytes(job.pre), GalleryFile.POST: bytes(job.post)}
        return files

    def _wanted(self, rollout: int, rank: str, pair: str) -> bool:
        try:
            return self._store.gallery.wants(rollout, rank, pair, self._limits)
        except (OSError, SerinusError):
            return True  # the store is away: it will tell when it is back

    def _write(self) -> None:
        while self._unwritten:
            worst = self._unwritten[0]
            try:
                self._store.gallery.put(worst.item, worst.files, self._limits)
            except (OSError, SerinusError) as error:
                log.debug("A disagreement waits for the store.", extra=fields(cause=cause_of(error)))
                return
            self._unwritten.pop(0)

    def _drop(self, shadow: Shadow, why: ShadowDrop) -> None:
        self._metrics.dropped.labels(why.value).inc()
        self._count(shadow.rollout, PairCounts(dropped={why: 1}))

    def _count(self, rollout: int, counts: PairCounts) -> None:
        with self._lock:
            self._counts[rollout] = pairs.add([self._counts[rollout], counts])


def counts_of(said: Agreement, shadow: Arm, *, answered_seconds: float, shadow_seconds: float) -> PairCounts:
    """One pair, counted. `said`: A is current, B the canary; `shadow`: who was asked after the answer."""
    answered = Arm.CURRENT if shadow is Arm.CANARY else Arm.CANARY
    ratio = ln(max(shadow_seconds, 1e-6) / max(answered_seconds, 1e-6))
    slower = round((ratio if shadow is Arm.CANARY else -ratio) * MICRO)
    none = len(said.confusion) - 1
    confusion: dict[int, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for row, line in enumerate(said.confusion):
        for column, boxes in enumerate(line):
            if boxes:
                confusion[_class(row, none)][_class(column, none)] += boxes
    return pairs.add(
        [
            PairCounts(
                f1={pairs.band(said.f1): 1},
                boxes_current=said.boxes_a,
                boxes_canary=said.boxes_b,
                matched=said.matched,
                agreed=said.agreed,
                confusion=confusion,
                score_shift=round(said.score_shift * said.matched * MICRO),
                answered={answered: {latency_bin(answered_seconds): 1}},
                shadowed={shadow: {latency_bin(shadow_seconds): 1}},
                slower={answered: slower},
            )
        ]
    )


def _class(label: int, none: int) -> int:
    return pairs.NONE if label == none else min(label, pairs.MOST_CLASSES - 1)


def _of_other(answered: Answered, shadow: Shadow, now: float) -> Answered:
    """The record of the version that was asked afterwards, without its detections."""
    return Answered(
        request_id=answered.request_id,
        time=now,
        version=shadow.target.version,
        digest=shadow.target.digest,
        role=shadow.arm,
        rollout=shadow.rollout,
        width=answered.width,
        height=answered.height,
    )
