"""One version is asked for one pair: queue, worker, deadline, and a client who leaves meanwhile."""

import asyncio
from concurrent.futures import Future
from functools import partial
from time import monotonic
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from serinus.artifact.manifest import Contract
from serinus.core.enums import Arm, FailureKind
from serinus.core.errors import ModelFault
from serinus.engine import output
from serinus.imagery.stack import Fitted, to_original
from serinus.observe.counters import Counters, Ticket
from serinus.observe.metrics import Metrics
from serinus.serving.answers import answer_of
from serinus.serving.pictures import Fits
from serinus.serving.residency import Seat
from serinus.serving.tasks import WAITED_TOO_LONG, Outcome, Rows
from serinus.serving.worker_handle import VersionFailed


class LeftBehind(asyncio.CancelledError):
    """The client left while a worker was at its request; who counts the outcome is the worker's thread."""


class Asked(NamedTuple):
    """What a version was asked."""

    arm: Arm
    seat: Seat
    fitted: Fitted
    at: float
    """When, monotonic seconds."""
    outcome: Outcome

    @property
    def queued(self) -> float:
        """Seconds until a worker was at it, which are not its version's doing (ADR 50). 0 where requests
        share runs: how many do, and so how long a run takes, depends on the load like the wait before it.
        """
        if self.outcome.began is None or self.seat.pool.batching.on:
            return 0.0
        return self.outcome.began - self.at

    def found(self, rows: Rows) -> npt.NDArray[np.float32]:
        """What is shown of the answer: [K, 6] in original pixels. Raises VersionFailed."""
        return checked(rows, self.seat.contract, self.fitted)


class Asking:
    """Asks versions. `timeout_seconds`: how long one may take over a pair, and as long it may wait before."""

    def __init__(self, counters: Counters, metrics: Metrics, timeout_seconds: float) -> None:
        self._counters = counters
        self._metrics = metrics
        self._timeout = timeout_seconds

    def ask(self, seat: Seat, arm: Arm, fits: Fits, *, rescue: bool = False) -> Asked:
        """Puts a pair into the queue of a version. Raises VersionFailed."""
        fitted = fits[seat.contract.size, seat.contract.stride]
        now = monotonic()
        outcome = seat.pool.submit(
            fitted.image, now + self._timeout, wait_for_worker=arm is Arm.CURRENT, rescue=rescue
        )
        return Asked(arm, seat, fitted, now, outcome)

    async def answer(self, asked: Asked, ticket: Ticket | None = None) -> npt.NDArray[np.float32]:
        """Checked detections [K, 6] in original pixels. Raises VersionFailed.

        When the client leaves meanwhile, what waits is given up. What a worker has begun is no longer worth
        stopping, and its outcome counts: else a version that is so slow that people leave had no failures.
        """
        try:
            rows = await self._rows(asked)
        except asyncio.CancelledError as left:
            if ticket is None or asked.outcome.cancel():
                raise
            asked.outcome.add_done_callback(partial(self._settle, ticket, asked))
            raise LeftBehind from left
        return asked.found(rows)

    def _settle(self, ticket: Ticket, asked: Asked, outcome: "Future[Rows]") -> None:
        """Counts what came of a request whose client has left; mostly in a worker's thread."""
        version = asked.seat.target.version
        try:
            found = asked.found(outcome.result())
        except VersionFailed as error:
            self._counters.fail(ticket, error.kind)
            self._metrics.failed(asked.arm, version, error.kind, monotonic() - asked.at)
        else:
            # Nobody who leaves knows the truth of his pair.
            answer = answer_of(found, asked.seat.contract.classes, golden=False)
            self._counters.succeed(ticket, answer, queued=asked.queued)
            self._metrics.ok(asked.arm, version, monotonic() - asked.at)

    async def _rows(self, asked: Asked) -> Rows:
        """Waits as long as the queue may take for a worker, then as long as a worker may take."""
        answer = asyncio.wrap_future(asked.outcome)
        try:
            await asyncio.wait([answer], timeout=max(0.0, asked.at + self._timeout - monotonic()))
            if not answer.done() and asked.outcome.cancel():
                raise VersionFailed(FailureKind.TIMEOUT, WAITED_TOO_LONG)
            # The pool kills a worker that is late; a second more is for its thread to say so.
            return await asyncio.wait_for(answer, self._timeout + 1.0)
        except TimeoutError as error:
            raise VersionFailed(
                FailureKind.TIMEOUT, "no answer came back from the worker's thread."
            ) from error
        finally:
            answer.cancel()


def checked(found: Rows, contract: Contract, fitted: Fitted) -> npt.NDArray[np.float32]:
    """What is shown of a version's answer: [K, 6] in original pixels. Raises VersionFailed."""
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
