"""What processes of the tree do at their start: die with their parent, stop on SIGTERM, look whether their
port is free, keep freed memory.
"""

import ctypes
import gc
import os
import signal
import socket
import threading
import time

from serinus.core.errors import Misconfigured

_PR_SET_PDEATHSIG = 1
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 64 << 20
_MAPPED_BYTES = 32 << 20


def die_with_parent(parent: int | None = None) -> None:
    """Ask Linux to send SIGTERM to this process when its parent ends, however it ends.

    `parent` is the pid that is meant to be the parent: when it is gone already, this process ends at once.
    Elsewhere than on Linux this does nothing.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if hasattr(libc, "prctl"):
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if parent is not None and os.getppid() != parent:
        os._exit(1)


def stop_event() -> threading.Event:
    """An event that SIGTERM and SIGINT set."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def require_free_port(host: str, port: int, flag: str, patience: float = 3.0) -> None:
    """Raises Misconfigured when `port` stays in use for `patience` seconds (a predecessor may be leaving)."""
    until = time.monotonic() + patience
    while True:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                if time.monotonic() < until:
                    time.sleep(0.1)
                    continue
                raise Misconfigured(
                    f"{host}:{port} cannot be used: {error.strerror}.", remedy=f"Choose another with {flag}."
                ) from error
            return


def keep_freed_memory() -> None:
    """Lets a process that holds pictures all the time use their memory again.

    glibc gives freed memory back to Linux at once, and each page of the next picture is then a page fault:
    1,300 of them for a pair of 1024 x 1024. Beyond 64 MB for each thread that holds pictures it still goes
    back. Where the allocator is another one this does nothing.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        libc.mallopt(_M_MMAP_THRESHOLD, _MAPPED_BYTES)


def freeze_objects() -> None:
    """What lives as long as the process, such as its modules, is no longer looked through for garbage."""
    gc.collect()
    gc.freeze()
