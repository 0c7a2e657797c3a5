"""A model that does nothing: what is left is the server."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_CONTRACT = b'{"size":256}'
"""All else as by default; the size is what the raw loop and the peers read."""


def write_noop(folder: Path) -> None:
    """A draft whose network finds one box of confidence 0 in every picture."""
    folder.mkdir()
    nothing = numpy_helper.from_array(np.zeros((1, 1, 6), np.float32), "nothing")
    graph = helper.make_graph(
        [helper.make_node("Identity", ["nothing"], ["detections"])],
        "noop",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", "h", "w", 6])],
        [helper.make_tensor_value_info("detections", TensorProto.FLOAT, ["n", "k", 6])],
        [nothing],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(folder / "model.onnx"))
    (folder / "contract.json").write_bytes(_CONTRACT)
