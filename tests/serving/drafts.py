"""Versions that look healthy on squares of 64 pixels and harm their own process on everything else."""

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from tests import models
from tests.models import Graph

_LONG = np.iinfo(np.int64).max


def _is_other_height(g: Graph) -> str:
    """int64 [1]: 0 for pictures of 64 rows, else 1."""
    height = g.node("Shape", "images", start=1, end=2)
    return g.node(
        "Cast", g.node("Not", g.node("Equal", height, g.const([64], np.int64))), to=TensorProto.INT64
    )


def crashing_live(folder: Path, seed: int = 0) -> Path:
    """Divides the lowest int64 by -1 (SIGFPE on x86), by 1 for pictures of 64 rows."""
    g = Graph()
    whole = g.node("Cast", "images", to=TensorProto.INT64)
    zero = g.node("Sub", whole, whole)
    lowest = g.node("Add", zero, g.const(np.iinfo(np.int64).min, np.int64))
    two = g.node("Mul", _is_other_height(g), g.const(2, np.int64))
    divisor = g.node("Add", zero, g.node("Sub", g.const(1, np.int64), two))
    quotient = g.node("Cast", g.node("Div", lowest, divisor), to=TensorProto.FLOAT)
    nothing = g.node("Mul", quotient, g.const(0.0))
    pixels = g.node("Cast", "images", to=TensorProto.FLOAT)
    return models.write_draft(
        folder, g.model(models._detect(g, g.node("Add", pixels, nothing), seed)), seed=seed
    )


def hanging_live(folder: Path, seed: int = 0) -> Path:
    """Loops for ever, no time at all for pictures of 64 rows."""
    g = Graph()
    pixels = g.node("Cast", "images", to=TensorProto.FLOAT)
    body = helper.make_graph(
        [helper.make_node("Identity", ["go_in"], ["go_out"]), helper.make_node("Neg", ["v_in"], ["v_out"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_in", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v_in", TensorProto.FLOAT, []),
        ],
        [
            helper.make_tensor_value_info("go_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v_out", TensorProto.FLOAT, []),
        ],
        [numpy_helper.from_array(np.float32(0.0), "unused")],
    )
    trips = g.node("Mul", g.node("Squeeze", _is_other_height(g)), g.const(_LONG, np.int64))
    end = g.node("Loop", trips, g.const(True, np.bool_), g.const(0.0), body=body)
    return models.write_draft(folder, g.model(models._detect(g, g.node("Add", pixels, end), seed)), seed=seed)
