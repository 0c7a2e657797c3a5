"""What the child writes about itself: its progress while it works, its result as the last act."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from serinus.core.enums import JobState
from serinus.core.errors import SerinusError
from serinus.core.ids import Clock
from serinus.jobs.folder import Folder
from serinus.jobs.model import Output, Progress, Result


class JobReporter:
    """The child's end of a job folder. Progress is written at most every `every_seconds`."""

    def __init__(
        self,
        job: Path,
        *,
        clock: Clock,
        every_seconds: float = 0.25,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = Folder(job)
        self._clock = clock
        self._every = every_seconds
        self._monotonic = monotonic
        self._began = monotonic()
        self._written: float | None = None
        self._step = 0

    def progress(
        self,
        fraction: float,
        message: str,
        *,
        step: int = 0,
        steps: int = 0,
        metrics: Mapping[str, float] | None = None,
        eta_seconds: float | None = None,
    ) -> None:
        """Notes how far the job is, `fraction` in [0, 1]. `eta_seconds` None: reckoned from the pace."""
        self._step = max(self._step, step)  # what is completed stays so in phases that count no steps
        now = self._monotonic()
        if self._written is not None and now - self._written < self._every and fraction < 1.0:
            return
        self._written = now
        fraction = min(1.0, max(0.0, fraction))
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

    def cancel_requested(self) -> bool:
        """Whether somebody asked for the job to stop."""
        return self._folder.cancel_mark() is not None

    def succeed(self, output: Output) -> None:
        self._end(JobState.SUCCEEDED, output=output)

    def fail(self, error: BaseException) -> None:
        """Notes why the job failed; expected errors bring their own words."""
        self._end(
            JobState.FAILED,
            reason=str(error) if isinstance(error, SerinusError) else f"{type(error).__name__}: {error}",
        )

    def cancel(self) -> None:
        self._end(JobState.CANCELLED, reason="Cancelled; nothing half-done was kept.")

    def _end(self, state: JobState, *, reason: str = "", output: Output | None = None) -> None:
        self._folder.put_result(Result(state=state, time=self._clock(), reason=reason, output=output))
