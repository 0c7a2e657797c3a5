"""How far two versions agree on one picture. No truth is needed: each is measured against the other.

Boxes are matched one to one so that the sum of IoU is largest, and only pairs with IoU >= 0.5 count (Kuhn:
The Hungarian Method for the Assignment Problem, 1955; solved by the algorithm of Jonker and Volgenant, 1987).
Classes decide only between matches that are equally good. A matched pair agrees when both name the same
class. The agreement F1 is twice the agreeing pairs over all boxes of both: symmetric, and 1 when neither sees
anything.
"""

import lap
import msgspec
import numpy as np
import numpy.typing as npt

from serinus.evaluation.coco import IOU, Found

_TIE = 1e-6


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """Of versions A and B on one picture, or the sum over many."""

    boxes_a: int
    boxes_b: int
    matched: int
    """Pairs of boxes with IoU >= 0.5."""
    agreed: int
    """Matched pairs with one class."""
    confusion: tuple[tuple[int, ...], ...]
    """Rows: class by A, last row only B has a box; columns: class by B, last column only A has one."""
    score_shift: float
    """Mean confidence of B minus that of A over matched pairs; 0 when there are none."""

    @property
    def f1(self) -> float:
        """2 x agreed / (boxes of A + boxes of B); 1 when neither sees anything."""
        boxes = self.boxes_a + self.boxes_b
        return 2 * self.agreed / boxes if boxes else 1.0


def agreement(a: Found, b: Found, classes: int) -> Agreement:
    """Compares `a` and `b`: float32 [K, 6], x1, y1, x2, y2 in the same pixels, confidence, class id.

    `classes`: how many there are; ids are below it.
    """
    confusion = np.zeros((classes + 1, classes + 1), np.int64)
    labels_a, labels_b = a[:, 5].astype(np.int64), b[:, 5].astype(np.int64)
    rows, columns = match(a[:, :4], b[:, :4], prefer=labels_a[:, None] == labels_b)
    np.add.at(confusion, (labels_a[rows], labels_b[columns]), 1)
    np.add.at(confusion[:, classes], np.delete(labels_a, rows), 1)
    np.add.at(confusion[classes], np.delete(labels_b, columns), 1)
    return Agreement(
        boxes_a=len(a),
        boxes_b=len(b),
        matched=len(rows),
        agreed=int((labels_a[rows] == labels_b[columns]).sum()),
        confusion=tuple(tuple(int(n) for n in row) for row in confusion),
        score_shift=float((b[columns, 4] - a[rows, 4]).mean()) if len(rows) else 0.0,
    )


def match(
    a: npt.NDArray[np.float32],
    b: npt.NDArray[np.float32],
    *,
    iou: float = IOU,
    prefer: npt.NDArray[np.bool_] | None = None,
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Indices into `a` [M, 4] and `b` [N, 4] of the pairs with at least `iou`, best in sum.

    `prefer` [M, N]: pairs to take where it makes no difference.
    """
    none = np.zeros(0, np.intp)
    if not len(a) or not len(b):
        return none, none
    overlap = ious(a, b)
    # A pair below the limit costs as much as leaving both alone, so it never displaces one that counts.
    bonus = 0.0 if prefer is None else _TIE * prefer
    cost = np.where(overlap >= iou, 1.0 - overlap - bonus, 1.0)
    _, partner, _ = lap.lapjv(cost, extend_cost=True)
    rows = np.flatnonzero((partner >= 0) & (partner < len(b)))
    columns = partner[rows].astype(np.intp)
    counts = overlap[rows, columns] >= iou
    return rows[counts], columns[counts]


def ious(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Intersection over union of every box of `a` [M, 4] with every one of `b` [N, 4]: [M, N]."""
    first, second = a[:, None, :].astype(np.float64), b[None, :, :].astype(np.float64)
    corner = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2])
    inside = np.prod(np.maximum(corner, 0.0), axis=2)
    areas = [np.prod(np.maximum(box[..., 2:4] - box[..., :2], 0.0), axis=2) for box in (first, second)]
    union = areas[0] + areas[1] - inside
    result: npt.NDArray[np.float64] = np.divide(inside, union, out=np.zeros_like(inside), where=union > 0)
    return result
