"""The sign of life of who fills a temporary tree: a lock on a file, which the kernel takes back when it dies.

The tree `.tmp-<id>`, wherever it lies, is alive while somebody holds the lock of `.tmp/<id>`. A file, because
NFS tells other machines of locks on files and not of those on folders. Where a volume knows no locks, age is
all that tells.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


def locked(path: Path) -> int:
    """A descriptor that holds the lock of the file `path`, which somebody may sweep away meanwhile."""
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        fcntl.flock(lock, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(lock), path.stat()):
                return lock
        os.close(lock)


@contextlib.contextmanager
def sign_of_life(path: Path) -> Iterator[None]:
    """Holds the lock of `path`, which nobody else has; it is gone at the end."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        with contextlib.suppress(OSError):  # this volume knows no locks
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        with contextlib.suppress(OSError):  # the rest is swept
            path.unlink(missing_ok=True)
        os.close(lock)


@contextlib.contextmanager
def buried(path: Path) -> Iterator[bool]:
    """Whether nobody holds the lock of `path`; nobody gets it meanwhile."""
    try:
        lock = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        yield True  # there is none, or it is no file that could be one
        return
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            dead = True
        except BlockingIOError:
            dead = False
        except OSError:
            dead = True
        yield dead
    finally:
        os.close(lock)
