"""Truth and detections handed to hotcoco, and its matching handed back as flat arrays."""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from hotcoco import COCO, COCOeval

from serinus.core.errors import InvalidInput

Boxes = npt.NDArray[np.float32]
"""float32 [M, 4]: x1, y1, x2, y2 in pixels."""
Labels = npt.NDArray[np.int64]
"""int64 [M]: class ids 0..C-1."""
Found = npt.NDArray[np.float32]
"""float32 [K, 6]: x1, y1, x2, y2, confidence, class id; rows of confidence 0 are unused."""
Truth: TypeAlias = Sequence[tuple[Boxes, Labels]]

IOU = 0.5
MAX_DETECTIONS = 10_000
"""Per picture and class: all. A dense tile of xBD has more buildings of one class than COCO's own 100, and
whoever finds all of them would be told that many were missed.
"""
_EVERY_AREA = (0.0, 1e10)


class Matches(NamedTuple):
    """Detections of one class over all pictures, in falling order of confidence, matched at IoU 0.5."""

    picture: npt.NDArray[np.int64]
    """[D] index of the picture of each detection."""
    score: npt.NDArray[np.float64]
    """[D] confidence."""
    hit: npt.NDArray[np.bool_]
    """[D] whether it found a building of its class that no better detection had found."""
    buildings: npt.NDArray[np.int64]
    """[N] true buildings of the class in each picture."""


def ground_truth(truth: Truth, classes: Sequence[str]) -> COCO:
    """`truth` as a COCO data set; picture i has id i + 1, class c has id c + 1.

    Raises InvalidInput when there is not one building in it, or a class id is unknown: nothing to measure.
    """
    annotations: list[dict[str, Any]] = []
    for picture, (boxes, labels) in enumerate(truth):
        for (x1, y1, x2, y2), label in zip(boxes.tolist(), labels.tolist(), strict=True):
            if not 0 <= label < len(classes):
                raise InvalidInput(f"picture {picture} has a building of class {label}, which no class has.")
            width, height = x2 - x1, y2 - y1
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": picture + 1,
                    "category_id": label + 1,
                    "bbox": [x1, y1, width, height],
                    "area": width * height,
                    "iscrowd": 0,
                }
            )
    if not annotations:
        raise InvalidInput("the pictures show no labelled building: there is nothing to measure.")
    return COCO(
        {
            "images": [{"id": i + 1} for i in range(len(truth))],
            "categories": [{"id": c + 1, "name": name} for c, name in enumerate(classes)],
            "annotations": annotations,
        }
    )


def evaluation(
    truth: COCO,
    found: Sequence[Found],
    iou: Sequence[float],
    *,
    areas: Sequence[tuple[float, float]] = (_EVERY_AREA,),
) -> COCOeval:
    """hotcoco's evaluation of `found` at the thresholds `iou`, accumulated. `areas`: bands of building areas,
    square pixels, each measured by itself.
    """
    rows = [_rows(picture, detections) for picture, detections in enumerate(found)]
    results = truth.load_res(np.concatenate(rows) if rows else np.zeros((0, 7)))
    result = COCOeval(truth, results, "bbox")
    result.params.iou_thrs = list(iou)
    result.params.area_rng = [list(area) for area in areas]
    result.params.area_rng_lbl = [str(number) for number in range(len(areas))]
    result.params.max_dets = [MAX_DETECTIONS]
    result.evaluate()
    result.accumulate()
    return result


def precision_table(evaluated: COCOeval, area: int = 0) -> npt.NDArray[np.float64]:
    """[IoU threshold, 101 recalls, class]: interpolated precision in the `area`-th band of areas; -1 for a
    class that the truth does not have there.
    """
    accumulated: dict[str, Any] = evaluated.eval or {}
    table: npt.NDArray[np.float64] = accumulated["precision"]
    return table[:, :, :, area, 0]


def matches(evaluated: COCOeval, pictures: int, classes: int, iou_index: int = 0) -> list[Matches]:
    """Per class, what `evaluated` matched at its `iou_index`-th threshold."""
    picture: list[list[int]] = [[] for _ in range(classes)]
    score: list[list[float]] = [[] for _ in range(classes)]
    hit: list[list[bool]] = [[] for _ in range(classes)]
    buildings = np.zeros((classes, pictures), dtype=np.int64)
    for one in evaluated.eval_imgs:
        if one is None:
            continue
        label, index = one["category_id"] - 1, one["image_id"] - 1
        buildings[label, index] = len(one["gtIds"])
        ignored = one["dtIgnore"][iou_index]  # boxes turned inside out, which have no area
        for value, found, ignore in zip(one["dtScores"], one["dtMatched"][iou_index], ignored, strict=True):
            if not ignore:
                picture[label].append(index)
                score[label].append(value)
                hit[label].append(found)
    result = []
    for label in range(classes):
        scores = np.array(score[label], dtype=np.float64)
        order = np.argsort(-scores, kind="stable")
        result.append(
            Matches(
                picture=np.array(picture[label], dtype=np.int64)[order],
                score=scores[order],
                hit=np.array(hit[label], dtype=np.bool_)[order],
                buildings=buildings[label],
            )
        )
    return result


def _rows(picture: int, found: Found) -> npt.NDArray[np.float64]:
    """hotcoco's columns: picture, x, y, width, height, confidence, class."""
    used = found[found[:, 4] > 0].astype(np.float64)
    corner, size = used[:, :2], used[:, 2:4] - used[:, :2]
    return np.column_stack((np.full(len(used), picture + 1), corner, size, used[:, 4], used[:, 5] + 1))
