"""Takes a foreign ONNX graph into a draft: checks the contract that comes with it, or derives one.

Only where the graph itself leaves no doubt: one uint8 input [N, H, W, 6] and one float32 output [N, K, 6].
What a graph cannot say (classes, size of the pictures) is what the trainer claims, else the documented
default; a wrong guess there is found by the trial run or by the quality gate. Loading a graph runs code of
its own (constants are folded), so this is for a process with limits.
"""

import shutil
from pathlib import Path
from typing import Any

import msgspec
import onnxruntime as ort

from serinus.artifact.claims import MOST_BYTES, Claims
from serinus.artifact.manifest import Contract
from serinus.artifact.validate import CONTRACT, MODEL, check_contract
from serinus.core.enums import ImportRefusal
from serinus.core.errors import InvalidInput, ModelFault
from serinus.engine.conversion import Refused
from serinus.engine.session import Model, open_session

_CHANNELS = len(Contract().channels)
_STRIDE = 32
"""Suits every graph of a smaller power of two, too."""
_MOST_DETECTIONS = 1000
_REMEDY = (
    f"Export one graph that takes uint8 [N, H, W, {_CHANNELS}] (pre R, G, B, post R, G, B; N, H, W dynamic) "
    "and gives float32 [N, K, 6] (x1, y1, x2, y2 in input pixels, confidence, class)."
)


def take_graph(graph: Path, contract: Path | None, claims: Claims, draft: Path, *, size: int) -> None:
    """Copies `graph` into `draft` as model.onnx, with its contract.json.

    `size`: longest side when nothing says another. Raises Refused that names what does not fit.
    """
    target = draft / MODEL
    shutil.copyfile(graph, target)
    try:
        known = read_contract(contract) if contract is not None else derived(target, claims, size)
        Model.load(target, known)
    except InvalidInput as error:
        raise Refused(ImportRefusal.CONTRACT, error.message, remedy=error.remedy) from error
    except ModelFault as error:
        code = ImportRefusal.UNREADABLE if "does not load" in error.message else ImportRefusal.CONTRACT
        raise Refused(code, error.message, remedy=_REMEDY) from error
    (draft / CONTRACT).write_bytes(msgspec.json.encode(known))


def read_contract(path: Path) -> Contract:
    """Raises InvalidInput when it is no contract that serving can obey."""
    try:
        with path.open("rb") as file:
            contract = msgspec.json.decode(file.read(MOST_BYTES), type=Contract)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(
            f"{CONTRACT} is no contract: {error}.", remedy="Correct it, or leave it out."
        ) from error
    check_contract(contract)
    return contract


def derived(path: Path, claims: Claims, size: int) -> Contract:
    """The contract that the graph at `path` keeps. Raises ModelFault that names what does not fit."""
    session = open_session(path)
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or not _fits(inputs[0], "tensor(uint8)", 4, _CHANNELS):
        raise ModelFault(f"Its inputs are {_words(inputs)}, not one uint8 [N, H, W, {_CHANNELS}].")
    fitting = [each for each in outputs if _fits(each, "tensor(float)", 3, 6)]
    if len(fitting) != 1:
        raise ModelFault(f"Its outputs are {_words(outputs)}, not one float32 [N, K, 6].")
    rows = fitting[0].shape[1]
    contract = Contract(
        size=-(-(claims.size or size) // _STRIDE) * _STRIDE,
        stride=_STRIDE,
        classes=claims.classes or Contract().classes,
        max_detections=rows if isinstance(rows, int) and rows > 0 else _MOST_DETECTIONS,
        input_name=inputs[0].name,
        output_name=fitting[0].name,
    )
    check_contract(contract)
    return contract


def _fits(value: Any, kind: str, dimensions: int, last: int) -> bool:
    """A dimension without a fixed size fits; the trial run tells."""
    shape = value.shape
    return (
        value.type == kind
        and len(shape) == dimensions
        and (shape[-1] == last or not isinstance(shape[-1], int))
    )


def _words(values: list[ort.NodeArg]) -> str:
    return ", ".join(f"{v.name!r} {v.type} {v.shape}" for v in values) or "none"
