from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
import torch

import serinus
from serinus.artifact.manifest import Contract
from serinus.engine.output import mismatch
from serinus.engine.session import Model
from serinus.training import weights
from serinus.training.network import CompactNet, Detector


def _both(draft: Path) -> tuple[Model, Detector]:
    contract = msgspec.json.decode((draft / "contract.json").read_bytes(), type=Contract)
    architecture = msgspec.json.decode((draft / "best.json").read_bytes(), type=weights.Architecture)
    net = CompactNet(architecture)
    weights.load_into(net, draft)
    return Model.load(draft / "model.onnx", contract), Detector(net, contract.max_detections).eval()


@pytest.mark.parametrize("shape", [(1, 96, 96), (3, 64, 112), (1, 16, 16), (2, 256, 32)])
def test_the_export_answers_as_torch_does(draft: Path, shape: tuple[int, int, int]) -> None:
    """Other batches, heights and widths than the example it was traced with."""
    model, detector = _both(draft)
    with np.load(draft / "training/golden.npz", allow_pickle=False) as arrays:
        tile = np.tile(arrays["images"][0], (3, 2, 1))
    n, height, width = shape
    images = np.stack([np.roll(tile, 7 * i, axis=1)[:height, :width] for i in range(n)])
    with torch.inference_mode():
        expected = detector(torch.from_numpy(images)).numpy()
    found = model.infer(images)
    assert found.shape == expected.shape
    for ours, theirs in zip(expected, found, strict=True):
        assert mismatch(ours, theirs, floor=0.02, confidence=1e-4, pixels=0.02) == ""
    assert (expected[..., 4] > 0.02).any()


def test_it_is_one_file_of_plain_operators(draft: Path) -> None:
    model = onnx.load(str(draft / "model.onnx"), load_external_data=False)
    onnx.checker.check_model(model, full_check=True)
    assert all(not tensor.external_data for tensor in model.graph.initializer)
    assert {node.domain for node in model.graph.node} == {""}
    assert {entry.version for entry in model.opset_import} == {18}
    assert str(Path(serinus.__file__).parent).encode() not in model.SerializeToString()
