"""The xView2 score: how good masks of buildings and their damage are, pixels pooled over all pictures.

    score = 0.3 * F1_loc + 0.7 * dF1,    dF1 = C / sum_c 1 / (F1_c + 1e-6)

F1_loc is of "a building is here". F1_c of class c counts only pixels where the truth has a building. An
absent class has F1 = 0, as in the challenge's scoring code (github.com/DIUx-xView/xView2_scoring); the
variant over the classes that are there stands beside it, under a name of its own.
"""

from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.uint8]
"""uint8 [H, W]: 0 where no building is, else class id + 1."""

_EPSILON = 1e-6
_LOCALIZATION, _DAMAGE = 0.3, 0.7


class ClassPixels(msgspec.Struct, frozen=True, kw_only=True):
    """Of one class, over ground-truth building pixels."""

    f1: float
    support: int
    """Pixels that the truth has."""


class XView2(msgspec.Struct, frozen=True, kw_only=True):
    score: float
    localization_f1: float
    damage_f1: float
    """Harmonic mean over all classes."""
    per_class: dict[str, ClassPixels]
    present_damage_f1: float
    """Harmonic mean over the classes that the truth has."""
    present_score: float
    """0.3 * localization_f1 + 0.7 * present_damage_f1: not what the challenge reports."""


def mask(boxes: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], height: int, width: int) -> Mask:
    """Boxes [M, 4] painted in order, the later over the earlier; edges are rounded to whole pixels."""
    painted = np.zeros((height, width), np.uint8)
    for (x1, y1, x2, y2), label in zip(np.rint(boxes).astype(int).tolist(), labels.tolist(), strict=True):
        painted[max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0)] = label + 1
    return painted


def xview2(pairs: Iterable[tuple[Mask, Mask]], classes: Sequence[str]) -> XView2:
    """`pairs`: truth and answer of each picture. Nothing of a picture is kept but its counts."""
    count = len(classes) + 1
    pixels = np.zeros((count, count), np.int64)  # rows: truth, columns: answer; 0 is "no building"
    for truth, found in pairs:
        joined = truth.astype(np.int64).ravel() * count + found.ravel()
        pixels += np.bincount(joined, minlength=count * count).reshape(count, count)
    localization = _f1(int(pixels[1:, 1:].sum()), int(pixels[0, 1:].sum()), int(pixels[1:, 0].sum()))
    on_buildings = pixels[1:]
    per_class = {}
    for label, name in enumerate(classes):
        hit = int(on_buildings[label, label + 1])
        wrong = int(on_buildings[:, label + 1].sum()) - hit
        support = int(on_buildings[label].sum())
        per_class[name] = ClassPixels(f1=_f1(hit, wrong, support - hit), support=support)
    damage = _harmonic([one.f1 for one in per_class.values()])
    present = _harmonic([one.f1 for one in per_class.values() if one.support])
    return XView2(
        score=_LOCALIZATION * localization + _DAMAGE * damage,
        localization_f1=localization,
        damage_f1=damage,
        per_class=per_class,
        present_damage_f1=present,
        present_score=_LOCALIZATION * localization + _DAMAGE * present,
    )


def _f1(hit: int, wrong: int, missed: int) -> float:
    whole = 2 * hit + wrong + missed
    return 2 * hit / whole if whole else 0.0


def _harmonic(values: Sequence[float]) -> float:
    return len(values) / sum(1 / (value + _EPSILON) for value in values) if values else 0.0
