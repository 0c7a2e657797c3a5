"""What a killed training goes on from: one file, replaced whole, so that any kill leaves a good one."""

import logging
import os
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from pickle import UnpicklingError  # noqa: TID251 -- to catch what torch's restricted reader raises
from typing import Any

import torch

from serinus.core.errors import Corrupt

log = logging.getLogger(__name__)

_FILE = "state.pt"
_UNREADABLE = (
    UnpicklingError,
    RuntimeError,
    EOFError,
    ValueError,
    TypeError,
    AttributeError,
    KeyError,
)


def said_by_torch(error: BaseException) -> str:
    """Why torch's restricted reader could not read something, on one line, without its advice to read it in
    the unrestricted way, which runs what is in the file.
    """
    said = str(error).partition("WeightsUnpickler error:")[2].partition("Check the documentation")[0]
    return " ".join((said or str(error)).split())[:300].rstrip(".")


def save(state: dict[str, Any], folder: Path) -> None:
    """Keeps `state` (tensors, numbers, text, lists and dicts of them) in `folder`, in place of the last.

    A volume that is full costs the checkpoint, not the training: the last one stays, and the log says so.
    """
    data = BytesIO()  # torch does not tell a full volume from a broken file
    torch.save(state, data)
    new = folder / f"{_FILE}.new"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with new.open("wb") as file:
            file.write(data.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        new.replace(folder / _FILE)
    except OSError as error:
        log.warning("No checkpoint could be kept: %s. A kill would cost what is trained from here on.", error)
        with suppress(OSError):
            new.unlink(missing_ok=True)


def load(folder: Path) -> dict[str, Any] | None:
    """What was saved last; None when nothing was. Read with torch's restricted reader. Raises Corrupt."""
    path = folder / _FILE
    if not path.is_file():
        return None
    try:
        found: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        raise Corrupt(
            f"The checkpoint {path} cannot be read: {said_by_torch(error)}.",
            remedy="Start the training anew with --fresh.",
        ) from error
    return found
