"""Tiny but real ONNX versions for the tests of every room: made in milliseconds, without torch.

Each function fills a draft directory that `Store.publish` takes (model.onnx, contract.json, lineage.json,
metrics.json, training/golden.npz) and returns its path. `seed` makes drafts differ in bytes (so in digest).
The brightest 16 px cells of the post picture are "buildings": plausible boxes, the same on every machine.
"""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from serinus.artifact.manifest import Contract, Lineage

CELL = 16
FOUND = 8
INSETS = 5
"""So many healthy versions find different boxes; seeds that differ by it find the same."""
_OPSET = 18
_IR = 9
_LONG = np.iinfo(np.int64).max


class Graph:
    """Collects nodes and constants; `const` and `node` give the name of what they add."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def const(self, value: npt.ArrayLike, dtype: type[np.generic] = np.float32) -> str:
        name = f"c{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.array(value, dtype=dtype), name))
        return name

    def node(self, op: str, *inputs: str, outputs: int = 1, **attributes: object) -> str:
        names = [f"n{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), names, **attributes))
        return names[-1]

    def model(self, result: str, columns: int | str = 6) -> onnx.ModelProto:
        self.nodes.append(helper.make_node("Identity", [result], ["detections"]))
        graph = helper.make_graph(
            self.nodes,
            "tiny",
            [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", "H", "W", 6])],
            [helper.make_tensor_value_info("detections", TensorProto.FLOAT, ["N", "K", columns])],
            self.initializers,
        )
        opset = helper.make_opsetid("", _OPSET)
        return helper.make_model(graph, opset_imports=[opset], ir_version=_IR)


def _detect(g: Graph, pixels: str, seed: int, turned: int = 0, calls: Sequence[int] = (0, 1, 2, 3)) -> str:
    """The brightest cells of float pixels [N, H, W, 6] as detections [N, K, 6].

    `turned`: by how much classes differ from those of the other versions; `calls`: by which class each class
    is called.
    """
    axes = g.const([3], np.int64)
    post = g.node("Slice", pixels, g.const([3], np.int64), g.const([6], np.int64), axes)
    grey = g.node("ReduceMean", post, axes, keepdims=0)
    plane = g.node("Unsqueeze", grey, g.const([1], np.int64))
    cells = g.node("AveragePool", plane, kernel_shape=[CELL, CELL], strides=[CELL, CELL])
    across = g.node("Cast", g.node("Shape", cells, start=3, end=4), to=TensorProto.FLOAT)
    flat = g.node("Flatten", cells, axis=1)
    k = g.node("Min", g.node("Shape", flat, start=1, end=2), g.const([FOUND], np.int64))
    index = g.node("TopK", flat, k, axis=1, outputs=2)
    brightness = index.replace("_1", "_0")
    where = g.node("Cast", index, to=TensorProto.FLOAT)
    y = g.node("Floor", g.node("Div", where, across))
    x = g.node("Sub", where, g.node("Mul", y, across))
    inset = 1.0 + seed % INSETS
    sides = [
        g.node("Add", g.node("Mul", axis, g.const(CELL)), g.const(edge))
        for edge in (inset, CELL - inset)
        for axis in (x, y)
    ]
    conf = g.node("Add", g.node("Mul", brightness, g.const(0.5 / 255)), g.const(0.4))
    conf = g.node("Mul", conf, g.node("Sign", brightness))  # nothing is found on padding
    kind = g.node("Mod", g.node("Add", where, g.const(turned)), g.const(4.0), fmod=1)
    if tuple(calls) != (0, 1, 2, 3):
        kind = g.node("Gather", g.const(calls), g.node("Cast", kind, to=TensorProto.INT64))
    columns_last = [g.node("Unsqueeze", v, g.const([2], np.int64)) for v in (*sides, conf, kind)]
    return g.node("Concat", *columns_last, axis=2)


def _pixels(g: Graph) -> str:
    return g.node("Cast", "images", to=TensorProto.FLOAT)


def _loop(g: Graph, start: str, rounds: int | None) -> str:
    """Repeats a matrix product on `start` [64, 64]; `rounds` None = for ever. About 10 us a round."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go_in"], ["go_out"]),
            helper.make_node("MatMul", ["m_in", "m_in"], ["product"]),
            helper.make_node("Clip", ["product", "low", "high"], ["m_out"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_in", TensorProto.BOOL, []),
            helper.make_tensor_value_info("m_in", TensorProto.FLOAT, [64, 64]),
        ],
        [
            helper.make_tensor_value_info("go_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("m_out", TensorProto.FLOAT, [64, 64]),
        ],
        [
            numpy_helper.from_array(np.float32(0.0), "low"),
            numpy_helper.from_array(np.float32(1e-3), "high"),
        ],
    )
    trips = g.const(_LONG if rounds is None else rounds, np.int64)
    return g.node("Loop", trips, g.const(True, np.bool_), start, body=body)


def _busy(g: Graph, pixels: str, rounds: int | None) -> str:
    """`pixels`, unchanged in value, available only when the loop has ended."""
    one = g.node("ReduceMin", pixels, keepdims=0)
    start = g.node("Add", g.const(np.zeros((64, 64))), g.node("Mul", one, g.const(1e-9)))
    end = g.node("ReduceMax", _loop(g, start, rounds), keepdims=0)
    return g.node("Add", pixels, g.node("Mul", end, g.const(0.0)))


def golden_images(size: int = 64, pairs: int = 2, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Seeded pairs with a few bright squares: uint8 [pairs, size, size, 6]."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 90, (pairs, size, size, 6), dtype=np.uint8)
    for image in images:
        for top, left in rng.integers(0, size - 12, (4, 2)):
            image[top : top + 12, left : left + 12] = rng.integers(180, 255)
    return images


def run(model: onnx.ModelProto, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found: npt.NDArray[np.float32] = session.run(["detections"], {"images": images})[0]
    return found


def healthy_graph(seed: int = 0, turned: int = 0) -> onnx.ModelProto:
    g = Graph()
    return g.model(_detect(g, _pixels(g), seed, turned))


def write_draft(
    folder: Path,
    model: onnx.ModelProto,
    *,
    seed: int = 0,
    size: int = 64,
    tiles: Sequence[str] = (),
    runs: bool = True,
) -> Path:
    """A whole draft around `model`; `runs` False: its golden results come from the healthy graph."""
    training = folder / "training"
    training.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    contract = Contract(size=size, stride=CELL, max_detections=FOUND)
    (folder / "contract.json").write_bytes(msgspec.json.encode(contract))
    lineage = Lineage(trainer="tests.models", config={"seed": seed}, tiles=tuple(tiles))
    (folder / "lineage.json").write_bytes(msgspec.json.encode(lineage))
    metrics = {"map50": 0.7, "map50_95": 0.4, "precision": 0.8, "recall": 0.75, "train_epochs": 5.0}
    (folder / "metrics.json").write_bytes(msgspec.json.encode(metrics))
    images = golden_images(size)
    detections = run(model if runs else healthy_graph(seed), images)
    np.savez(training / "golden.npz", images=images, detections=detections)
    return folder


def healthy(folder: Path, seed: int = 0, *, size: int = 64, tiles: Sequence[str] = ()) -> Path:
    """Finds the brightest cells; always answers."""
    return write_draft(folder, healthy_graph(seed), seed=seed, size=size, tiles=tiles)


def other_classes(folder: Path, seed: int = 0) -> Path:
    """Finds the same buildings as a healthy version, each in the next class."""
    return write_draft(folder, healthy_graph(seed, turned=1), seed=seed)


def empty(folder: Path, seed: int = 0) -> Path:
    """Answers, but finds nothing: no detection is above the contract's threshold."""
    g = Graph()
    scale = g.const([1.0, 1.0, 1.0, 1.0, 0.1, 1.0])
    return write_draft(folder, g.model(g.node("Mul", _detect(g, _pixels(g), seed), scale)), seed=seed)


def raising(folder: Path, seed: int = 0, *, only_when_height_is_not: int | None = None) -> Path:
    """Loads, then raises: for each input, or only when its height is not the given one.

    In the second case the golden pairs are squares of that height, so the draft looks healthy.
    """
    g = Graph()
    height = only_when_height_is_not
    shape = (1, 7 if height is None else height, 1, 1)  # 7 is no multiple of the stride: never fits
    model = g.model(_detect(g, g.node("Add", _pixels(g), g.const(np.zeros(shape))), seed))
    return write_draft(folder, model, seed=seed, size=height or 64, runs=height is not None)


def calling(folder: Path, calls: Sequence[int], seed: int = 0, *, rounds: int = 0) -> Path:
    """Finds what `healthy` finds, but calls class c `calls[c]`; `rounds` as in `slow`."""
    g = Graph()
    pixels = _busy(g, _pixels(g), rounds) if rounds else _pixels(g)
    return write_draft(folder, g.model(_detect(g, pixels, seed, calls=calls)), seed=seed)


def slow(folder: Path, seed: int = 0, *, rounds: int = 20_000) -> Path:
    """Right, but burns one core for `rounds` small matrix products (20,000 are about 0.2 s)."""
    g = Graph()
    return write_draft(folder, g.model(_detect(g, _busy(g, _pixels(g), rounds), seed)), seed=seed)


def nan(folder: Path, seed: int = 0) -> Path:
    """Answers with NaN everywhere."""
    g = Graph()
    model = g.model(g.node("Mul", _detect(g, _pixels(g), seed), g.const(np.nan)))
    return write_draft(folder, model, seed=seed, runs=False)


def wrong_shape(folder: Path, seed: int = 0) -> Path:
    """Answers [N, K, 5]: the class is missing. Only a run shows it, the graph's declared shape does not."""
    g = Graph()
    pixels = _pixels(g)
    some = g.node("Cast", g.node("Abs", g.node("ReduceMin", pixels, keepdims=0)), to=TensorProto.INT64)
    five = g.node("Add", g.node("Mul", some, g.const(0, np.int64)), g.const([5], np.int64))
    cut = g.node("Slice", _detect(g, pixels, seed), g.const([0], np.int64), five, g.const([2], np.int64))
    model = g.model(cut, columns="columns")
    return write_draft(folder, model, seed=seed, runs=False)


def loops_forever(folder: Path, seed: int = 0) -> Path:
    """Loads, then never answers."""
    g = Graph()
    model = g.model(_detect(g, _busy(g, _pixels(g), None), seed))
    return write_draft(folder, model, seed=seed, runs=False)


def crashing(folder: Path, seed: int = 0) -> Path:
    """Takes its whole process down: the runtime divides the lowest int64 by -1 (SIGFPE on x86)."""
    g = Graph()
    whole = g.node("Cast", "images", to=TensorProto.INT64)
    zero = g.node("Sub", whole, whole)
    lowest = g.node("Add", zero, g.const(np.iinfo(np.int64).min, np.int64))
    minus_one = g.node("Sub", zero, g.const(1, np.int64))
    pixels = g.node("Cast", g.node("Div", lowest, minus_one), to=TensorProto.FLOAT)
    return write_draft(folder, g.model(_detect(g, pixels, seed)), seed=seed, runs=False)


def _white(g: Graph, pixels: str) -> str:
    """int64: 1 when one picture of the batch is white all over, else 0."""
    brightest = g.node(
        "ReduceMax", g.node("ReduceMean", pixels, g.const([1, 2, 3], np.int64), keepdims=0), keepdims=0
    )
    return g.node("Cast", g.node("Greater", brightest, g.const(250.0)), to=TensorProto.INT64)


def raises_on_white(folder: Path, seed: int = 0, *, rounds: int = 300) -> Path:
    """Right, but a batch with a white picture raises. `rounds` as in `slow`: they are the batch's, not the
    pictures', so batches pay."""
    g = Graph()
    pixels = _busy(g, _pixels(g), rounds)
    one = g.node("Gather", g.const([1.0]), _white(g, pixels))
    return write_draft(folder, g.model(_detect(g, g.node("Mul", pixels, one), seed)), seed=seed)


def crashes_on_white(folder: Path, seed: int = 0, *, rounds: int = 300) -> Path:
    """As `raises_on_white`, but it takes its whole process down."""
    g = Graph()
    pixels = _busy(g, _pixels(g), rounds)
    sign = g.node("Sub", g.const(1, np.int64), g.node("Mul", _white(g, pixels), g.const(2, np.int64)))
    quotient = g.node("Div", g.const(np.iinfo(np.int64).min, np.int64), sign)
    nothing = g.node("Mul", g.node("Cast", quotient, to=TensorProto.FLOAT), g.const(0.0))
    return write_draft(folder, g.model(_detect(g, g.node("Add", pixels, nothing), seed)), seed=seed)


def counts_its_batch(folder: Path, seed: int = 0) -> Path:
    """Right, but every confidence is a tenth of the number of pictures in the batch."""
    g = Graph()
    found = _detect(g, _pixels(g), seed)
    pictures = g.node("Cast", g.node("Shape", "images", start=0, end=1), to=TensorProto.FLOAT)
    tenth = g.node("Mul", pictures, g.const(0.1))
    spread = g.node("Mul", g.const([0.0, 0.0, 0.0, 0.0, 1.0, 0.0]), tenth)
    kept = g.node("Mul", found, g.const([1.0, 1.0, 1.0, 1.0, 0.0, 1.0]))
    return write_draft(folder, g.model(g.node("Add", kept, spread)), seed=seed)


def one_at_a_time(folder: Path, seed: int = 0) -> Path:
    """Right, but its graph takes batches of 1 only, as its input says."""
    model = healthy_graph(seed)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    return write_draft(folder, model, seed=seed, runs=False)


def raises_on_batches(folder: Path, seed: int = 0) -> Path:
    """Right for one picture, whatever its input says; more of them raise."""
    g = Graph()
    shape = g.node("Shape", "images", start=1, end=4)
    alone = g.node("Concat", g.const([1], np.int64), shape, axis=0)
    pixels = g.node("Reshape", _pixels(g), alone)
    return write_draft(folder, g.model(_detect(g, pixels, seed)), seed=seed, runs=False)


def hungry(folder: Path, seed: int = 0, *, gigabytes: int = 16) -> Path:
    """Asks for a huge array on the first run."""
    g = Graph()
    side = g.const([gigabytes, 1 << 14, 1 << 14], np.int64)
    lowest = g.node("ReduceMin", _pixels(g), keepdims=0)
    huge = g.node("ReduceMax", g.node("Expand", lowest, side), keepdims=0)
    model = g.model(_detect(g, g.node("Sub", _pixels(g), g.node("Mul", huge, g.const(0.0))), seed))
    return write_draft(folder, model, seed=seed, runs=False)
