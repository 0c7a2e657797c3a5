"""A real mistake on purpose, for the demo: an export with the grid of its square example baked in.

Such a graph is right on every square picture of that size, and so on all golden pairs; on the tiles at the
edge of an area, which are not square, the runtime raises. No check before the traffic finds it.
"""

import shutil
from pathlib import Path

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from serinus.artifact.files import sha256_file
from serinus.artifact.manifest import Lineage, Manifest
from serinus.core.errors import InvalidInput

_GOLDEN = "training/golden.npz"


TRAINER = "fixed-square-grid"
JOB = "job"
"""In the settings of such a version: whose work it is."""


def fixed_square_grid(artifact: Path, draft: Path, *, side: int, job: str = "") -> Path:
    """Makes `draft` from the version in `artifact`: equal answers on `side` x `side` pictures, else an error.

    `job` is noted, if there is one. `draft` must not exist. Gives `draft`. Raises InvalidInput when the
    golden pictures of `artifact` have another size: the draft would not pass its own golden results.
    """
    manifest_file = artifact / "manifest.json"
    manifest = msgspec.json.decode(manifest_file.read_bytes(), type=Manifest)
    with np.load(artifact / _GOLDEN, allow_pickle=False) as arrays:
        height, width = arrays["images"].shape[1:3]
    if (height, width) != (side, side):
        raise InvalidInput(f"{artifact.name} has golden pictures of {width}x{height}, not {side}x{side}.")
    model = onnx.load(str(artifact / "model.onnx"))
    _bake_grid(model.graph, manifest.contract.input_name, side)
    (draft / "training").mkdir(parents=True)
    onnx.save(model, str(draft / "model.onnx"))
    shutil.copyfile(artifact / _GOLDEN, draft / _GOLDEN)
    lineage = Lineage(
        trainer=TRAINER,
        config={"side": side} | ({JOB: job} if job else {}),
        dataset=manifest.lineage.dataset,
        parent=sha256_file(manifest_file),
        tiles=manifest.lineage.tiles,
        code=manifest.lineage.code,
    )
    (draft / "contract.json").write_bytes(msgspec.json.encode(manifest.contract))
    (draft / "lineage.json").write_bytes(msgspec.json.encode(lineage))
    (draft / "metrics.json").write_bytes(msgspec.json.encode(manifest.metrics))
    return draft


def _bake_grid(graph: onnx.GraphProto, source: str, side: int) -> None:
    """Puts `pixels * grid of ones [1, side, side, 1]` between the input and whoever reads it."""
    for node in graph.node:
        node.input[:] = ["gridded" if name == source else name for name in node.input]
    graph.initializer.append(numpy_helper.from_array(np.ones((1, side, side, 1), np.float32), "grid"))
    front = (
        helper.make_node("Cast", [source], ["on_grid"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["on_grid", "grid"], ["weighted"]),
        helper.make_node("Cast", ["weighted"], ["gridded"], to=TensorProto.UINT8),
    )
    for place, node in enumerate(front):
        graph.node.insert(place, node)
