"""Versions that misbehave in ways that no graph can; see `onnxruntime` beside this, which plays them."""

from pathlib import Path

import msgspec
import onnx

from serinus.artifact.manifest import Contract
from tests import models

ENVIRONMENT = {"PYTHONPATH": str(Path(__file__).parent)}
"""Of a process in which they misbehave."""
SIZE = 256
"""Rows and columns of the pictures that they are made for."""


def draft(folder: Path, misdeed: str = "", *, seed: int = 0, rounds: int = 0) -> Path:
    """A version for pictures of 256 x 256. `misdeed`: what the fake runtime does, none for a good version;
    `rounds`: how much work a picture is, see `models.slow`."""
    g = models.Graph()
    pixels = models._pixels(g)
    if rounds:
        pixels = models._busy(g, pixels, rounds)
    graph = g.model(models._detect(g, pixels, seed))
    if misdeed:
        onnx.helper.set_model_props(graph, {"misdeed": misdeed})
    models.write_draft(folder, graph, seed=seed)
    contract = Contract(size=SIZE, stride=models.CELL, max_detections=models.FOUND)
    (folder / "contract.json").write_bytes(msgspec.json.encode(contract))
    return folder
