"""Jobs on this machine: a folder and a child process each.

Nothing about a job is known only to the process that started it. Its state is derived from the files of its
folder and from the lock that the child holds, so a restarted ui and the command line see the same. The queue
moves whenever somebody calls `advance`; a file lock keeps two from starting the same job.
"""

import logging
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from serinus.core.enums import JobKind, JobState
from serinus.core.errors import Conflict, NotFound
from serinus.core.ids import Clock, NewId
from serinus.jobs import remains
from serinus.jobs.folder import (
    CancelMark,
    Created,
    Folder,
    Launched,
    Lines,
    Remote,
    Waiting,
    exclusive,
    lines_from,
)
from serinus.jobs.memory import free_mb
from serinus.jobs.model import JobRecord, JobSpec, Point, Progress, Result, kind_of
from serinus.jobs.render import render

log = logging.getLogger(__name__)

_ID = re.compile(rf"({'|'.join(JobKind)})-[0-9a-f]{{8,32}}")


class _Seen(NamedTuple):
    """One look at a job, read in the order that no race between the reads can make a lie of."""

    created: Created
    launched: Launched | None
    alive: bool
    result: Result | None
    cancel: CancelMark | None
    remote: Remote | None


class Needs(NamedTuple):
    """What a kind of job may take of this machine."""

    at_once: int = 1
    """Jobs of this kind that run at the same time."""
    memory_mb: int = 0
    """Memory that must be free before one starts; 0: it is not looked at."""


class LocalJobs:
    """Runs jobs as children in sessions of their own, as many of each kind as `needs` says; the others wait.

    `command` starts the `serinus` program (`[sys.executable, "-m", "serinus"]`), `env` is the children's
    environment. `grace_seconds` lie between SIGTERM and SIGKILL of a cancelled job. Kinds that run
    `elsewhere` are kept and told of here; somebody else starts and ends them (`jobs.cluster`). Threads may
    share it.
    """

    def __init__(
        self,
        root: Path,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        clock: Clock,
        new_id: NewId,
        grace_seconds: float = 15.0,
        needs: Mapping[JobKind, Needs] | None = None,
        elsewhere: Set[JobKind] = frozenset(),
        free_memory: Callable[[], int | None] = free_mb,
    ) -> None:
        self._root = root
        self._command = tuple(command)
        self._env = dict(env)
        self._clock = clock
        self._new_id = new_id
        self._grace = grace_seconds
        self._needs = dict(needs or {})
        self._elsewhere = elsewhere
        self._free_memory = free_memory
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._over: set[str] = set()
        root.mkdir(parents=True, exist_ok=True)

    def submit(self, spec: JobSpec) -> str:
        """Queues a job, starts it when its turn has come, and gives its id."""
        job = f"{kind_of(spec)}-{self._new_id()[:12]}"
        path = self._root / job
        path.mkdir()
        Folder(path).put_created(Created(spec=spec, time=self._clock()))
        self.advance()
        return job

    def describe(self, job: str) -> JobRecord:
        """The record of a job, by id or by kind (`train`: the newest training). Raises NotFound."""
        folder = self._folder(job)
        seen = _look(folder)
        if seen is None:
            raise NotFound(f"There is no job {job!r}.", remedy="`serinus jobs list` names them.")
        return _record(folder, seen)

    def logs(self, job: str, tail: int = 200) -> str:
        """The last `tail` lines of what the job printed. Raises NotFound."""
        return self._folder(job).tail(tail)

    def alive(self, job: str) -> bool:
        """Whether a process of it lives; one that has told its result may still print. Raises NotFound."""
        folder = self._folder(job)
        return folder.alive() or _prints_elsewhere(folder.remote())

    def log_lines(self, job: str, offset: int) -> Lines:
        """What the job printed from the byte `offset` on, in whole lines. Raises NotFound."""
        folder = self._folder(job)
        return lines_from(folder.log, offset, rest=not (folder.alive() or _prints_elsewhere(folder.remote())))

    def points(self, job: str, offset: int = 0) -> tuple[tuple[Point, ...], int]:
        """Points of the curves from the byte `offset` on, and the offset to go on from. Raises NotFound."""
        lines = lines_from(self._folder(job).points, offset, most_bytes=1 << 20)
        return tuple(_points(lines.text)), lines.next

    def folder(self, job: str) -> Path:
        """Where the job puts what people look at. Raises NotFound."""
        return self._folder(job).path

    def list(self) -> tuple[JobRecord, ...]:
        """All jobs, the newest last."""
        seen = ((folder, _look(folder)) for folder in self._folders())
        records = [_record(folder, look) for folder, look in seen if look is not None]
        return tuple(sorted(records, key=lambda record: (record.created, record.id)))

    def open_elsewhere(self) -> tuple[Folder, ...]:
        """Jobs of kinds that run elsewhere, those that are not over, the oldest first."""
        found = [
            (seen.created.time, folder)
            for folder in self._folders()
            if folder.id not in self._over
            and (seen := _look(folder)) is not None
            and kind_of(seen.created.spec) in self._elsewhere
            and not self._over_elsewhere(folder, seen)
        ]
        return tuple(folder for _, folder in sorted(found, key=lambda each: (each[0], each[1].id)))

    def _over_elsewhere(self, folder: Folder, seen: _Seen) -> bool:
        over = seen.remote.complete if seen.remote is not None else _state(seen) is not JobState.QUEUED
        if over:
            self._over.add(folder.id)
        return over

    def cancel(self, job: str) -> JobRecord:
        """Asks a job to stop; `advance` ends it by force after the grace.

        Raises NotFound, and Conflict when it is over already.
        """
        folder = self._folder(job)
        with self._lock():
            record = self.describe(folder.id)
            if not record.active:
                raise Conflict(f"Job {folder.id} is over ({record.state}).")
            if folder.cancel_mark() is None:
                folder.put_cancel_mark(CancelMark(time=self._clock()))
                _signal(folder, signal.SIGTERM)
        self.advance()
        return self.describe(folder.id)

    def advance(self) -> None:
        """Notes what ended, ends what will not stop, starts what is next. Call it every second or so."""
        with self._lock():
            busy: dict[JobKind, list[str]] = {}
            queued: list[tuple[float, Folder, JobSpec]] = []
            for folder in self._folders():
                if folder.id in self._over:
                    continue
                seen = _look(folder)
                if seen is None or kind_of(seen.created.spec) in self._elsewhere:
                    continue
                if seen.alive:
                    busy.setdefault(kind_of(seen.created.spec), []).append(folder.id)
                    self._press(folder, seen)
                elif _state(seen) is JobState.QUEUED:
                    queued.append((seen.created.time, folder, seen.created.spec))
                else:
                    self._close(folder, seen)
            for _, folder, spec in sorted(queued, key=lambda entry: (entry[0], entry[1].id)):
                running = busy.setdefault(kind_of(spec), [])
                reason = self._must_wait(kind_of(spec), running)
                if reason:
                    self._note_waiting(folder, reason)
                    running.append("")  # nobody overtakes
                elif self._start(folder, spec):
                    running.append(folder.id)

    def _must_wait(self, kind: JobKind, running: Sequence[str]) -> str:
        """Why a job of this kind cannot start now; empty when it can."""
        needs = self._needs.get(kind, Needs())
        at_work = [job for job in running if job]
        ahead = len(running) - len(at_work)
        if ahead:
            return f"Waits for its turn; {ahead} in front of it."
        if len(at_work) >= needs.at_once:
            return f"Waits until {' or '.join(at_work)} is over."
        free = self._free_memory() if needs.memory_mb else None
        if free is not None and free < needs.memory_mb:
            return (
                f"Waits for memory: it needs {needs.memory_mb:,} MB, {free:,} MB are free. "
                f"End other programs, or lower the setting {kind.upper()}_MEMORY_MB."
            )
        return ""

    def _note_waiting(self, folder: Folder, reason: str) -> None:
        before = folder.waiting()
        if before is None or before.reason != reason:
            folder.put_waiting(Waiting(reason=reason))

    def _start(self, folder: Folder, spec: JobSpec) -> bool:
        rendered = render(spec, folder.path)
        started = self._clock()
        lock = folder.lock_for_child()
        try:
            folder.put_launched(Launched(started=started))
            with folder.log.open("ab") as output:
                child = subprocess.Popen(
                    (*self._command, *rendered.argv),
                    env=self._env | rendered.env | {remains.MARK: folder.id},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    pass_fds=(lock,),
                )
            folder.put_launched(Launched(started=started, pid=child.pid))
        except OSError as error:
            log.exception("job %s could not be started", folder.id)
            reason = f"The job could not be started: {error}."
            folder.put_launched(Launched(started=started, ended=self._clock(), reason=reason))
            return False
        finally:
            os.close(lock)
        self._children[folder.id] = child
        log.info("job %s started as process %d", folder.id, child.pid)
        return True

    def _press(self, folder: Folder, seen: _Seen) -> None:
        """Kills a cancelled job that did not stop within the grace; takes its exit status when it is ours."""
        child = self._children.get(folder.id)
        if child is not None:
            child.poll()
        mark = seen.cancel
        if mark is not None and not mark.killed and self._clock() - mark.time >= self._grace:
            log.warning("job %s did not stop within %g s and is killed", folder.id, self._grace)
            folder.put_cancel_mark(CancelMark(time=mark.time, killed=True))
            _signal(folder, signal.SIGKILL)
        elif seen.launched is not None and seen.launched.pid is not None and _gone(folder, seen.launched.pid):
            # A process that the job forked holds its lock, but nobody is left who would end the job.
            self._end_remains(folder)

    def _end_remains(self, folder: Folder) -> None:
        ended = remains.end(folder.id)
        if ended:
            log.warning("job %s left %d processes running; they were killed", folder.id, ended)

    def _close(self, folder: Folder, seen: _Seen) -> None:
        self._end_remains(folder)
        child = self._children.pop(folder.id, None)
        launched = seen.launched
        if launched is not None and launched.ended is None:
            status = _exit_status(child)
            folder.put_launched(
                Launched(started=launched.started, pid=launched.pid, ended=self._clock(), exit=status)
            )
        self._over.add(folder.id)
        record = _record(folder, seen)
        log.info("job %s is over: %s %s", folder.id, record.state, record.reason)

    def _folder(self, job: str) -> Folder:
        if job in set(JobKind):
            newest = [record.id for record in self.list() if record.kind == job]
            if not newest:
                raise NotFound(f"There is no {job} job yet.")
            return Folder(self._root / newest[-1])
        if not _ID.fullmatch(job) or not (self._root / job / "spec.json").exists():
            raise NotFound(f"There is no job {job!r}.", remedy="`serinus jobs list` names them.")
        return Folder(self._root / job)

    def _folders(self) -> tuple[Folder, ...]:
        return tuple(Folder(path) for path in self._root.iterdir() if _ID.fullmatch(path.name))

    def _lock(self) -> AbstractContextManager[None]:
        return exclusive(self._root / ".lock")


def _points(lines: Sequence[str]) -> Iterator[Point]:
    for line in lines:
        with suppress(msgspec.MsgspecError):  # cut short by a kill
            yield msgspec.json.decode(line, type=Point)


def _prints_elsewhere(remote: Remote | None) -> bool:
    return remote is not None and not remote.complete


def _gone(folder: Folder, pid: int) -> bool:
    """Whether the job's first process is no more, or only a zombie (whose environment is empty)."""
    return Path("/proc/self/environ").exists() and pid not in remains.processes_of(folder.id)


def _exit_status(child: subprocess.Popen[bytes] | None) -> int | None:
    if child is None:
        return None
    try:
        # The kernel drops the lock a moment before the process can be waited for.
        return child.wait(timeout=5)
    except subprocess.TimeoutExpired:
        return None


def _signal(folder: Folder, number: signal.Signals) -> None:
    """Sends `number` to the job's process group, if it lives."""
    launched = folder.launched()
    if launched is None or launched.pid is None or not folder.alive():
        return
    try:
        os.killpg(launched.pid, number)
    except ProcessLookupError:
        log.info("job %s ended by itself before the signal", folder.id)


def _look(folder: Folder) -> _Seen | None:
    created = folder.created()
    if created is None:
        return None
    # The lock is taken before `state.json` exists and dropped after `result.json` exists: read in this order.
    launched = folder.launched()
    alive = folder.alive()
    result, cancel, remote = folder.result(), folder.cancel_mark(), folder.remote()
    if remote is not None and cancel is None and result is not None and result.state is JobState.CANCELLED:
        result = None  # a pod was told to end, by nobody who wanted the job to stop: another one goes on
    return _Seen(created, launched, alive, result, cancel, remote)


def _state(seen: _Seen) -> JobState:
    if seen.result is not None:
        failed = seen.result.state is JobState.FAILED
        return JobState.CANCELLED if failed and seen.cancel is not None else seen.result.state
    if seen.alive:
        return JobState.RUNNING
    if seen.remote is not None and seen.remote.state is not JobState.FAILED:
        return seen.remote.state
    if seen.cancel is not None:
        return JobState.CANCELLED
    return JobState.QUEUED if (seen.launched or seen.remote) is None else JobState.FAILED


def _reason(folder: Folder, seen: _Seen, state: JobState) -> str:
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


def _record(folder: Folder, seen: _Seen) -> JobRecord:
    state = _state(seen)
    launched, result = seen.launched or seen.remote, seen.result
    ended = result.time if result is not None else launched.ended if launched is not None else None
    return JobRecord(
        id=folder.id,
        kind=kind_of(seen.created.spec),
        state=state,
        spec=seen.created.spec,
        created=seen.created.time,
        started=None if launched is None else launched.started,
        ended=ended,
        reason=_reason(folder, seen, state),
        progress=folder.progress() or Progress(),
        output=None if result is None else result.output,
    )
