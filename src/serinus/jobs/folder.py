"""The files of one job. Each is replaced atomically; a reader sees the old one or the new one, never half."""

import contextlib
import fcntl
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec

from serinus.core.enums import JobState
from serinus.core.errors import Corrupt
from serinus.jobs.model import JobSpec, Point, Progress, Result

T = TypeVar("T")


class Created(msgspec.Struct, frozen=True, kw_only=True):
    """`spec.json`: written once, when the job is submitted."""

    spec: JobSpec
    time: float


class Launched(msgspec.Struct, frozen=True, kw_only=True):
    """`state.json`: what the runner knows about the child."""

    started: float
    pid: int | None = None
    """Also the id of its process group. None: the runner died between starting the child and noting it."""
    ended: float | None = None
    exit: int | None = None
    """Exit status, negative for a signal; None while it runs, or when the child's parent had gone."""
    reason: str = ""
    """Why it could not be started; empty when it was."""


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """`waiting.json`: why the job has not started yet, as the runner saw it last."""

    reason: str


class Remote(msgspec.Struct, frozen=True, kw_only=True):
    """`remote.json`: what the cluster said last about the job, and how much of its log is here."""

    uid: str
    """Of its Job: another one of that name is another job."""
    started: float
    state: JobState = JobState.QUEUED
    reason: str = ""
    ended: float | None = None
    logged: dict[str, str] = {}
    """Pod -> the time of the last line that was copied."""
    copied: tuple[str, ...] = ()
    """Pods whose log is here whole."""
    complete: bool = False
    """It is over, and nothing more comes."""


class CancelMark(msgspec.Struct, frozen=True, kw_only=True):
    """`cancel.json`: somebody wants it to stop."""

    time: float
    killed: bool = False


def replace(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Replaces `path` whole: who reads meanwhile sees the old file or the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    temporary.unlink(missing_ok=True)  # of a writer that was killed: its rights may be others
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write(path: Path, value: msgspec.Struct) -> None:
    """Replaces `path` by the JSON of `value`."""
    replace(path, msgspec.json.encode(value))


def read(path: Path, kind: type[T]) -> T | None:
    """What `path` holds; None when there is no such file. Raises Corrupt when it holds something else."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError as error:
        raise Corrupt(
            f"{path} is not a file that Serinus wrote ({error}).", remedy="Remove the job's folder."
        ) from error


class Folder:
    """One job's folder: `spec.json`, `state.json`, `waiting.json`, `cancel.json`, `progress.json`,
    `metrics.jsonl`, `result.json`, `log.txt`, `remote.json` (of one in a cluster), and what the job puts
    beside them (`report.html`).

    `alive` is locked by the child for as long as it lives: the kernel drops the lock however the child dies,
    and no process id that was given again can be taken for it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.log = path / "log.txt"
        self.points = path / "metrics.jsonl"

    @property
    def id(self) -> str:
        return self.path.name

    def created(self) -> Created | None:
        return read(self.path / "spec.json", Created)

    def launched(self) -> Launched | None:
        return read(self.path / "state.json", Launched)

    def waiting(self) -> Waiting | None:
        return read(self.path / "waiting.json", Waiting)

    def remote(self) -> Remote | None:
        return read(self.path / "remote.json", Remote)

    def cancel_mark(self) -> CancelMark | None:
        return read(self.path / "cancel.json", CancelMark)

    def progress(self) -> Progress | None:
        return read(self.path / "progress.json", Progress)

    def result(self) -> Result | None:
        return read(self.path / "result.json", Result)

    def put_created(self, value: Created) -> None:
        write(self.path / "spec.json", value)

    def put_launched(self, value: Launched) -> None:
        write(self.path / "state.json", value)

    def put_waiting(self, value: Waiting) -> None:
        write(self.path / "waiting.json", value)

    def put_remote(self, value: Remote) -> None:
        write(self.path / "remote.json", value)

    def put_cancel_mark(self, value: CancelMark) -> None:
        write(self.path / "cancel.json", value)

    def put_progress(self, value: Progress) -> None:
        write(self.path / "progress.json", value)

    def put_result(self, value: Result) -> None:
        write(self.path / "result.json", value)

    def lock_for_child(self) -> int:
        """An open, locked descriptor of `alive` to hand to the child. The caller closes its own copy."""
        descriptor = os.open(self.path / "alive", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return descriptor

    def alive(self) -> bool:
        """Whether the child, or a process that it forked, still lives."""
        try:
            descriptor = os.open(self.path / "alive", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            # Shared, so that two who ask at once do not take each other for the child.
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def add_log(self, lines: Sequence[str]) -> None:
        """Appends to the log what somebody else's process printed."""
        with self.log.open("ab") as file:
            file.write("".join(f"{line}\n" for line in lines).encode())

    def add_point(self, value: Point) -> None:
        """Appends to `metrics.jsonl`; a line that a kill cut short is passed over by readers."""
        with self.points.open("ab") as file:
            file.write(msgspec.json.encode(value) + b"\n")

    def tail(self, lines: int) -> str:
        """The last `lines` lines of the log; reads at most 512 bytes a line from its end."""
        try:
            with self.log.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - 512 * lines))
                data = file.read()
        except FileNotFoundError:
            return ""
        return "\n".join(data.decode("utf-8", "replace").splitlines()[-lines:])


class Lines(NamedTuple):
    """Whole lines of a file that grows."""

    text: tuple[str, ...]
    next: int
    """Offset to go on from."""


def lines_from(path: Path, offset: int, *, most_bytes: int = 1 << 16, rest: bool = False) -> Lines:
    """The lines of `path` from the byte `offset` on, as many as lie in `most_bytes`.

    A line that has no end yet comes later, unless the writer is gone and this is the `rest`, or the line is
    longer than `most_bytes`.
    """
    try:
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read(most_bytes)
            last = not file.read(1)
    except FileNotFoundError:
        return Lines((), offset)
    end = data.rfind(b"\n") + 1
    if (not end and len(data) == most_bytes) or (rest and last):
        end = len(data)
    return Lines(tuple(data[:end].decode("utf-8", "replace").splitlines()), offset + end)


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Holds the lock of `path`, a folder or a file that is made: one at a time, of processes and threads."""
    flags = os.O_RDONLY | os.O_DIRECTORY if path.is_dir() else os.O_RDWR | os.O_CREAT
    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
