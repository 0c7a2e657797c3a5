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
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from serinus.core.enums import JobKind, JobState
from serinus.core.errors import Conflict, Corrupt, NotFound
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
from serinus.jobs.look import Look, look, record
from serinus.jobs.memory import free_mb
from serinus.jobs.model import JobRecord, JobSpec, Point, kind_of
from serinus.jobs.render import render

log = logging.getLogger(__name__)

_ID = re.compile(rf"({'|'.join(JobKind)})-[0-9a-f]{{8,32}}")


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
        self._damaged: set[str] = set()
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
        """The record of a job, by id or by kind (`train`: the newest training). Raises NotFound, Corrupt."""
        folder = self._folder(job)
        found = self._described(folder)
        if not found.active and folder.id in self._children and not folder.alive():
            self.advance()  # notes how it ended: who is told that it is over does not ask again
            found = self._described(folder)
        return found

    def _described(self, folder: Folder) -> JobRecord:
        seen = look(folder)
        if seen is None:
            raise NotFound(f"There is no job {folder.id!r}.", remedy="`serinus jobs list` names them.")
        return record(folder, seen)

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
        """All jobs, the newest last, but for those whose files cannot be read; the log names them."""
        found: list[JobRecord] = []
        for folder, seen in self._looks():
            with self._passing_over(folder):
                found.append(record(folder, seen))
        return tuple(sorted(found, key=lambda each: (each.created, each.id)))

    def open_elsewhere(self) -> tuple[Folder, ...]:
        """Jobs of kinds that run elsewhere, those that are not over, the oldest first."""
        found = [
            (seen.created.time, folder)
            for folder, seen in self._looks(but=self._over)
            if seen.kind in self._elsewhere and not self._over_elsewhere(folder, seen)
        ]
        return tuple(folder for _, folder in sorted(found, key=lambda each: (each[0], each[1].id)))

    def _over_elsewhere(self, folder: Folder, seen: Look) -> bool:
        over = seen.remote.complete if seen.remote is not None else seen.state is not JobState.QUEUED
        if over:
            self._over.add(folder.id)
        return over

    def cancel(self, job: str) -> JobRecord:
        """Asks a job to stop; `advance` ends it by force after the grace.

        Raises NotFound, and Conflict when it is over already.
        """
        folder = self._folder(job)
        with self._lock():
            found = self._described(folder)
            if not found.active:
                raise Conflict(f"Job {folder.id} is over ({found.state}).")
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
            for folder, seen in self._looks(but=self._over):
                if seen.kind in self._elsewhere:
                    continue
                if seen.alive:
                    busy.setdefault(seen.kind, []).append(folder.id)
                    self._press(folder, seen)
                elif seen.state is JobState.QUEUED:
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

    def _press(self, folder: Folder, seen: Look) -> None:
        """Kills a cancelled job that did not stop within the grace; takes its exit status when it is ours."""
        child = self._children.get(folder.id)
        if child is not None:
            child.poll()
        mark = seen.cancel
        if mark is not None and not mark.killed and self._clock() - mark.time >= self._grace:
            log.warning("job %s did not stop within %g s and is killed", folder.id, self._grace)
            folder.put_cancel_mark(CancelMark(time=mark.time, killed=True))
            _signal(folder, signal.SIGKILL)
        elif mark is not None and mark.killed:
            # Whoever wrote that may have died before the signal, or before it knew the process.
            self._end_remains(folder)
        elif seen.launched is not None and seen.launched.pid is not None and _gone(folder, seen.launched.pid):
            # A process that the job forked holds its lock, but nobody is left who would end the job.
            self._end_remains(folder)

    def _end_remains(self, folder: Folder) -> None:
        ended = remains.end(folder.id)
        if ended:
            log.warning("job %s left %d processes running; they were killed", folder.id, ended)

    def _close(self, folder: Folder, seen: Look) -> None:
        self._end_remains(folder)
        child = self._children.pop(folder.id, None)
        launched = seen.launched
        if launched is not None and launched.ended is None:
            status = _exit_status(child)
            folder.put_launched(
                Launched(started=launched.started, pid=launched.pid, ended=self._clock(), exit=status)
            )
        self._over.add(folder.id)
        with self._passing_over(folder):
            ended = record(folder, seen)
            log.info("job %s is over: %s %s", folder.id, ended.state, ended.reason)

    def _folder(self, job: str) -> Folder:
        if job in set(JobKind):
            newest = [each.id for each in self.list() if each.kind == job]
            if not newest:
                raise NotFound(f"There is no {job} job yet.")
            return Folder(self._root / newest[-1])
        if not _ID.fullmatch(job) or not (self._root / job / "spec.json").exists():
            raise NotFound(f"There is no job {job!r}.", remedy="`serinus jobs list` names them.")
        return Folder(self._root / job)

    def _folders(self) -> tuple[Folder, ...]:
        return tuple(Folder(path) for path in self._root.iterdir() if _ID.fullmatch(path.name))

    def _looks(self, but: Set[str] = frozenset()) -> Iterator[tuple[Folder, Look]]:
        """Each job, without those in `but` and those whose files cannot be read."""
        for folder in self._folders():
            if folder.id not in but:
                seen = None
                with self._passing_over(folder):
                    seen = look(folder)
                if seen is not None:
                    yield folder, seen

    @contextmanager
    def _passing_over(self, folder: Folder) -> Iterator[None]:
        """One damaged job, or one of a newer version of this program, must not stop all others."""
        try:
            yield
        except Corrupt as error:
            if folder.id not in self._damaged:
                self._damaged.add(folder.id)
                log.error("job %s is passed over: %s", folder.id, error)  # noqa: TRY400 -- its words say all

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
    """Sends `number` to the job's process group, if its first process lives: else the number of the group may
    be somebody else's by now.
    """
    launched = folder.launched()
    if launched is None or launched.pid is None or not folder.alive() or _gone(folder, launched.pid):
        return
    try:
        os.killpg(launched.pid, number)
    except ProcessLookupError:
        log.info("job %s ended by itself before the signal", folder.id)
