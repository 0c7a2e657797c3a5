"""Does a confidence mean what it says? Detections by confidence, and how many of them were right.

The expected calibration error is the mean distance between both, weighted by how many detections a bin has
(Guo et al. 2017, "On Calibration of Modern Neural Networks"; for detections Kueppers et al. 2020). Right
means IoU >= 0.5 and the class. It says nothing of what was not found.
"""

from collections.abc import Sequence

import msgspec
import numpy as np

from serinus.evaluation.coco import Matches

BINS = 10
FLOOR = 0.05
"""Weaker detections are noise that nobody is shown; thousands of them would hide what matters."""


class Bin(msgspec.Struct, frozen=True, kw_only=True):
    low: float
    high: float
    detections: int
    confidence: float
    """Mean; 0 for an empty bin."""
    right: float
    """Share that was right; 0 for an empty bin."""


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    ece: float
    """Expected calibration error, 0 is best."""
    detections: int
    bins: tuple[Bin, ...]


def calibration(matched: Sequence[Matches]) -> Calibration:
    """Over all classes, detections of confidence `FLOOR` or more."""
    score = np.concatenate([one.score for one in matched])
    hit = np.concatenate([one.hit for one in matched])
    hit, score = hit[score >= FLOOR], score[score >= FLOOR]
    where = np.minimum((score * BINS).astype(int), BINS - 1)
    bins = []
    for number in range(BINS):
        here = where == number
        some = bool(here.any())
        bins.append(
            Bin(
                low=number / BINS,
                high=(number + 1) / BINS,
                detections=int(here.sum()),
                confidence=float(score[here].mean()) if some else 0.0,
                right=float(hit[here].mean()) if some else 0.0,
            )
        )
    apart = sum(one.detections * abs(one.confidence - one.right) for one in bins)
    return Calibration(ece=apart / len(score) if len(score) else 0.0, detections=len(score), bins=tuple(bins))
