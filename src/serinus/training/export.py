"""From torch to `model.onnx`, and the golden results that prove they agree."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from serinus.artifact.manifest import Contract
from serinus.core.errors import ModelFault
from serinus.engine import trial
from serinus.engine.output import mismatch
from serinus.training.network import STRIDE

MODEL = "model.onnx"
GOLDEN = "training/golden.npz"
_OPSET = 18
_CONFIDENCE_TOLERANCE = 1e-3
_PIXEL_TOLERANCE = 0.1
_FLOOR = 0.05
"""Detections weaker than this need no partner."""


def export(detector: nn.Module, contract: Contract, out: Path, *, step: int = STRIDE) -> None:
    """Writes `out`/model.onnx: one file, any batch, height and width (multiples of `step`).

    `detector` gives float32 [N, K, 6] for uint8 [N, H, W, channels].
    """
    detector = detector.cpu().eval()
    example = torch.zeros((1, 2 * step, 3 * step, len(contract.channels)), dtype=torch.uint8)
    with warnings.catch_warnings():
        # That this exporter is the older one, and which constants it leaves to the runtime to fold.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.filterwarnings("ignore", "Constant folding", UserWarning)
        torch.onnx.export(
            detector,
            (example,),
            str(out / MODEL),
            input_names=[contract.input_name],
            output_names=[contract.output_name],
            dynamic_axes={
                contract.input_name: {0: "N", 1: "H", 2: "W"},
                contract.output_name: {0: "N", 1: "K"},
            },
            opset_version=_OPSET,
            dynamo=False,  # the dynamo exporter needs onnxscript and writes a second file
        )


def golden(detector: nn.Module, images: Sequence[npt.NDArray[np.uint8]], out: Path) -> None:
    """Writes `out`/training/golden.npz: `images` uint8 [H, W, 6], padded to one size, and torch's answers."""
    height = max(image.shape[0] for image in images)
    width = max(image.shape[1] for image in images)
    batch = np.zeros((len(images), height, width, images[0].shape[2]), np.uint8)
    for row, image in zip(batch, images, strict=True):
        row[: image.shape[0], : image.shape[1]] = image
    detector = detector.cpu().eval()
    with torch.inference_mode():
        detections = np.concatenate([detector(torch.from_numpy(row[None])).numpy() for row in batch])
    (out / GOLDEN).parent.mkdir(exist_ok=True)
    np.savez_compressed(out / GOLDEN, images=batch, detections=detections.astype(np.float32))


def prove(draft: Path, contract: Contract, *, seconds: float, memory_mb: int) -> None:
    """Runs `draft`/model.onnx in the sandbox on its golden pictures and compares it with torch.

    Raises ModelFault when it breaks a limit, answers what nobody should see, or differs.
    """
    with np.load(draft / GOLDEN, allow_pickle=False) as arrays:
        images, expected = arrays["images"], arrays["detections"]
    found = trial.run(draft, contract, list(images), seconds=seconds, memory_mb=memory_mb)
    for number, (ours, theirs) in enumerate(zip(expected, found, strict=True)):
        words = mismatch(
            ours, theirs, floor=_FLOOR, confidence=_CONFIDENCE_TOLERANCE, pixels=_PIXEL_TOLERANCE
        )
        if words:
            raise ModelFault(f"The export differs from torch on golden picture {number}: {words}.")
