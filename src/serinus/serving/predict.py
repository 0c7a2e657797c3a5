"""One pair of pictures from bytes to checked detections.

decode -> stack -> lease a snapshot -> toss the coin -> fit -> ask the arm's version -> check -> original
pixels. What the canary fails is counted against it and answered by current; what a crash of current took is
asked once more. While current is not loaded its requests count against it, and the canary answers them.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from time import monotonic
from typing import NamedTuple, TypeAlias, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from serinus.artifact.manifest import Contract
from serinus.core.enums import Arm, FailureKind, Stratum
from serinus.core.errors import InvalidInput, ModelFault, SerinusError, TooLarge, Unavailable
from serinus.core.ids import Coin
from serinus.engine import output
from serinus.imagery.decode import Data, decode, pixels_of
from serinus.imagery.stack import Fitted, check_pair, fit, to_original
from serinus.observe.counters import Counters, Ticket
from serinus.observe.logs import cause_of, fields
from serinus.observe.metrics import Metrics
from serinus.serving.assignment import NOBODY, Caller, assign
from serinus.serving.pixels import Pixels
from serinus.serving.pool import WAITED_TOO_LONG, Rows
from serinus.serving.residency import Lease, Residency, Seat
from serinus.serving.routing import Target
from serinus.serving.settings import InferenceSettings
from serinus.serving.worker_handle import VersionFailed

log = logging.getLogger(__name__)

_T = TypeVar("_T")
_Fits: TypeAlias = dict[tuple[int, int], Fitted]
"""The pair as networks want it, by the contract's size and stride."""
_TRANSIENT = frozenset({FailureKind.UNAVAILABLE, FailureKind.TIMEOUT, FailureKind.CRASH})


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """Where the time went, milliseconds."""

    decode: float
    model: float
    """From the assignment of an arm to a checked answer: queue, model and fall-back."""


class Prediction(NamedTuple):
    """A checked answer."""

    detections: npt.NDArray[np.float32]
    """[K, 6]: x1, y1, x2, y2 in original pixels, confidence (above the contract's threshold), class id."""
    post: npt.NDArray[np.uint8] | None
    """The post picture, RGB [H, W, 3], if it was to be kept."""
    size: tuple[int, int]
    """(width, height) of the pictures, in pixels."""
    contract: Contract
    target: Target
    """The version that answered."""
    role: Arm
    """Its role."""
    assigned: Arm
    rollout: int | None
    """The rollout in which it was assigned, if there was one."""
    override: bool
    """A tester asked for this arm; the request is no evidence."""
    fallback: bool
    """The assigned version could not, and the other one answered."""
    timing: Timing


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
        self._pixels = Pixels(settings.max_pixels_held)
        self._threads = ThreadPoolExecutor(settings.decode_threads, thread_name_prefix="pictures")

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
        caller: Caller = NOBODY,
        keep_post: bool = False,
    ) -> Prediction:
        """Detections of one pair. `caller`: who asks, where the policy cares; a probe is nobody's.
        `keep_post`: with the post picture, to draw on.

        Raises InvalidInput or TooLarge for bad pictures (counted against nobody), Unavailable when nothing is
        loaded, memory or the queue is full or time ran out, ModelFault when current fails.
        """
        started = monotonic()
        try:
            pictures = await self.in_thread(self._decode_pair, pre, post)
        except InvalidInput:
            self._metrics.refused.labels("bad_input").inc()
            raise
        except Unavailable:
            self._metrics.refused.labels("busy").inc()
            raise
        height, width = pictures.post.shape[:2]
        decoded = monotonic()
        with self._residency.lease() as lease:
            who = caller if stratum is Stratum.USERS else NOBODY
            assigned = assign(lease.snapshot, who, self._coin)
            arm, rollout = assigned.arm, lease.snapshot.rollout
            ticket = (
                self._counters.arrive(rollout, arm, stratum, lease.snapshot.share, assigned.unit)
                if rollout is not None and not assigned.override
                else None
            )
            try:
                # What waits for a model is small; the full pictures go now.
                fits = await self.in_thread(self._fit_all, pictures, lease)
                kept = pictures.post if keep_post else None
                del pictures
                role, detections = await self._answer(lease, arm, fits, ticket)
            finally:
                if ticket is not None:
                    self._counters.discard(ticket)
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
        )

    async def in_thread(self, work: Callable[..., _T], *arguments: object) -> _T:
        """Runs `work` in the threads for pictures."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)

    def close(self) -> None:
        """Ends the threads for pictures."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    async def _answer(
        self, lease: Lease, arm: Arm, fits: _Fits, ticket: Ticket | None
    ) -> tuple[Arm, npt.NDArray[np.float32]]:
        """Who answered, and what. The first try decides what is counted; fall-back and retry are not."""
        seat = lease.seats.get(arm)
        if seat is None:
            return Arm.CANARY, await self._stand_in(lease, arm, fits, ticket)
        asked = monotonic()
        try:
            detections = await self._ask(seat, arm, fits)
        except VersionFailed as error:
            if ticket is not None:
                self._counters.fail(ticket, error.kind)
            self._metrics.failed(arm, seat.target.version, error.kind, monotonic() - asked)
            _log_failure(arm, seat, error)
            rescued = arm is Arm.CANARY or error.kind is FailureKind.CRASH
            if not rescued or Arm.CURRENT not in lease.seats:
                raise _for_user(error) from error
            if arm is Arm.CANARY:
                self._metrics.fallbacks.inc()
        else:
            if ticket is not None:
                self._counters.succeed(ticket)
            self._metrics.ok(arm, seat.target.version, monotonic() - asked)
            return arm, detections
        return Arm.CURRENT, await self._rescue(lease.seats[Arm.CURRENT], fits)

    async def _stand_in(
        self, lease: Lease, arm: Arm, fits: _Fits, ticket: Ticket | None
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
            return await self._ask(canary, Arm.CANARY, fits, rescue=True)
        except VersionFailed as error:
            _log_failure(Arm.CANARY, canary, error)
            raise _for_user(error) from error

    async def _rescue(self, current: Seat, fits: _Fits) -> npt.NDArray[np.float32]:
        """Current's answer to what the canary failed or a crash took; asked once, for the pair may kill."""
        try:
            return await self._ask(current, Arm.CURRENT, fits, rescue=True)
        except VersionFailed as error:
            _log_failure(Arm.CURRENT, current, error)
            raise _for_user(error) from error

    async def _ask(
        self, seat: Seat, arm: Arm, fits: _Fits, *, rescue: bool = False
    ) -> npt.NDArray[np.float32]:
        """Checked detections [K, 6] in original pixels. Raises VersionFailed."""
        contract = seat.contract
        fitted = fits[contract.size, contract.stride]
        start_by = monotonic() + self._settings.predict_timeout_seconds
        future = seat.pool.submit(fitted.image, start_by, wait_for_worker=arm is Arm.CURRENT, rescue=rescue)
        found = await self._answered(future, start_by)
        _, height, width, _ = fitted.image.shape
        try:
            output.check(
                found,
                width=width,
                height=height,
                classes=len(contract.classes),
                max_detections=contract.max_detections,
            )
        except ModelFault as error:
            raise VersionFailed(FailureKind.INVALID_OUTPUT, error.message) from error
        shown = found[(found[:, 4] > 0) & (found[:, 4] >= contract.score_threshold)]
        return to_original(shown, fitted)

    async def _answered(self, future: "Future[Rows]", start_by: float) -> Rows:
        """Waits until `start_by` for a worker, then as long as a worker may take. Raises VersionFailed."""
        answer = asyncio.wrap_future(future)
        try:
            await asyncio.wait([answer], timeout=max(0.0, start_by - monotonic()))
            if not answer.done() and future.cancel():
                raise VersionFailed(FailureKind.TIMEOUT, WAITED_TOO_LONG)
            # The pool kills a worker that is late; a second more is for its thread to say so.
            return await asyncio.wait_for(answer, self._settings.predict_timeout_seconds + 1.0)
        except TimeoutError as error:
            raise VersionFailed(
                FailureKind.TIMEOUT, "no answer came back from the worker's thread."
            ) from error
        finally:
            answer.cancel()

    def _decode_pair(self, pre: Data, post: Data) -> "_Pictures":
        """Raises InvalidInput, TooLarge, Unavailable when there is no room for its pixels."""
        limit = self._settings.max_image_pixels
        sizes = _of_both(lambda data: pixels_of(data, max_pixels=limit), pre, post)
        self._pixels.take(sum(sizes))
        try:
            pictures = _Pictures(*_of_both(lambda data: decode(data, max_pixels=limit), pre, post))
            check_pair(*pictures)
        except BaseException:
            self._pixels.give_back(sum(sizes))
            raise
        for pixels, picture in zip(sizes, pictures, strict=True):
            self._pixels.tie(pixels, picture)
        return pictures

    def _fit_all(self, pictures: "_Pictures", lease: Lease) -> _Fits:
        """The pair for every version that may be asked."""
        wanted = {(seat.contract.size, seat.contract.stride) for seat in lease.seats.values()}
        return {key: fit(*pictures, size=key[0], stride=key[1]) for key in wanted}


class _Pictures(NamedTuple):
    """RGB uint8 [H, W, 3] each."""

    pre: npt.NDArray[np.uint8]
    post: npt.NDArray[np.uint8]


def _of_both(work: Callable[[Data], _T], pre: Data, post: Data) -> tuple[_T, _T]:
    """`work` on both pictures; its errors say on which."""

    def one(name: str, data: Data) -> _T:
        try:
            return work(data)
        except TooLarge as error:
            raise TooLarge(f"{name}: {error.message}", remedy=error.remedy) from error
        except InvalidInput as error:
            raise InvalidInput(f"{name}: {error.message}", remedy=error.remedy) from error

    return one("pre_disaster", pre), one("post_disaster", post)


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
