"""What the files of a job's folder say, taken together: its state, why, and the record that people see."""

import signal
from typing import NamedTuple

from serinus.core.enums import JobKind, JobState
from serinus.jobs.folder import CancelMark, Created, Folder, Launched, Remote
from serinus.jobs.model import JobRecord, Progress, Result, kind_of


class Look(NamedTuple):
    """One look at a job, read in the order that no race between the reads can make a lie of."""

    created: Created
    launched: Launched | None
    alive: bool
    result: Result | None
    cancel: CancelMark | None
    remote: Remote | None

    @property
    def kind(self) -> JobKind:
        return kind_of(self.created.spec)

    @property
    def state(self) -> JobState:
        if self.result is not None:
            failed = self.result.state is JobState.FAILED
            return JobState.CANCELLED if failed and self.cancel is not None else self.result.state
        if self.alive:
            return JobState.RUNNING
        if self.remote is not None and self.remote.state is not JobState.FAILED:
            return self.remote.state
        if self.cancel is not None:
            return JobState.CANCELLED
        return JobState.QUEUED if (self.launched or self.remote) is None else JobState.FAILED


def look(folder: Folder) -> Look | None:
    """None while the job is not whole yet. Raises Corrupt."""
    created = folder.created()
    if created is None:
        return None
    # The lock is taken before `state.json` exists and dropped after `result.json` exists: read in this order.
    launched = folder.launched()
    alive = folder.alive()
    result, cancel, remote = folder.result(), folder.cancel_mark(), folder.remote()
    if remote is not None and cancel is None and result is not None and result.state is JobState.CANCELLED:
        result = None  # a pod was told to end, by nobody who wanted the job to stop: another one goes on
    return Look(created, launched, alive, result, cancel, remote)


def record(folder: Folder, seen: Look) -> JobRecord:
    """What people see of the job. Raises Corrupt."""
    launched, result = seen.launched or seen.remote, seen.result
    ended = result.time if result is not None else launched.ended if launched is not None else None
    return JobRecord(
        id=folder.id,
        kind=seen.kind,
        state=seen.state,
        spec=seen.created.spec,
        created=seen.created.time,
        started=None if launched is None else launched.started,
        ended=ended,
        reason=_reason(folder, seen),
        progress=folder.progress() or Progress(),
        output=None if result is None else result.output,
    )


def _reason(folder: Folder, seen: Look) -> str:
    state = seen.state
    if seen.result is not None:
        return seen.result.reason
    if state is JobState.CANCELLED:
        return "Cancelled by hand."
    if seen.remote is not None:
        return seen.remote.reason
    if state is JobState.QUEUED:
        waiting = folder.waiting()
        return "" if waiting is None else waiting.reason
    if state is not JobState.FAILED or seen.launched is None or seen.launched.reason:
        return "" if seen.launched is None else seen.launched.reason
    status = seen.launched.exit
    how = "ended" if status is None else f"ended with status {status}" if status >= 0 else _killed(-status)
    last = next((line for line in reversed(folder.tail(20).splitlines()) if line.strip()), "")
    said = f" Its last words: {last.strip()[:300]}" if last else ""
    return f"The process {how} without a result.{said}"


def _killed(number: int) -> str:
    hint = " (out of memory?)" if number == signal.SIGKILL else ""
    return f"was ended by {signal.Signals(number).name}{hint}"
