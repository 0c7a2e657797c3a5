from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest

from serinus.artifact.manifest import Contract
from serinus.core.errors import InvalidInput, ModelFault
from serinus.engine.output import InvalidOutput
from serinus.engine.session import Model
from tests import models


def _load(draft: Path, **changes: object) -> Model:
    contract = msgspec.json.decode((draft / "contract.json").read_bytes(), type=Contract)
    return Model.load(draft / "model.onnx", msgspec.structs.replace(contract, **changes))


def test_any_batch_height_and_width(tmp_path: Path) -> None:
    model = _load(models.healthy(tmp_path / "m"))
    for n, height, width in ((1, 64, 64), (3, 32, 128), (2, 16, 16)):
        found = model.infer(np.full((n, height, width, 6), 100, np.uint8))
        assert found.shape == (n, min(8, height * width // 256), 6)
        assert found.dtype == np.float32


def test_answers_do_not_depend_on_threads(tmp_path: Path) -> None:
    draft = models.healthy(tmp_path / "m")
    contract = Contract(size=64, max_detections=8)
    one, two = (Model.load(draft / "model.onnx", contract, threads=n) for n in (1, 2))
    images = models.golden_images(64, 3)
    np.testing.assert_array_equal(one.infer(images), two.infer(images))


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((1, 64, 64, 3), np.uint8),
        np.zeros((64, 64, 6), np.uint8),
        np.zeros((1, 64, 64, 6), np.float32),
        np.zeros((1, 60, 64, 6), np.uint8),
        np.zeros((1, 64, 65, 6), np.uint8),
        np.zeros((0, 64, 64, 6), np.uint8),
        np.zeros((1, 0, 64, 6), np.uint8),
    ],
)
def test_pictures_that_do_not_fit_are_the_callers_fault(tmp_path: Path, images: np.ndarray) -> None:
    model = _load(models.healthy(tmp_path / "m"))
    with pytest.raises(InvalidInput, match=r"must be multiples|takes uint8"):
        model.infer(images)


def test_a_raising_model_is_the_models_fault(tmp_path: Path) -> None:
    model = _load(models.raising(tmp_path / "m", only_when_height_is_not=64))
    assert model.infer(models.golden_images(64)).shape == (2, 8, 6)
    with pytest.raises(ModelFault, match="raised on an input of 2x48x48x6") as raised:
        model.infer(models.golden_images(48))
    assert "onnxruntime_src" not in str(raised.value)
    assert "Attempting to broadcast" in str(raised.value)


def test_a_wrong_shape_is_an_invalid_output(tmp_path: Path) -> None:
    model = _load(models.wrong_shape(tmp_path / "m"))
    with pytest.raises(InvalidOutput, match=r"\[2, 8, 5\]"):
        model.infer(models.golden_images())


def test_more_detections_than_the_contract_allows(tmp_path: Path) -> None:
    model = _load(models.healthy(tmp_path / "m"), max_detections=5)
    with pytest.raises(InvalidOutput, match="8 detections, over 5"):
        model.infer(models.golden_images())


@pytest.mark.parametrize("content", [b"", b"hello", b"\x08\x09garbage" * 100])
def test_what_is_no_model_does_not_load(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(ModelFault, match=r"model\.onnx does not load"):
        Model.load(tmp_path / "model.onnx", Contract())


def test_a_missing_file_does_not_load(tmp_path: Path) -> None:
    with pytest.raises(ModelFault, match="does not load"):
        Model.load(tmp_path / "model.onnx", Contract())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"input_name": "pictures"}, "inputs are 'images', not the contract's 'pictures'"),
        ({"output_name": "boxes"}, "without 'boxes'"),
        ({"channels": ("post_r", "post_g", "post_b")}, r"not the contract's uint8 \[N, H, W, 3\]"),
    ],
)
def test_a_model_that_misses_its_contract_does_not_load(tmp_path: Path, change: dict, words: str) -> None:
    with pytest.raises(ModelFault, match=words):
        _load(models.healthy(tmp_path / "m"), **change)


def test_fixed_sizes_are_refused_at_load(tmp_path: Path) -> None:
    graph = models.healthy_graph()
    for place, size in ((1, 64), (2, 64)):
        graph.graph.input[0].type.tensor_type.shape.dim[place].dim_value = size
    onnx.save(graph, tmp_path / "model.onnx")
    with pytest.raises(ModelFault, match="has fixed H, W"):
        Model.load(tmp_path / "model.onnx", Contract())


def test_weights_outside_the_folder_are_refused(tmp_path: Path) -> None:
    """External data may lie beside the model, never above it."""
    secret = tmp_path / "secret.bin"
    secret.write_bytes(np.ones(1 << 12, np.float32).tobytes())
    folder = tmp_path / "draft"
    folder.mkdir()
    g = models.Graph()
    weights = g.const(np.zeros((1, 1, 1, 6)))
    model = g.model(models._detect(g, g.node("Add", models._pixels(g), weights), 0))
    tensor = next(t for t in model.graph.initializer if t.name == weights)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", "../secret.bin"), ("offset", "0"), ("length", "24")):
        tensor.external_data.add(key=key, value=value)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelFault, match="does not load"):
        Model.load(folder / "model.onnx", Contract())
