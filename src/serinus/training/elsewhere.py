"""Takes foreign weights, `best.pt`, into a draft: our own state dict, or an Ultralytics checkpoint.

A `.pt` is a zip with a pickle inside, and a pickle is a program. So it is looked at before it is read: the
names that it wants to call are listed without calling them, and unless each is on a list (tensors and plain
containers; the classes of `ultralytics_checkpoint`) the file is refused by those names. Then it is read with
torch's restricted reader, never otherwise.
"""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError  # noqa: TID251 -- to catch what torch's restricted reader raises
from typing import Any

import msgspec
import numpy as np
import torch
from torch.serialization import get_unsafe_globals_in_checkpoint

from serinus.artifact.claims import MOST_BYTES, Claims
from serinus.artifact.manifest import Contract
from serinus.artifact.validate import CONTRACT, check_contract
from serinus.core.enums import ImportRefusal
from serinus.core.errors import InvalidInput
from serinus.engine import sandbox
from serinus.engine.conversion import Refused
from serinus.engine.derive import read_contract
from serinus.training import export, ultralytics_checkpoint, weights
from serinus.training.checkpoints import said_by_torch
from serinus.training.network import POST_ONLY, STRIDE, Architecture, CompactNet, Detector

READ_ERRORS = (
    UnpicklingError,
    RuntimeError,
    EOFError,
    ValueError,
    TypeError,
    AttributeError,
    KeyError,
    IndexError,
    OSError,
    zipfile.BadZipFile,
)
"""What torch raises on files that are not what they should be."""
_PLAIN = (
    "Save the plain state dict (torch.save(model.state_dict(), 'best.pt')) with best.json beside it, or "
    "export the model to ONNX."
)
_MAX_WIDTH, _MAX_CLASSES = 1024, 1000
_LIMIT = 300
_GOLDEN, _GOLDEN_SIDE = 2, 128
_NAMED = 5


def take_weights(files: Mapping[str, Path], claims: Claims, draft: Path, *, size: int) -> dict[str, Any]:
    """Writes model.onnx, contract.json and golden results into `draft`; gives more for its lineage.

    `size`: longest side fed to the network when nothing says another. Raises Refused, InvalidInput.
    """
    path = files[weights.WEIGHTS]
    torch.set_num_threads(1)
    foreign = wanted_names(path)
    if not foreign:
        return _take_compact(files, claims, draft, size)
    if not foreign <= ultralytics_checkpoint.ALLOWED.keys():
        unknown = sorted(foreign - ultralytics_checkpoint.ALLOWED.keys())
        more = f" and {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else ""
        raise Refused(
            ImportRefusal.FOREIGN_CLASSES,
            f"To read {path.name}, {', '.join(unknown[:_NAMED])}{more} would have to be run; nothing was.",
            remedy=_PLAIN,
        )
    known = read_contract(files[CONTRACT]) if CONTRACT in files else None
    return ultralytics_checkpoint.take(path, known, draft, size=claims.size or size)


def wanted_names(path: Path) -> set[str]:
    """What reading `path` would import beyond tensors and plain containers. Runs nothing of it."""
    with path.open("rb") as file:
        if not zipfile.is_zipfile(file):
            raise Refused(
                ImportRefusal.UNREADABLE,
                f"{path.name} is not what torch.save writes: it is no zip file, or was cut off.",
                remedy="Copy it again, or save it with PyTorch 1.6 or newer.",
            )
    try:
        return set(get_unsafe_globals_in_checkpoint(str(path)))
    except READ_ERRORS as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: Exception) -> Refused:
    """The refusal for what torch could not read."""
    words = said_by_torch(error)
    if _out_of_memory(words):
        return _too_large(path)
    return Refused(
        ImportRefusal.UNREADABLE, f"{path.name} cannot be read: {words}", remedy="Copy or save it again."
    )


def _out_of_memory(words: str) -> bool:
    return any(sign in words for sign in sandbox.OUT_OF_MEMORY)


def _too_large(path: Path) -> Refused:
    return Refused(
        ImportRefusal.LIMITS,
        f"Reading {path.name} needs more memory than an import may use.",
        remedy="What may be raised: IMPORT_MEMORY_MB.",
    )


def _take_compact(files: Mapping[str, Path], claims: Claims, draft: Path, size: int) -> dict[str, Any]:
    if weights.ARCHITECTURE not in files:
        raise Refused(
            ImportRefusal.INCOMPLETE,
            f"{weights.ARCHITECTURE} is missing: what the state dict in {weights.WEIGHTS} fits is unknown.",
            remedy=f"Write {weights.ARCHITECTURE} as the compact trainer does, before version.json; "
            "or export the model to ONNX.",
        )
    architecture = _architecture(files[weights.ARCHITECTURE])
    net = CompactNet(architecture)
    try:
        weights.load_into(net, files[weights.WEIGHTS])
    except InvalidInput as error:
        if _out_of_memory(error.message):
            raise _too_large(files[weights.WEIGHTS]) from error
        raise Refused(ImportRefusal.UNREADABLE, error.message, remedy=_PLAIN) from error
    if not all(bool(value.isfinite().all()) for value in net.state_dict().values()):
        raise Refused(
            ImportRefusal.BROKEN, "Weights are NaN or infinite: the training diverged.", remedy="Train again."
        )
    if CONTRACT in files:
        contract = read_contract(files[CONTRACT])
    else:
        contract = Contract(
            size=-(-(claims.size or size) // STRIDE) * STRIDE,
            stride=STRIDE,
            classes=architecture.classes,
            max_detections=_LIMIT,
        )
        check_contract(contract)
    if contract.classes != architecture.classes:
        raise Refused(
            ImportRefusal.CONTRACT,
            f"{CONTRACT} and {weights.ARCHITECTURE} name other classes.",
            remedy="They must be the same, in the same order.",
        )
    write(Detector(net, contract.max_detections), contract, draft)
    return {"kind": architecture.name}


def _architecture(path: Path) -> Architecture:
    try:
        with path.open("rb") as file:
            found = msgspec.json.decode(file.read(MOST_BYTES), type=Architecture)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(
            ImportRefusal.UNREADABLE,
            f"{path.name} does not describe a compact network: {error}.",
            remedy=_PLAIN,
        ) from error
    known = Architecture(classes=found.classes)
    sane = all(1 <= width <= _MAX_WIDTH for width in found.widths) and 1 <= len(found.classes) <= _MAX_CLASSES
    fits = found.name == known.name and found.channels in (known.channels, POST_ONLY)
    if not (fits and sane):
        raise Refused(
            ImportRefusal.CONTRACT,
            f"{path.name} describes {found.name!r} with {found.channels} channels, widths {found.widths}; "
            f"{known.name!r} with {known.channels} or {POST_ONLY} channels is known here.",
            remedy="Export the model to ONNX instead.",
        )
    return found


def write(detector: torch.nn.Module, contract: Contract, draft: Path) -> None:
    """The export, its contract, and torch's answers on seeded noise, which every later check repeats."""
    export.export(detector, contract, draft, step=contract.stride)
    (draft / CONTRACT).write_bytes(msgspec.json.encode(contract))
    side = max(min(contract.size, _GOLDEN_SIDE) // contract.stride, 1) * contract.stride
    random = np.random.default_rng(0)
    pictures = [
        random.integers(0, 256, (side, side, len(contract.channels)), dtype=np.uint8) for _ in range(_GOLDEN)
    ]
    export.golden(detector, pictures, draft)
