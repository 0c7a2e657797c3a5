"""What a trainer hands in: a draft folder, read and checked before anything is published.

    model.onnx      what serving runs; required
    contract.json   `Contract`; required
    best.pt, best.json, training/**, anything else: kept as it is
    lineage.json    `Lineage`; optional
    metrics.json    name -> finite number; optional

The three documents move into the manifest, so that there is one copy of each truth.
"""

import math
from pathlib import Path
from typing import TypeVar

import msgspec

from serinus.artifact.files import copy_regular, file_entries, regular_files
from serinus.artifact.manifest import Contract, Lineage, Manifest
from serinus.core.errors import Corrupt, InvalidInput

MODEL = "model.onnx"
MANIFEST = "manifest.json"
CONTRACT = "contract.json"
LINEAGE = "lineage.json"
METRICS = "metrics.json"

_MAX_SIDE = 16_384
_T = TypeVar("_T")


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A checked draft folder."""

    folder: Path
    contract: Contract
    lineage: Lineage
    metrics: dict[str, float]
    payload: tuple[str, ...]
    """Relative paths of the files that become the artifact's, sorted."""


def read_draft(folder: Path) -> Draft:
    """Reads and checks a draft. Raises InvalidInput that names the file and what is wrong with it."""
    if folder.is_symlink() or not folder.is_dir():
        raise InvalidInput(f"{folder} is not a folder.", remedy="Give the folder that holds model.onnx.")
    files = regular_files(folder)
    for required in (MODEL, CONTRACT):
        if required not in files:
            raise InvalidInput(
                f"{folder} has no {required}.",
                remedy="A version needs model.onnx and contract.json (how the model wants its input).",
            )
    if files[MODEL].stat().st_size == 0:
        raise InvalidInput(f"{files[MODEL]} is empty.", remedy="Export the model again.")
    if MANIFEST in files:
        raise InvalidInput(
            f"{files[MANIFEST]} is in the way: the manifest is made at publication.",
            remedy="Remove it; put contract.json, lineage.json and metrics.json there instead.",
        )
    contract = _read(files[CONTRACT], Contract)
    check_contract(contract)
    metrics = _read(files[METRICS], dict[str, float]) if METRICS in files else {}
    return Draft(
        folder=folder,
        contract=contract,
        lineage=_read(files[LINEAGE], Lineage) if LINEAGE in files else Lineage(),
        metrics=check_metrics(metrics),
        payload=tuple(name for name in files if name not in (CONTRACT, LINEAGE, METRICS)),
    )


def write_draft(folder: Path, artifact: Path, manifest: Manifest) -> None:
    """Makes `folder` a draft with what an artifact holds, so that it can be published again.

    Raises Corrupt when the artifact's files are not those of `manifest`.
    """
    folder.mkdir()
    for name in manifest.files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        copy_regular(artifact / name, folder / name)
    if file_entries(folder) != manifest.files:
        raise Corrupt(
            f"A file of {artifact} is not what was published: its hash does not match.",
            remedy="Publish the model again from where it was made.",
        )
    for name, document in (
        (CONTRACT, manifest.contract),
        (LINEAGE, manifest.lineage),
        (METRICS, manifest.metrics),
    ):
        (folder / name).write_bytes(msgspec.json.encode(document))


def _read(path: Path, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} cannot be read: {error}.", remedy="Write it again as JSON.") from error


def check_metrics(metrics: dict[str, float]) -> dict[str, float]:
    """`metrics` itself when every value is finite: JSON has no NaN, so another would not be read back."""
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise InvalidInput(
                f"The metric {name} is {value}.", remedy="Leave out what could not be measured."
            )
    return metrics


def check_contract(contract: Contract) -> None:
    """Raises InvalidInput unless serving can obey `contract`.

    The channels must be the order that the one stacking function gives (the default of `Contract`): a
    mismatch is refused here and not at the first request.
    """
    supported = Contract().channels
    problems = {
        f"channels are {', '.join(contract.channels)}; serving stacks {', '.join(supported)}": (
            contract.channels != supported
        ),
        f"stride {contract.stride} is not in 1..{_MAX_SIDE}": not 1 <= contract.stride <= _MAX_SIDE,
        f"size {contract.size} is not in stride..{_MAX_SIDE}": not contract.stride
        <= contract.size
        <= _MAX_SIDE,
        "classes are missing, empty or named twice": (
            not contract.classes
            or not all(name.strip() for name in contract.classes)
            or len(set(contract.classes)) != len(contract.classes)
        ),
        f"score_threshold {contract.score_threshold} is not in [0, 1]": not 0
        <= contract.score_threshold
        <= 1,
        f"max_detections {contract.max_detections} is not in 1..100000": (
            not 1 <= contract.max_detections <= 100_000
        ),
        "input_name or output_name is empty": not (contract.input_name and contract.output_name),
    }
    found = [words for words, wrong in problems.items() if wrong]
    if found:
        raise InvalidInput(f"The contract is wrong: {'; '.join(found)}.", remedy=f"Correct {CONTRACT}.")
