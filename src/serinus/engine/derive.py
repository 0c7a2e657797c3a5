"""Takes a foreign ONNX graph into a draft: checks the contract that comes with it, or derives one.

What a graph cannot say (classes, size of the pictures) is what the trainer claims, else the documented
default; a wrong guess there is found by the trial run or by the quality gate. Loading a graph runs code of
its own (constants are folded), so this is for a process with limits.
"""

import shutil
from pathlib import Path

import msgspec

from serinus.artifact.claims import MOST_BYTES, Claims
from serinus.artifact.manifest import Contract
from serinus.artifact.validate import CONTRACT, MODEL, check_contract
from serinus.core.enums import ImportRefusal
from serinus.core.errors import InvalidInput, ModelFault
from serinus.engine.contract import derive_contract
from serinus.engine.conversion import Refused
from serinus.engine.session import Model, open_session

_REMEDY = "Export the graph again, so that it takes and gives what its contract says."


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
    """The contract that the graph at `path` keeps, with what its trainer claims.

    Raises ModelFault when it does not load, InvalidInput that names what does not fit.
    """
    open_session(path)
    contract = derive_contract(path)
    side = -(-(claims.size or size) // contract.stride) * contract.stride
    contract = msgspec.structs.replace(contract, size=side, classes=claims.classes or contract.classes)
    check_contract(contract)
    return contract
