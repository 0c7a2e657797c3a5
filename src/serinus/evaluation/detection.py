"""Precision, recall, mAP and the confusion matrix of a detector, by the COCO rules (hotcoco).

A mean over classes is always over the classes that the truth has: an absent class has no recall, and counts
neither for nor against. `Metrics.present` says which they were, `support` how many buildings each has.
"""

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from serinus.core.errors import InvalidInput
from serinus.evaluation.coco import (
    IOU,
    Found,
    Matches,
    Truth,
    evaluation,
    ground_truth,
    matches,
    precision_table,
)

IOU_SWEEP = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
"""0.50, 0.55 ... 0.95, as in COCO."""


class ClassMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """Of one class; all 0 when the truth has none of it (`support` 0)."""

    support: int
    map50: float
    map50_95: float
    precision: float
    recall: float


class Metrics(msgspec.Struct, frozen=True, kw_only=True):
    """What `evaluate` measured. `precision` and `recall` are of all classes pooled, at `threshold`."""

    map50: float
    """Average precision at IoU 0.5 (101-point interpolation), mean over the present classes."""
    map50_95: float
    """The same, mean over IoU 0.50, 0.55 ... 0.95."""
    precision: float
    """Of the detections at `threshold`, the share with the right class and IoU >= 0.5."""
    recall: float
    """Of the true buildings, the share that such detections find."""
    threshold: float
    """Confidence from which on a detection counts for precision, recall and the confusion matrix."""
    pictures: int
    present: tuple[str, ...]
    per_class: dict[str, ClassMetrics]
    confusion: tuple[tuple[int, ...], ...]
    """Rows: true class, last row background (false alarms); columns: found class, last column missed."""

    def flat(self) -> dict[str, float]:
        """The numbers of a manifest: `map50`, `map50_95`, `precision`, `recall`, and `map50/<class>`."""
        whole = {
            "map50": self.map50,
            "map50_95": self.map50_95,
            "precision": self.precision,
            "recall": self.recall,
        }
        return whole | {f"map50/{name}": self.per_class[name].map50 for name in self.present}


def evaluate(
    truth: Truth, found: Sequence[Found], classes: tuple[str, ...], *, threshold: float | None = None
) -> Metrics:
    """Measures `found` against `truth`, picture by picture, both in the same pixels.

    `truth`: per picture (float32 [M, 4] boxes, int64 [M] class ids). `found`: per picture float32 [K, 6], all
    that the model gives: mAP needs the weak ones too. `threshold` None: the confidence of the best pooled F1.
    Raises InvalidInput: lengths differ, an unknown class, or not one building in the truth.
    """
    if len(truth) != len(found):
        raise InvalidInput(f"{len(truth)} pictures have truth, but {len(found)} have detections.")
    evaluated = evaluation(ground_truth(truth, classes), found, IOU_SWEEP)
    matched = matches(evaluated, len(truth), len(classes))
    at = best_threshold(matched) if threshold is None else threshold
    precisions = precision_table(evaluated)
    per_class = {
        name: _class_metrics(matched[label], precisions[:, :, label], at)
        for label, name in enumerate(classes)
    }
    present = tuple(name for name in classes if per_class[name].support)
    shown = sum(int((m.score >= at).sum()) for m in matched)
    hits = sum(int(m.hit[m.score >= at].sum()) for m in matched)
    buildings = sum(int(m.buildings.sum()) for m in matched)
    confusion = evaluated.confusion_matrix(iou_thr=IOU, min_score=at)["matrix"]
    return Metrics(
        map50=float(np.mean([per_class[name].map50 for name in present])),
        map50_95=float(np.mean([per_class[name].map50_95 for name in present])),
        precision=_ratio(hits, shown),
        recall=_ratio(hits, buildings),
        threshold=at,
        pictures=len(truth),
        present=present,
        per_class=per_class,
        confusion=tuple(tuple(int(n) for n in row) for row in confusion),
    )


def best_threshold(matched: Sequence[Matches]) -> float:
    """The confidence at which the F1 of all classes pooled is best (0.5 when there is no detection)."""
    score = np.concatenate([m.score for m in matched])
    if not len(score):
        return 0.5
    order = np.argsort(-score, kind="stable")
    hits = np.cumsum(np.concatenate([m.hit for m in matched])[order])
    shown = np.arange(1, len(score) + 1)
    buildings = sum(int(m.buildings.sum()) for m in matched)
    f1 = 2 * hits / (shown + buildings)
    last_of_ties = np.append(score[order][1:] != score[order][:-1], True)
    return float(score[order][int(np.argmax(np.where(last_of_ties, f1, -1.0)))])


def _class_metrics(matched: Matches, precisions: npt.NDArray[np.float64], at: float) -> ClassMetrics:
    support = int(matched.buildings.sum())
    if not support:
        return ClassMetrics(support=0, map50=0.0, map50_95=0.0, precision=0.0, recall=0.0)
    shown = matched.score >= at
    hits = int(matched.hit[shown].sum())
    return ClassMetrics(
        support=support,
        map50=float(precisions[0].mean()),
        map50_95=float(precisions.mean()),
        precision=_ratio(hits, int(shown.sum())),
        recall=_ratio(hits, support),
    )


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
