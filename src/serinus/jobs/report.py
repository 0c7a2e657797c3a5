"""What the child writes about itself: its progress while it works, its result as the last act."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from serinus.core.enums import JobState
from serinus.core.errors import SerinusError
from serinus.core.ids import Clock
from serinus.jobs.folder import Folder
from serinus.jobs.model import Output, Point, Progress, Result


class JobReporter:
    """The child's end of a job folder. Progress is written at most every `every_seconds`."""

    def __init__(
        self,
        job: Path,
        *,
        clock: Clock,
        every_seconds: float = 0.25,
        point_seconds: float = 2.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = Folder(job)
        self._clock = clock
        self._every = every_seconds
        self._point_every = point_seconds
        self._monotonic = monotonic
        self._began = monotonic()
        self._written: float | None = None
        self._point: tuple[float, int] | None = None
        """When the last point of the curves was noted, and its step."""
        self._step = 0

    def progress(
        self,
        fraction: float,
        message: str,
        *,
        step: int = 0,
        done: int | None = None,
        steps: int = 0,
        metrics: Mapping[str, float] | None = None,
        eta_seconds: float | None = None,
    ) -> None:
        """Notes how far the job is, `fraction` in [0, 1]. `eta_seconds` None: reckoned from the pace.

        `step`: the one at work, of `steps`; `done`: how many are completed, where that is not the same.
        """
        self._step = max(
            self._step, step if done is None else done
        )  # what is completed stays so in phases that count no steps
        now = self._monotonic()
        fraction = min(1.0, max(0.0, fraction))
        if metrics:
            self._note(now, step, fraction, metrics)
        if self._written is not None and now - self._written < self._every and fraction < 1.0:
            return
        self._written = now
        if eta_seconds is None and fraction > 0:
            eta_seconds = (now - self._began) * (1 - fraction) / fraction
        self._folder.put_progress(
            Progress(
                fraction=fraction,
                message=message,
                eta_seconds=eta_seconds,
                step=self._step,
                steps=steps,
                metrics=dict(metrics or {}),
            )
        )

    def _note(self, now: float, step: int, fraction: float, metrics: Mapping[str, float]) -> None:
        """A point of the curves: the first of each step, and others at most every `point_seconds`."""
        if self._point is not None:
            before, last_step = self._point
            if step == last_step and now - before < self._point_every:
                return
        self._point = (now, step)
        self._folder.add_point(Point(time=self._clock(), step=step, fraction=fraction, metrics=dict(metrics)))

    def cancel_requested(self) -> bool:
        """Whether somebody asked for the job to stop."""
        return self._folder.cancel_mark() is not None

    @property
    def folder(self) -> Path:
        """Where the job may put what people look at beside its record."""
        return self._folder.path

    def succeed(self, output: Output) -> None:
        self._end(JobState.SUCCEEDED, output=output)

    def fail(self, error: BaseException, output: Output | None = None) -> None:
        """Notes why the job failed; expected errors bring their own words. `output`: what it came to know."""
        self._end(
            JobState.FAILED,
            output=output,
            reason=str(error) if isinstance(error, SerinusError) else f"{type(error).__name__}: {error}",
        )

    def cancel(self, reason: str = "Cancelled; nothing half-done was kept.") -> None:
        self._end(JobState.CANCELLED, reason=reason)

    def _end(self, state: JobState, *, reason: str = "", output: Output | None = None) -> None:
        self._folder.put_result(Result(state=state, time=self._clock(), reason=reason, output=output))
