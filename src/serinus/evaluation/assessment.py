"""All that is measured of one version on one set of pictures."""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from serinus.evaluation.bootstrap import draws, weighted_map50
from serinus.evaluation.calibration import Calibration, calibration
from serinus.evaluation.coco import IOU, Found, Matches, evaluation, ground_truth, matches, precision_table
from serinus.evaluation.detection import IOU_SWEEP, Metrics, evaluate
from serinus.evaluation.online import Interval
from serinus.evaluation.xview2 import Mask, XView2, mask, xview2

BANDS = {
    "below 16 px": (0.0, 16.0),
    "16 to 32 px": (16.0, 32.0),
    "32 to 64 px": (32.0, 64.0),
    "64 px and more": (64.0, 1e5),
}
"""Sizes of buildings: the root of the box's area, pixels."""
_SAMPLES = 500


class Picture(NamedTuple):
    """One pair's truth."""

    boxes: npt.NDArray[np.float32]
    """[M, 4], pixels."""
    labels: npt.NDArray[np.int64]
    disaster: str
    width: int
    height: int


class SizeMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """Of the buildings of one band of `BANDS`; 0 where there are none (`support` 0)."""

    support: int
    map50: float
    map50_95: float


class CountError(msgspec.Struct, frozen=True, kw_only=True):
    """Buildings shown to users against buildings that are there, picture by picture."""

    true: int
    shown: int
    mean_absolute: float
    """Buildings per picture."""
    bias: float
    """Mean of shown - true per picture."""


class Assessment(msgspec.Struct, frozen=True, kw_only=True):
    metrics: Metrics
    map50: Interval
    """95 %, bootstrap over pictures."""
    per_disaster: dict[str, Metrics]
    """Of those that show a building."""
    per_size: dict[str, SizeMetrics]
    curves: dict[str, tuple[float, ...]]
    """Of each present class: precision at recall 0.00, 0.01 ... 1.00, IoU 0.5."""
    count: CountError
    count_per_class: dict[str, CountError]
    calibration: Calibration
    xview2: XView2
    """Of boxes painted as masks, truth and answer alike: a data set keeps boxes, no outlines."""


def assess(
    pictures: Sequence[Picture],
    found: Sequence[Found],
    classes: tuple[str, ...],
    *,
    threshold: float,
    seed: int = 0,
) -> Assessment:
    """`found`: all that the model gives, in pixels of the pictures; `threshold`: from where on users see it.

    Raises InvalidInput as `evaluate` does.
    """
    truth = [(picture.boxes, picture.labels) for picture in pictures]
    whole = evaluate(truth, found, classes, threshold=threshold)
    evaluated = evaluation(ground_truth(truth, classes), found, [IOU])
    matched = matches(evaluated, len(truth), len(classes))
    table = precision_table(evaluated)[0]
    shown = [rows[rows[:, 4] >= max(threshold, 1e-9)] for rows in found]
    return Assessment(
        metrics=whole,
        map50=_interval(matched, len(truth), seed),
        per_disaster=_per_disaster(pictures, found, classes, threshold),
        per_size=_per_size(pictures, found, classes),
        curves={
            name: tuple(np.round(table[:, label], 4).tolist())
            for label, name in enumerate(classes)
            if name in whole.present
        },
        count=_count(pictures, shown, None),
        count_per_class={name: _count(pictures, shown, label) for label, name in enumerate(classes)},
        calibration=calibration(matched),
        xview2=xview2((_masks(*one) for one in zip(pictures, shown, strict=True)), classes),
    )


def _interval(matched: Sequence[Matches], pictures: int, seed: int) -> Interval:
    values = np.concatenate(
        [weighted_map50(matched, w) for w in draws(pictures, np.random.default_rng(seed), _SAMPLES)]
    )
    known = values[1:][np.isfinite(values[1:])]
    low, high = np.quantile(known, (0.025, 0.975)) if len(known) else (0.0, 1.0)
    return Interval(value=float(values[0]), low=float(low), high=float(high))


def _per_disaster(
    pictures: Sequence[Picture], found: Sequence[Found], classes: tuple[str, ...], threshold: float
) -> dict[str, Metrics]:
    measured = {}
    for disaster in sorted({picture.disaster for picture in pictures}):
        here = [number for number, picture in enumerate(pictures) if picture.disaster == disaster]
        truth = [(pictures[number].boxes, pictures[number].labels) for number in here]
        if any(len(labels) for _, labels in truth):
            answers = [found[number] for number in here]
            measured[disaster] = evaluate(truth, answers, classes, threshold=threshold)
    return measured


def _per_size(
    pictures: Sequence[Picture], found: Sequence[Found], classes: tuple[str, ...]
) -> dict[str, SizeMetrics]:
    truth = ground_truth([(picture.boxes, picture.labels) for picture in pictures], classes)
    areas = [(low**2, high**2) for low, high in BANDS.values()]
    evaluated = evaluation(truth, found, IOU_SWEEP, areas=areas)
    boxes = np.concatenate([picture.boxes for picture in pictures])
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    measured = {}
    for number, (name, (low, high)) in enumerate(zip(BANDS, areas, strict=True)):
        table = precision_table(evaluated, number)
        present = table[0, 0] >= 0
        measured[name] = SizeMetrics(
            support=int(((area >= low) & (area < high)).sum()),
            map50=float(table[0][:, present].mean()) if present.any() else 0.0,
            map50_95=float(table[:, :, present].mean()) if present.any() else 0.0,
        )
    return measured


def _count(pictures: Sequence[Picture], shown: Sequence[Found], label: int | None) -> CountError:
    true = np.array([len(p.labels) if label is None else int((p.labels == label).sum()) for p in pictures])
    seen = np.array([len(rows) if label is None else int((rows[:, 5] == label).sum()) for rows in shown])
    return CountError(
        true=int(true.sum()),
        shown=int(seen.sum()),
        mean_absolute=float(np.abs(seen - true).mean()),
        bias=float((seen - true).mean()),
    )


def _masks(picture: Picture, shown: Found) -> tuple[Mask, Mask]:
    weakest_first = shown[np.argsort(shown[:, 4], kind="stable")]
    size = (picture.height, picture.width)
    return (
        mask(picture.boxes, picture.labels, *size),
        mask(weakest_first[:, :4], weakest_first[:, 5].astype(np.int64), *size),
    )
