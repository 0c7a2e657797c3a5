"""One pair of pictures from bytes to checked detections.

decode -> stack -> lease a snapshot -> toss the coin -> fit -> ask the arm's version -> check -> original
pixels. What the canary fails is counted against it and answered by current; what a crash of current took is
asked once more. While current is not loaded its requests count against it, and the canary answers them.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from time import monotonic
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from serinus.core.enums import Arm, FailureKind, Stratum
from serinus.core.errors import InvalidInput, ModelFault, SerinusError, Unavailable
from serinus.core.ids import Coin, Version
from serinus.imagery.decode import Data
from serinus.observe.counters import Counters, Ticket
from serinus.observe.logs import cause_of, fields
from serinus.observe.metrics import Metrics
from serinus.serving.answers import answer_of
from serinus.serving.asking import Asking, LeftBehind
from serinus.serving.assignment import NOBODY, Caller, assign
from serinus.serving.pictures import Fits, Pictures, Stacked, decode_pair, fit_all, hold_pair, unfitted
from serinus.serving.pixels import Pixels
from serinus.serving.prediction import Prediction, Shadow, Timing
from serinus.serving.residency import Lease, Residency, Seat
from serinus.serving.settings import InferenceSettings
from serinus.serving.worker_handle import VersionFailed

log = logging.getLogger(__name__)

_T = TypeVar("_T")
_SHORT, _CROWDED, _BRIM = 1 / 8, 1 / 2, 7 / 8
"""Of a queue, or of the time that one may wait there."""
_TRANSIENT = frozenset({FailureKind.UNAVAILABLE, FailureKind.TIMEOUT, FailureKind.CRASH})


class Predictor:
    """The pipeline. One per process; `predict` may run many times at once on one event loop."""

    def __init__(
        self,
        residency: Residency,
        counters: Counters,
        metrics: Metrics,
        settings: InferenceSettings,
        *,
        coin: Coin,
    ) -> None:
        self._residency = residency
        self._counters = counters
        self._metrics = metrics
        self._settings = settings
        self._coin = coin
        self._asking = Asking(counters, metrics, settings.predict_timeout_seconds)
        self._pixels = Pixels(settings.max_pixels_held)
        self._threads = ThreadPoolExecutor(settings.decode_threads, thread_name_prefix="pictures")
        self._start_threads(settings.decode_threads)

    @property
    def pixels(self) -> Pixels:
        """The room for decoded pictures."""
        return self._pixels

    async def predict(
        self,
        pre: Data,
        post: Data,
        *,
        stratum: Stratum = Stratum.USERS,
        golden: bool = False,
        caller: Caller = NOBODY,
        keep_post: bool = False,
        shadowed: bool = False,
        version: Version | None = None,
    ) -> Prediction:
        """Detections of one pair. `caller`: who asks, where the policy cares; a probe is nobody's.
        `golden`: a probe whose pair shows buildings. `keep_post`: with the post picture, to draw on.
        `shadowed`: the other version may be asked later, where policy and coin say so; the pair is then part
        of the answer. `version`: the one that is asked, and no other in its place; such a request is no
        evidence, and NotFound says that it is not loaded.

        Raises InvalidInput or TooLarge for bad pictures (counted against nobody), Unavailable when nothing is
        loaded, memory or the queue is full or time ran out, ModelFault when current fails.
        """
        return await self._find(
            lambda: decode_pair(pre, post, self._pixels, max_pixels=self._settings.max_image_pixels),
            stratum=stratum,
            golden=golden,
            caller=caller,
            keep_post=keep_post,
            shadowed=shadowed,
            version=version,
        )

    async def infer(
        self,
        pair: npt.NDArray[np.uint8],
        *,
        version: Version | None = None,
        stratum: Stratum = Stratum.USERS,
        caller: Caller = NOBODY,
    ) -> Prediction:
        """Detections of a pair that is decoded already: uint8 [H, W, 6], as `stack6` makes it.

        `version`: the one that is asked, and no other in its place; such a request is no evidence. Raises
        NotFound when it is not loaded, and what `predict` raises.
        """
        return await self._find(
            lambda: hold_pair(pair, self._pixels), stratum=stratum, caller=caller, version=version
        )

    async def _find(
        self,
        load: Callable[[], Pictures | Stacked],
        *,
        stratum: Stratum,
        caller: Caller,
        golden: bool = False,
        keep_post: bool = False,
        shadowed: bool = False,
        version: Version | None = None,
    ) -> Prediction:
        """`load` gives the pictures; they are freed as soon as they are fitted."""
        started = monotonic()
        try:
            pictures, fits = await self.in_turn(self._loaded, load)
        except InvalidInput:
            self._metrics.refused.labels("bad_input").inc()
            raise
        except Unavailable:
            self._metrics.refused.labels("busy").inc()
            raise
        height, width = pictures.post.shape[:2]
        decoded = monotonic()
        with self._residency.lease(version) as lease:
            flooded = self._shed(lease)
            who = caller if stratum is Stratum.USERS else NOBODY
            assigned = assign(lease.snapshot, who, self._coin)
            if version is not None:
                assigned = assigned._replace(override=True)
            arm, rollout = assigned.arm, lease.snapshot.rollout
            ticket = (
                self._counters.arrive(rollout, arm, stratum, lease.snapshot.share, assigned.unit)
                if rollout is not None and not assigned.override and not flooded
                else None
            )
            try:
                # What waits for a model is small; the full pictures go now.
                late = unfitted(fits, (seat.contract for seat in lease.seats.values()))
                if late:
                    fits |= await self.in_thread(fit_all, pictures, late)
                kept = pictures.post if keep_post else None
                del pictures
                role, detections = await self._answer(lease, arm, fits, ticket, golden=golden)
                shadow = None
                if shadowed and stratum is Stratum.USERS and role is arm and not assigned.override:
                    shadow = self._shadow(lease, arm, fits)
            except LeftBehind:
                ticket = None  # settled when the worker is done
                raise
            finally:
                if ticket is not None:
                    self._counters.discard(ticket)
        if rollout is None and version is None and stratum is Stratum.USERS and role is Arm.CURRENT:
            seat = lease.seats[role]
            self._counters.past.note(
                seat.target.digest, answer_of(detections, seat.contract.classes, golden=False)
            )
        timing = Timing(decode=_ms(decoded - started), model=_ms(monotonic() - decoded))
        seat = lease.seats[role]
        log.info(
            "Using model: %s",
            role.value,
            extra=fields(
                version=seat.target.version,
                assigned=arm.value,
                fallback=role is not arm,
                stratum=stratum.value,
                found=len(detections),
                ms=timing.model,
            ),
        )
        return Prediction(
            detections=detections,
            post=kept,
            size=(width, height),
            contract=seat.contract,
            target=seat.target,
            role=role,
            assigned=arm,
            rollout=rollout,
            override=assigned.override,
            fallback=role is not arm,
            timing=timing,
            shadow=shadow,
        )

    def _loaded(self, load: Callable[[], Pictures | Stacked]) -> tuple[Pictures | Stacked, Fits]:
        """The pictures, fitted for those who serve now, which are nearly always those who are asked then."""
        pictures = load()
        return pictures, fit_all(pictures, (seat.contract for seat in self._residency.seats()))

    def _start_threads(self, count: int) -> None:
        """All of them now: when a request needs one there may be none to be had."""
        together = Barrier(count + 1)
        for _ in range(count):
            self._threads.submit(together.wait)
        together.wait()

    def _shed(self, lease: Lease) -> bool:
        """Before the coin: while both versions have many waiting, the service is overloaded, not one of them.

        Were they refused by their queues instead, the version whose queue happens to fill first would look
        worse than the other. Whether this request is no evidence: one queue is at its brim, where it wanders
        by chance in a long overload, and the other is not short. A version that alone is slow is still
        counted, by what waits in its queue and whenever the other's is short. Raises Unavailable.
        """
        if len(lease.seats) < len(Arm):
            return False
        pools = [seat.pool for seat in lease.seats.values()]
        less, more = sorted(pool.fullness for pool in pools)
        if lease.snapshot.judges_latency:
            more = max(more, *(pool.foreseen for pool in pools))
        if less > _CROWDED:
            self._metrics.refused.labels("busy").inc()
            raise Unavailable("The service is busy.", remedy="Try again soon.", retry_after=1.0)
        return less > _SHORT and more > _BRIM

    def _shadow(self, lease: Lease, answered: Arm, fits: Fits) -> Shadow | None:
        """What the other version is to be asked, when the coin says so and both are here."""
        shadowing, rollout = lease.snapshot.shadowing, lease.snapshot.rollout
        arm = Arm.CURRENT if answered is Arm.CANARY else Arm.CANARY
        if shadowing is None or rollout is None or arm not in lease.seats:
            return None
        if shadowing.share < 1.0 and self._coin() >= shadowing.share:
            return None
        seat = lease.seats[arm]
        if seat.contract.classes != lease.seats[answered].contract.classes:
            return None  # class ids of the one say nothing about those of the other
        fitted = fits[seat.contract.size, seat.contract.stride]
        return Shadow(arm, seat.target, seat.contract, fitted, rollout, shadowing)

    async def in_thread(self, work: Callable[..., _T], *arguments: object) -> _T:
        """Runs `work` in the threads for pictures."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)

    async def in_turn(self, work: Callable[..., _T], *arguments: object) -> _T:
        """`in_thread`, for what comes in first: raises Unavailable when its turn comes too late."""
        until = monotonic() + self._settings.predict_timeout_seconds

        def in_time() -> _T:
            if monotonic() > until:
                raise Unavailable(
                    "The request waited too long for its pictures to be read.",
                    remedy="Try again soon.",
                    retry_after=1.0,
                )
            return work(*arguments)

        return await self.in_thread(in_time)

    def close(self) -> None:
        """Ends the threads for pictures."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    async def _answer(
        self, lease: Lease, arm: Arm, fits: Fits, ticket: Ticket | None, *, golden: bool
    ) -> tuple[Arm, npt.NDArray[np.float32]]:
        """Who answered, and what. The first try decides what is counted; fall-back and retry are not."""
        seat = lease.seats.get(arm)
        if seat is None:
            return Arm.CANARY, await self._stand_in(lease, arm, fits, ticket)
        began = monotonic()
        try:
            asked = self._asking.ask(seat, arm, fits)
            detections = await self._asking.answer(asked, ticket)
        except VersionFailed as error:
            if ticket is not None:
                self._counters.fail(ticket, error.kind)
            self._metrics.failed(arm, seat.target.version, error.kind, monotonic() - began)
            _log_failure(arm, seat, error)
            rescued = arm is Arm.CANARY or error.kind is FailureKind.CRASH
            if not rescued or Arm.CURRENT not in lease.seats:
                raise _for_user(error) from error
            if arm is Arm.CANARY:
                self._metrics.fallbacks.inc()
        else:
            if ticket is not None:
                answer = answer_of(detections, seat.contract.classes, golden=golden)
                self._counters.succeed(ticket, answer, queued=asked.queued)
            self._metrics.ok(arm, seat.target.version, monotonic() - began)
            return arm, detections
        return Arm.CURRENT, await self._rescue(lease.seats[Arm.CURRENT], fits)

    async def _stand_in(
        self, lease: Lease, arm: Arm, fits: Fits, ticket: Ticket | None
    ) -> npt.NDArray[np.float32]:
        """The canary's answer while current, which the coin chose, is not loaded: counted against current.

        A canary whose share was taken away answers nobody.
        """
        if ticket is not None:
            self._counters.fail(ticket, FailureKind.UNAVAILABLE)
        canary = lease.seats.get(Arm.CANARY)
        if canary is None or arm is Arm.CANARY or lease.snapshot.share == 0:
            raise Unavailable(
                "No version is loaded yet.", remedy="Ask /readyz; try again soon.", retry_after=2.0
            )
        self._metrics.fallbacks.inc()
        try:
            return await self._asking.answer(self._asking.ask(canary, Arm.CANARY, fits, rescue=True))
        except VersionFailed as error:
            _log_failure(Arm.CANARY, canary, error)
            raise _for_user(error) from error

    async def _rescue(self, current: Seat, fits: Fits) -> npt.NDArray[np.float32]:
        """Current's answer to what the canary failed or a crash took; asked once, for the pair may kill."""
        try:
            return await self._asking.answer(self._asking.ask(current, Arm.CURRENT, fits, rescue=True))
        except VersionFailed as error:
            _log_failure(Arm.CURRENT, current, error)
            raise _for_user(error) from error


def _log_failure(arm: Arm, seat: Seat, error: VersionFailed) -> None:
    log.warning(
        "A version failed a request.",
        extra=fields(
            role=arm.value, version=seat.target.version, failure=error.kind.value, cause=cause_of(error)
        ),
    )


def _for_user(error: VersionFailed) -> SerinusError:
    if error.kind in _TRANSIENT:
        return Unavailable(f"No answer now: {error.message}", remedy="Try again soon.", retry_after=1.0)
    return ModelFault(f"The model failed on this pair: {error.message}")


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 2)
