"""Whether a volume keeps the store's promises; asked at each start, refused in words."""

import contextlib
import errno
import os
from collections.abc import Callable
from pathlib import Path

from serinus.core.errors import Misconfigured
from serinus.core.ids import NewId
from serinus.store.local import refusal

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""What says nothing about the abilities of a volume."""


def check_volume(folder: Path, new_id: NewId) -> None:
    """Tries link, rename and symbolic links in `folder`. Raises Misconfigured that says what fails,
    Unwritable when nothing can be tried because the volume is full, read-only or forbidden."""
    one, two, three = (folder / f"probe-{new_id()}" for _ in range(3))
    steps: tuple[tuple[str, Callable[[], bool]], ...] = (
        ("hard links (link)", lambda: _link_is_exclusive(one, two)),
        ("replacing by rename", lambda: _rename_replaces(one, two)),
        ("symbolic links, swapped by rename", lambda: _symlink_swaps(two, three)),
    )
    try:
        one.write_bytes(b"one")
        for what, holds in steps:
            require(what, folder, holds)
    except OSError as error:
        raise refusal(error, "write", folder.parent) or Misconfigured(
            f"{folder.parent} cannot be written: {error.strerror or error}.",
            remedy="Give MODEL_DIR a writable folder on a local disk or a POSIX volume.",
        ) from error
    finally:
        for path in (one, two, three):
            with contextlib.suppress(OSError):  # what cannot be written cannot be tidied up either
                path.unlink(missing_ok=True)


def require(what: str, folder: Path, holds: Callable[[], bool]) -> None:
    """Raises Misconfigured, naming `what`, unless `holds()` is true; OSError when there is no room to try."""
    cause: OSError | None = None
    try:
        if holds():
            return
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise
        cause = error
    raise Misconfigured(
        f"The volume of {folder.parent} does not support {what}, which the store's promises rest on"
        f"{f' ({cause.strerror})' if cause else ''}.",
        remedy="Use a local disk, ext4, xfs or NFS; SMB shares and object-store mounts do not work.",
    ) from cause


def _link_is_exclusive(one: Path, two: Path) -> bool:
    os.link(one, two)
    try:
        os.link(one, two)
    except FileExistsError:
        return two.read_bytes() == b"one"
    return False


def _rename_replaces(one: Path, two: Path) -> bool:
    one.unlink()
    one.write_bytes(b"two")
    one.replace(two)
    return two.read_bytes() == b"two" and not one.exists()


def _symlink_swaps(two: Path, three: Path) -> bool:
    three.symlink_to("nowhere")
    two.unlink()
    two.symlink_to("somewhere")
    two.replace(three)
    return str(three.readlink()) == "somewhere"
