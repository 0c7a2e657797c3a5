"""What a start does in MODEL_DIR before anything is read: folders, the volume's abilities, leftovers."""

from pathlib import Path

from serinus.core.errors import Misconfigured, VolumeFull
from serinus.core.ids import NewId
from serinus.store import reserve
from serinus.store.local import Disk, refusal
from serinus.store.volume import check_volume

_FOLDERS = (
    "artifacts",
    "journal",
    "observations",
    "evidence",
    "replicas",
    "golden",
    "policies",
    "versions",
    "views",
    "incoming",
)
_LOCAL_FOLDERS = ("artifacts", "golden", "versions", "views", "incoming")
"""What MODEL_DIR holds when the store lies in a bucket: copies, and what is generated for people."""


def is_there(root: Path, *, remote: bool) -> bool:
    """Whether `root` was opened before. `remote`: it is only beside a store in a bucket."""
    return (root / ("artifacts" if remote else "journal")).is_dir()


def prepare(disk: Disk, root: Path, new_id: NewId, *, remote: bool, before: float) -> None:
    """Makes the folders, tests the volume, sweeps what was left before `before` (UTC seconds).

    On a full volume it sweeps first and tries again. Raises Misconfigured, and Unwritable when the volume
    takes no write.
    """
    try:
        _try_out(disk, root, new_id, remote=remote)
    except VolumeFull:
        if not is_there(root, remote=remote):
            raise
        disk.sweep_all(before=before)
        _try_out(disk, root, new_id, remote=remote)
    disk.sweep_all(before=before)
    if not remote:
        reserve.keep(root)


def _try_out(disk: Disk, root: Path, new_id: NewId, *, remote: bool) -> None:
    try:
        for name in (disk.scratch.name, *(_LOCAL_FOLDERS if remote else _FOLDERS)):
            disk.make_folder(root / name)
    except OSError as error:
        raise refusal(error, "write", root) or Misconfigured(
            f"{error.filename or root} cannot be made: {error.strerror or error}.",
            remedy="Give MODEL_DIR a folder that this user may write.",
        ) from error
    check_volume(disk.scratch, new_id)
