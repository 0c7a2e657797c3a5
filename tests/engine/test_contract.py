"""The contract read off a graph, without loading it."""

import contextlib
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from serinus.core.errors import InvalidInput
from serinus.engine.contract import derive_contract
from serinus.engine.graph import read_graph
from serinus.engine.session import Model
from tests import models

BASE = Path(__file__).parents[2] / "src/serinus/base/model.onnx"


def graph(
    path: Path,
    given: list[int | str] | None = None,
    gives: list[int | str] | None = None,
    *,
    kind: int = TensorProto.UINT8,
    name: str = "pixels",
) -> Path:
    shape = ["N", "H", "W", 6] if given is None else given
    result = ["N", 40, 6] if gives is None else gives
    made = helper.make_graph(
        [helper.make_node("Identity", [name], ["boxes"])],
        "g",
        [helper.make_tensor_value_info(name, kind, shape)],
        [helper.make_tensor_value_info("boxes", TensorProto.FLOAT, result)],
    )
    path.write_bytes(helper.make_model(made).SerializeToString())
    return path


def test_a_graph_for_one_picture_at_a_time_fits(tmp_path: Path) -> None:
    assert derive_contract(graph(tmp_path / "model.onnx", given=[1, "H", "W", 6])).stride == 32


def test_names_and_fixed_rows_are_read_off(tmp_path: Path) -> None:
    contract = derive_contract(graph(tmp_path / "model.onnx"))
    assert (contract.input_name, contract.output_name, contract.max_detections) == ("pixels", "boxes", 40)


def test_it_says_what_the_runtime_says_and_the_model_loads_with_it() -> None:
    read = read_graph(BASE)
    session = ort.InferenceSession(str(BASE), providers=["CPUExecutionProvider"])
    assert [(v.name, list(v.shape)) for v in read.inputs] == [(i.name, i.shape) for i in session.get_inputs()]
    assert [(v.name, list(v.shape)) for v in read.outputs] == [
        (o.name, o.shape) for o in session.get_outputs()
    ]
    Model.load(BASE, derive_contract(BASE))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"given": ["N", "H", "W", 3]}, "[N, H, W, 3]"),
        ({"given": ["N", 6, "H"]}, "[N, 6, H]"),
        ({"kind": TensorProto.FLOAT}, "float32"),
        ({"given": [1, 640, 640, 6]}, "any height and width"),
        ({"given": [2, "H", "W", 6]}, "a batch of 1"),
        ({"gives": ["N", "K", 5]}, "outputs"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, changes: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        derive_contract(graph(tmp_path / "model.onnx", **changes))  # type: ignore[arg-type]
    assert words in refused.value.message
    assert "Export one graph" in refused.value.remedy


def test_files_beside_the_graph_are_found_also_in_inner_graphs(tmp_path: Path) -> None:
    g = models.Graph()
    model = g.model(models._detect(g, models._busy(g, models._pixels(g), 3), 0))
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(4096, np.float32), "heavy"))
    inner = next(node for node in model.graph.node if node.op_type == "Loop").attribute[0].g
    inner.initializer.append(numpy_helper.from_array(np.ones(4096, np.float32), "deep"))
    path = tmp_path / "model.onnx"
    onnx.save_model(model, str(path), save_as_external_data=True, all_tensors_to_one_file=False)
    beside = {file.name for file in tmp_path.iterdir() if file != path}
    assert len(beside) >= 2 and set(read_graph(path).external) == beside


@pytest.mark.parametrize("data", [b"", b"\x00", b"not a model", b"\x3a\xff\xff\xff\xff\x0f", b"\x80" * 40])
def test_what_is_no_model_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(data)
    with pytest.raises(InvalidInput):
        derive_contract(tmp_path / "model.onnx")


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 10_000), to=st.binary(min_size=1, max_size=8))
def test_damage_is_refused_or_read_never_worse(tmp_path: Path, at: int, to: bytes) -> None:
    whole = models.healthy_graph().SerializeToString()
    at %= len(whole)
    path = tmp_path / "model.onnx"
    path.write_bytes(whole[:at] + to + whole[at + len(to) :])
    with contextlib.suppress(InvalidInput):
        derive_contract(path)
