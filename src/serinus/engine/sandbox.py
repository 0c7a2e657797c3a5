"""A child process with limits, for what must not meet the controller first: unknown graphs, foreign files.

Both ends are here. The parent prepares a scratch folder, `run` starts `python -m MODULE` in it and waits; the
child says `confine` before it touches what is not trusted. Nothing of the parent's environment reaches the
child: no secrets, no proxies. Whatever the child leaves behind ends with it.
"""

import ctypes
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from serinus.core.errors import Cancelled, Unavailable

STARTED, TALK = "started", "stderr.txt"
OUT_OF_MEMORY = (
    "Failed to allocate memory",
    "bad_alloc",
    "bad allocation",
    "MemoryError",
    "can't allocate memory",
)
"""What libraries say when the limit on memory was met."""
_START_SECONDS = 60.0
_POLL_SECONDS = 0.02
_CPU_GRACE = 5
_PR_SET_PDEATHSIG = 1


class Ending(NamedTuple):
    """How a child ended."""

    code: int
    """Its exit code; minus the signal that ended it."""
    timed_out: bool
    talk: str
    """The end of what it said, on one line."""

    @property
    def signal(self) -> str:
        """The name of the signal that ended it."""
        try:
            return signal.Signals(-self.code).name
        except ValueError:
            return f"signal {-self.code}"


def _never() -> bool:
    return False


def run(module: str, folder: Path, *, seconds: float, cancelled: Callable[[], bool] = _never) -> Ending:
    """Runs `python -m module` in `folder`; `seconds` of wall clock count from when it is confined.

    Raises Unavailable when it could not even start, which says nothing about what it was to look at;
    Cancelled when `cancelled()` became true first.
    """
    environment = {
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "2",  # each arena reserves 64 MB of the address space that we limit
        "HOME": str(folder),
        "TMPDIR": str(folder),
    }
    with (folder / TALK).open("wb") as talk:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", module],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=talk,
            stderr=talk,
            start_new_session=True,
        )
        try:
            return _await_end(child, folder, seconds, cancelled)
        finally:
            _kill_group(child)


def _await_end(
    child: subprocess.Popen[bytes], folder: Path, seconds: float, cancelled: Callable[[], bool]
) -> Ending:
    ready = folder / STARTED

    def over() -> bool:
        return cancelled() or _ended(child)

    started = _wait(lambda: ready.exists() or over(), _START_SECONDS) and ready.exists()
    in_time = started and _wait(over, seconds)
    if cancelled():
        raise Cancelled("The child process was stopped before its end.")
    if not started:
        raise Unavailable(f"the trial process did not start: {_talk(folder)}", retry_after=10.0)
    return Ending(_kill_group(child), not in_time, _talk(folder))


def _wait(done: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def _ended(child: subprocess.Popen[bytes]) -> bool:
    """Whether it has ended; it stays unreaped, so that its number still names its group and nobody else's."""
    if child.returncode is not None:
        return True
    return os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None


def _kill_group(child: subprocess.Popen[bytes]) -> int:
    """Ends whatever is left of the child's group, and gives the child's own exit code."""
    if child.returncode is None:
        os.killpg(child.pid, signal.SIGKILL)
    return child.wait()


def _talk(folder: Path) -> str:
    text = (folder / TALK).read_bytes()[-500:].decode(errors="replace")
    return " ".join(text.split()) or "it said nothing."


def die_with(parent: int) -> None:
    """In the child, first of all: it ends when `parent` does."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:  # it died before the line above
        sys.exit(1)


def confine(*, memory_bytes: int, cpu_seconds: int, file_bytes: int) -> None:
    """In the child: sets the limits for ever, then lets the parent's clock start.

    What the process has mapped by now is Python's and the libraries'; `memory_bytes` come on top.
    """
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    space = pages * resource.getpagesize() + memory_bytes
    for kind, value in (
        (resource.RLIMIT_AS, space),
        (resource.RLIMIT_FSIZE, file_bytes),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 64),
    ):
        _, hard = resource.getrlimit(kind)
        ceiling = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (ceiling, ceiling))
    # Apart, so that SIGXCPU tells the parent why; SIGKILL follows for who ignores it.
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + _CPU_GRACE))
    Path(STARTED).touch()
