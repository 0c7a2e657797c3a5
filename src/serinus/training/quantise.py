"""An int8 variant of a version: another draft, which goes through the same checks as any other.

Static quantisation (Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference") by ONNX Runtime: pictures of the training split show how large the values
between the layers are. Only convolutions become int8, and of them not the last ones on each way to the
output: what follows (peaks, top-k, boxes) and the layers that feed it need the resolution, and cost little.
Confidences drift, so the threshold for users is chosen anew on the validation split.
"""

import hashlib
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from serinus.artifact.card import write_card
from serinus.artifact.manifest import Contract, Lineage, Manifest
from serinus.core.errors import Cancelled, InvalidInput, ModelFault
from serinus.core.ids import Digest
from serinus.data.dataset import Dataset, Pair, Split, load_pair
from serinus.engine import trial
from serinus.engine.session import Model
from serinus.evaluation.detection import Metrics, evaluate
from serinus.imagery.stack import Fitted, fit, to_original

MODEL = "model.onnx"
GOLDEN = "training/golden.npz"
_KEPT = ("best.pt", "best.json")
_TRIED = 4
"""Pictures on which the parent has a trial run before it runs in this process, and the golden ones."""
_ROUNDS = 9
_THRESHOLDS = (0.1, 0.8)
SETTINGS: dict[str, Any] = {
    "format": "QDQ",
    "activations": "uint8",
    "weights": "int8",
    "per_channel": True,
    # Without it sums of products saturate on processors that lack VNNI, and answers differ between machines.
    "reduce_range": True,
    "calibration": "min-max",
    "operators": ["Conv"],
}

Say = Callable[[float, str], None]
Images = npt.NDArray[np.uint8]


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """The variant beside its parent, measured in one run on this machine."""

    measured_on: str
    """Split."""
    pictures: int
    map50: float
    parent_map50: float
    map50_95: float
    parent_map50_95: float
    bytes: int
    """Of model.onnx."""
    parent_bytes: int
    milliseconds: float
    """CPU time of one picture on one thread, median."""
    parent_milliseconds: float
    threshold: float
    """Confidence from which on users see detections."""
    parent_threshold: float

    @property
    def speed(self) -> float:
        """How many times as fast as its parent; below 1: slower."""
        return self.parent_milliseconds / self.milliseconds


class Variant(msgspec.Struct, frozen=True, kw_only=True):
    """What `quantise` wrote: a draft that `Store.publish` takes."""

    draft: Path
    comparison: Comparison


class _Pictures:
    """Pairs of a split, fitted as serving does, read when they are needed."""

    def __init__(self, dataset: Dataset, pairs: Sequence[Pair], contract: Contract) -> None:
        self._dataset, self._pairs, self._contract = dataset, pairs, contract

    def __len__(self) -> int:
        return len(self._pairs)

    def fitted(self) -> Iterator[tuple[Fitted, npt.NDArray[np.float32], npt.NDArray[np.int64]]]:
        """Each with its true boxes and classes, in original pixels."""
        for pair in self._pairs:
            pre, post, boxes, classes = load_pair(self._dataset, pair)
            yield fit(pre, post, size=self._contract.size, stride=self._contract.stride), boxes, classes

    def images(self, limit: int) -> list[Images]:
        """The first of them, uint8 [1, H, W, 6]."""
        return [one.image for (one, _, _), _ in zip(self.fitted(), range(limit), strict=False)]


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """What ONNX Runtime asks for the next calibration picture."""

    def __init__(self, pictures: _Pictures, name: str, step: Callable[[], None]) -> None:
        self._rest = pictures.fitted()
        self._name = name
        self._step = step

    def get_next(self) -> dict[str, Images] | None:
        self._step()
        found = next(self._rest, None)
        return None if found is None else {self._name: found[0].image}


def quantise(
    artifact: Path,
    manifest: Manifest,
    dataset: Dataset,
    out: Path,
    *,
    parent: Digest,
    pairs: int,
    trial_seconds: float,
    trial_memory_mb: int,
    progress: Say,
    cancelled: Callable[[], bool],
) -> Variant:
    """Writes the int8 variant of the version in `artifact` (its digest: `parent`) as a draft into `out`.

    `pairs`: how many of the training split calibrate it, spread over the split. `out` must not exist. Raises
    InvalidInput when the data set or the graph does not fit, ModelFault when the parent or what came out
    breaks its contract or a limit, Cancelled.
    """
    contract = manifest.contract
    calibration, used = _calibration(dataset, contract, pairs)
    progress(0.0, "trying the version")
    tried = calibration.images(_TRIED)
    trial.run(artifact, contract, tried, seconds=trial_seconds, memory_mb=trial_memory_mb)
    heads = _last_convolutions(onnx.load(str(artifact / MODEL)).graph)
    (out / "training").mkdir(parents=True)
    done = 0

    def step() -> None:
        nonlocal done
        if cancelled():
            raise Cancelled("The quantisation was cancelled; nothing was kept.")
        progress(0.7 * min(done, len(used)) / len(used), f"calibrating, pair {min(done, len(used))}")
        done += 1

    _write_graph(artifact / MODEL, out / MODEL, heads, _Reader(calibration, contract.input_name, step))
    for name in _KEPT:
        if (artifact / name).is_file():
            shutil.copyfile(artifact / name, out / name)
    progress(0.7, "measuring")
    comparison, metrics, contract = _compare(artifact, out, contract, dataset, cancelled)
    (out / "contract.json").write_bytes(msgspec.json.encode(contract))
    lineage = _lineage(manifest, dataset, parent, used, heads=heads, measured_on=comparison.measured_on)
    (out / "lineage.json").write_bytes(msgspec.json.encode(lineage))
    epochs = {name: manifest.metrics[name] for name in ("train_epochs",) if name in manifest.metrics}
    (out / "metrics.json").write_bytes(msgspec.json.encode(metrics.flat() | epochs))
    (out / "training/quantisation.json").write_bytes(msgspec.json.encode(comparison))
    progress(0.9, "checking")
    _write_golden(out, contract, tried, seconds=trial_seconds, memory_mb=trial_memory_mb)
    write_card(out)
    return Variant(draft=out, comparison=comparison)


def _calibration(dataset: Dataset, contract: Contract, pairs: int) -> tuple[_Pictures, tuple[Pair, ...]]:
    if dataset.manifest.classes != contract.classes:
        raise InvalidInput(
            f"{dataset.id} has the classes {', '.join(dataset.manifest.classes)}; the version has "
            f"{', '.join(contract.classes)}.",
            remedy="Calibrate on a data set like the one that it was trained on.",
        )
    found = dataset.pairs(Split.TRAIN)
    if not found or pairs < 1:
        raise InvalidInput(
            f"{dataset.id} has {len(found)} pairs in its training split, and {pairs} are to calibrate.",
            remedy="Name a data set with a training split, and at least one pair.",
        )
    used = found[:: -(-len(found) // pairs)]
    return _Pictures(dataset, used, contract), used


def _last_convolutions(graph: onnx.GraphProto) -> list[str]:
    """Names of the convolutions behind which no other one comes. Raises InvalidInput without any at all."""
    if any(node.op_type in {"QuantizeLinear", "DynamicQuantizeLinear"} for node in graph.node):
        raise InvalidInput("The version is quantised already.", remedy="Quantise its parent.")
    leading: set[str] = set()
    """Values on the way to a convolution."""
    last, found = [], 0
    for node in reversed(graph.node):  # a graph's nodes stand in the order of their values
        onward = any(name in leading for name in node.output)
        if node.op_type == "Conv":
            found += 1
            if not onward:
                last.append(node.name)
            onward = True
        if onward:
            leading.update(node.input)
    if found == len(last):
        raise InvalidInput(
            f"The graph has {found} convolutions, {len(last)} of them last: nothing to be gained by int8.",
            remedy="Publish it as it is.",
        )
    return last


def _write_graph(source: Path, target: Path, heads: list[str], reader: _Reader) -> None:
    inferred = target.with_name("inferred.onnx")
    try:
        # Shapes only: its optimisations are made at each load anyway.
        quant_pre_process(source, inferred, skip_optimization=True, skip_symbolic_shape=True)
        quantize_static(
            inferred,
            target,
            reader,
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=SETTINGS["per_channel"],
            reduce_range=SETTINGS["reduce_range"],
            op_types_to_quantize=SETTINGS["operators"],
            nodes_to_exclude=heads,
        )
    except (ValueError, RuntimeError, KeyError, NotImplementedError) as error:
        raise ModelFault(
            f"ONNX Runtime cannot quantise the graph: {type(error).__name__}: {str(error)[:300]}.",
            remedy="Publish it as it is.",
        ) from error
    finally:
        inferred.unlink(missing_ok=True)


def _compare(
    artifact: Path, out: Path, contract: Contract, dataset: Dataset, cancelled: Callable[[], bool]
) -> tuple[Comparison, Metrics, Contract]:
    """Both on the same pictures; the variant's threshold is the best one of the validation split."""
    parent = Model.load(artifact / MODEL, contract)
    ours = Model.load(out / MODEL, contract)
    watched = _with_buildings(dataset, contract, (Split.VAL, Split.TRAIN))[1]
    best = _measure(ours, watched, None, cancelled).threshold
    threshold = round(min(max(best, _THRESHOLDS[0]), _THRESHOLDS[1]), 2)
    split, pictures = _with_buildings(dataset, contract, (Split.TEST, Split.VAL, Split.TRAIN))
    metrics = _measure(ours, pictures, threshold, cancelled)
    before = _measure(parent, pictures, contract.score_threshold, cancelled)
    times = _race([parent, ours], pictures.images(1)[0])
    comparison = Comparison(
        measured_on=str(split),
        pictures=len(pictures),
        map50=metrics.map50,
        parent_map50=before.map50,
        map50_95=metrics.map50_95,
        parent_map50_95=before.map50_95,
        bytes=(out / MODEL).stat().st_size,
        parent_bytes=(artifact / MODEL).stat().st_size,
        milliseconds=times[1],
        parent_milliseconds=times[0],
        threshold=threshold,
        parent_threshold=contract.score_threshold,
    )
    return comparison, metrics, msgspec.structs.replace(contract, score_threshold=threshold)


def _with_buildings(dataset: Dataset, contract: Contract, splits: Sequence[Split]) -> tuple[Split, _Pictures]:
    """The first of `splits` that has a labelled building: without one there is nothing to measure."""
    for split in splits:
        pairs = dataset.pairs(split)
        if any(pair.boxes for pair in pairs):
            return split, _Pictures(dataset, pairs, contract)
    raise InvalidInput(f"{dataset.id} shows no labelled building.", remedy="Name another data set.")


def _measure(
    model: Model, pictures: _Pictures, threshold: float | None, cancelled: Callable[[], bool]
) -> Metrics:
    truth, found = [], []
    for fitted, boxes, classes in pictures.fitted():
        if cancelled():
            raise Cancelled("The quantisation was cancelled; nothing was kept.")
        found.append(to_original(model.infer(fitted.image)[0], fitted))
        truth.append((boxes, classes))
    return evaluate(truth, found, model.contract.classes, threshold=threshold)


def _race(models: Sequence[Model], image: Images) -> list[float]:
    """CPU milliseconds of each on `image`, in turn; median. Other work on the machine counts little so."""
    took: list[list[float]] = [[] for _ in models]
    for _ in range(_ROUNDS):
        for times, model in zip(took, models, strict=True):
            begun = time.thread_time()
            model.infer(image)
            times.append(1000 * (time.thread_time() - begun))
    return [round(median(times), 2) for times in took]


def _lineage(
    manifest: Manifest,
    dataset: Dataset,
    parent: Digest,
    used: Sequence[Pair],
    *,
    heads: Sequence[str],
    measured_on: str,
) -> Lineage:
    """What its parent was trained with holds for it, too: the licence, what it sees of a pair."""
    known = manifest.lineage
    shown = [pair.sha256_pre + pair.sha256_post for pair in used]
    seen = {pair.sha256_post for split in (Split.TRAIN, Split.VAL) for pair in dataset.pairs(split)}
    return Lineage(
        trainer="int8",
        config={
            **known.config,
            "measured_on": measured_on,
            "quantiser": {**SETTINGS, "left": sorted(heads), "onnxruntime": ort.__version__},
            "calibration": {
                "dataset": dataset.id,
                "split": str(Split.TRAIN),
                "pairs": len(used),
                "sha256": hashlib.sha256("\n".join(shown).encode()).hexdigest(),
            },
            "parent_trainer": known.trainer,
        },
        dataset=known.dataset,
        parent=parent,
        tiles=tuple(sorted(seen | set(known.tiles))),
        code=version("serinus"),
    )


def _write_golden(
    draft: Path, contract: Contract, tried: Sequence[Images], *, seconds: float, memory_mb: int
) -> None:
    """What the variant answers in the sandbox: every machine that is to serve it must answer the same.

    Raises ModelFault when it breaks a limit or answers what nobody should see.
    """
    images = [image[0] for image in tried]
    height, width = (max(image.shape[axis] for image in images) for axis in (0, 1))
    batch = np.zeros((len(images), height, width, images[0].shape[2]), np.uint8)
    for row, image in zip(batch, images, strict=True):
        row[: image.shape[0], : image.shape[1]] = image
    found = trial.run(draft, contract, list(batch), seconds=seconds, memory_mb=memory_mb)
    np.savez_compressed(draft / GOLDEN, images=batch, detections=np.stack(found))
