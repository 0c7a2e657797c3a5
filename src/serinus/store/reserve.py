"""Room that is kept for the way out of a full volume.

Removing versions frees space, and begins with an event, which needs some. So a file of a fixed size lies in
MODEL_DIR from the first start on; who must remove something and finds the volume full gives it up first.
"""

import contextlib
import logging
import os
from pathlib import Path

_LOG = logging.getLogger(__name__)
NAME = ".reserve"
BYTES = 256 << 10
"""Enough for a removal's event and the manifests of the first versions, also in blocks of 64 KiB."""


def keep(root: Path) -> None:
    """Sets the room aside. A volume without room for it goes on without it."""
    path = root / NAME
    try:
        if path.exists() and path.stat().st_size >= BYTES:
            return
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
        try:
            os.posix_fallocate(descriptor, 0, BYTES)
        finally:
            os.close(descriptor)
    except OSError as error:
        _LOG.info("No room could be set aside in %s: %s", root, error.strerror)
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def spend(root: Path) -> bool:
    """Gives the room back to the volume. False: there was none."""
    try:
        (root / NAME).unlink()
    except FileNotFoundError:
        return False
    return True
