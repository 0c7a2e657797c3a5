"""The contract of a graph that came without one.

Only where inputs and outputs leave no doubt: one uint8 [N, H, W, 6], one float32 [N, K, 6]. What a graph
cannot say (classes, size of the pictures, threshold) is the documented default; a wrong guess there is found
by the trial run or by the quality gate before it sees traffic. Nothing is loaded or run for this.
"""

from pathlib import Path

from serinus.artifact.manifest import Contract
from serinus.core.errors import InvalidInput
from serinus.engine.graph import Value, read_graph

_CHANNELS = len(Contract().channels)
_COLUMNS = 6
_STRIDE = 32
"""Suits a graph of any smaller power of two, too."""
_MOST_DETECTIONS = 1000
_REMEDY = (
    f"Export one graph that takes uint8 [N, H, W, {_CHANNELS}] (pre R, G, B, post R, G, B; N, H, W dynamic) "
    "and gives float32 [N, K, 6] (x1, y1, x2, y2 in input pixels, confidence, class)."
)


def derive_contract(model: Path) -> Contract:
    """The contract that the graph at `model` keeps. Raises InvalidInput that names what does not fit."""
    graph = read_graph(model)
    if len(graph.inputs) != 1 or not _fits(graph.inputs[0], "uint8", 4, _CHANNELS):
        raise _misfit("inputs", graph.inputs, f"one uint8 [N, H, W, {_CHANNELS}]")
    given = graph.inputs[0]
    batch, *sides = given.shape[:3]
    if any(isinstance(side, int) for side in sides) or (isinstance(batch, int) and batch != 1):
        raise _misfit("inputs", graph.inputs, "of any height and width, and any batch or a batch of 1")
    fitting = [value for value in graph.outputs if _fits(value, "float32", 3, _COLUMNS)]
    if len(fitting) != 1:
        raise _misfit("outputs", graph.outputs, f"one float32 [N, K, {_COLUMNS}]")
    rows = fitting[0].shape[1]
    return Contract(
        stride=_STRIDE,
        max_detections=rows if isinstance(rows, int) and rows > 0 else _MOST_DETECTIONS,
        input_name=given.name,
        output_name=fitting[0].name,
    )


def _fits(value: Value, kind: str, dimensions: int, last: int) -> bool:
    """A last dimension without a fixed size fits; the trial run tells."""
    shape = value.shape
    return (
        value.kind == kind and len(shape) == dimensions and (isinstance(shape[-1], str) or shape[-1] == last)
    )


def _misfit(what: str, values: tuple[Value, ...], asked: str) -> InvalidInput:
    words = ", ".join(map(str, values)) or "none"
    return InvalidInput(f"The graph's {what} are {words}, not {asked}.", remedy=_REMEDY)
