"""What a job left running: its processes, wherever they went.

A process group is not enough: a child may have a group of its own, and the number of a group whose last
process is gone may belong to somebody else by now. Each process of a job has the job's id in its environment,
which its children inherit and nobody else has.
"""

import os
import signal
from contextlib import suppress
from pathlib import Path

MARK = "SERINUS_JOB"
"""Environment variable that holds the job's id."""


def processes_of(job: str, root: Path = Path("/proc")) -> tuple[int, ...]:
    """Ids of the living processes of a job, of this user; none where there is no `/proc`."""
    wanted = f"{MARK}={job}".encode()
    found = []
    for path in root.glob("[0-9]*"):
        with suppress(OSError):
            if wanted in (path / "environ").read_bytes().split(b"\0"):
                found.append(int(path.name))
    return tuple(found)


def end(job: str) -> int:
    """Kills what is left of a job; gives how many processes that were."""
    ended = 0
    for pid in processes_of(job):
        with suppress(ProcessLookupError):
            # A process id cannot change hands between the look and the signal when the handle is older.
            handle = os.pidfd_open(pid)
            try:
                if pid in processes_of(job):
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
                    ended += 1
            finally:
                os.close(handle)
    return ended
