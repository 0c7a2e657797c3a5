"""What a killed training goes on from: one file, replaced whole, so that any kill leaves a good one."""

import os
from pathlib import Path
from pickle import UnpicklingError  # noqa: TID251 -- to catch what torch's restricted reader raises
from typing import Any

import torch

from serinus.core.errors import Corrupt

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


def save(state: dict[str, Any], folder: Path) -> None:
    """Keeps `state` (tensors, numbers, text, lists and dicts of them) in `folder`, in place of the last."""
    folder.mkdir(parents=True, exist_ok=True)
    new = folder / f"{_FILE}.new"
    with new.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    new.replace(folder / _FILE)


def load(folder: Path) -> dict[str, Any] | None:
    """What was saved last; None when nothing was. Read with torch's restricted reader. Raises Corrupt."""
    path = folder / _FILE
    if not path.is_file():
        return None
    try:
        found: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        raise Corrupt(
            f"The checkpoint {path} cannot be read: {' '.join(str(error).split())[:200]}.",
            remedy="Start the training anew with --fresh.",
        ) from error
    return found
