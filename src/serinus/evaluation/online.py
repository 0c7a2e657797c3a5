"""How good a version is on what users sent, by the ground truth that came later.

Precision and recall pool all buildings at the confidence that users see (IoU >= 0.5, the right class); mAP50
is the mean over the classes present. Intervals are percentile bootstraps over pictures, since buildings of
one picture are not independent (Efron, Tibshirani: An Introduction to the Bootstrap, 1993, ch. 13).

Feedback is not a random sample: people send it when something is wrong. Both versions of a rollout suffer
alike, so their difference means more than either number.
"""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from serinus.evaluation.bootstrap import Bound, bound, draws, weighted_map50
from serinus.evaluation.coco import IOU, Found, Matches, Truth, evaluation, ground_truth, matches
from serinus.rollout.policy import FeedbackMetric

_SAMPLES = 1000
_LEVEL = (0.025, 0.975)


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """A figure with its central 95 % interval."""

    value: float
    low: float
    high: float


class OnlineMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """Of one version, over the pictures that ground truth came for."""

    pictures: int
    buildings: int
    precision: Interval
    recall: Interval
    map50: Interval


def online_metrics(
    truth: Truth, found: Sequence[Found], classes: tuple[str, ...], *, seed: int = 0, samples: int = _SAMPLES
) -> OnlineMetrics:
    """Arguments as in `detection.evaluate`; the same input and `seed` give the same answer.

    Raises InvalidInput when the truth shows no building: nothing can be measured.
    """
    matched = _matched(truth, found, classes)
    weights = _weights(len(truth), np.random.default_rng(seed), samples)
    return OnlineMetrics(
        pictures=len(truth),
        buildings=sum(int(one.buildings.sum()) for one in matched),
        precision=_interval(_precision(matched, weights)),
        recall=_interval(_recall(matched, weights)),
        map50=_interval(weighted_map50(matched, weights)),
    )


class JudgedArm(NamedTuple):
    """What one version was judged on."""

    truth: Truth
    found: Sequence[Found]
    classes: tuple[str, ...]


def difference(
    current: JudgedArm,
    canary: JudgedArm,
    metric: FeedbackMetric,
    *,
    confidence: float,
    seed: int = 0,
    samples: int = 2 * _SAMPLES,
) -> Bound:
    """The canary's metric minus current's; each was judged on pictures of its own and is resampled alone.

    The same input and `seed` give the same answer. Raises InvalidInput when either truth shows no building.
    """
    rng = np.random.default_rng(seed)
    a, b = (_resampled(arm, metric, rng, samples) for arm in (current, canary))
    return bound(a, b, confidence)


def _resampled(
    arm: JudgedArm, metric: FeedbackMetric, rng: np.random.Generator, samples: int
) -> npt.NDArray[np.float64]:
    matched = _matched(*arm)
    measure = _MEASURES[metric]
    return np.concatenate([measure(matched, weights) for weights in draws(len(arm.truth), rng, samples)])


def _matched(truth: Truth, found: Sequence[Found], classes: tuple[str, ...]) -> list[Matches]:
    return matches(evaluation(ground_truth(truth, classes), found, [IOU]), len(truth), len(classes))


def _weights(n: int, rng: np.random.Generator, samples: int) -> npt.NDArray[np.float64]:
    """[1 + samples, N]: the pictures as they are, then how often each is drawn."""
    drawn = rng.multinomial(n, np.full(n, 1.0 / n), size=samples)
    return np.vstack([np.ones((1, n)), drawn]).astype(np.float64)


def _precision(matched: Sequence[Matches], weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    hits = sum((weights[:, one.picture] @ one.hit for one in matched), np.zeros(len(weights)))
    shown = sum((weights[:, one.picture].sum(axis=1) for one in matched), np.zeros(len(weights)))
    return _ratio(hits, shown)


def _recall(matched: Sequence[Matches], weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    hits = sum((weights[:, one.picture] @ one.hit for one in matched), np.zeros(len(weights)))
    buildings = sum((weights @ one.buildings for one in matched), np.zeros(len(weights)))
    return _ratio(hits, buildings)


_MEASURES = {
    FeedbackMetric.MAP50: weighted_map50,
    FeedbackMetric.PRECISION: _precision,
    FeedbackMetric.RECALL: _recall,
}


def _ratio(part: npt.NDArray[np.float64], whole: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    ratio: npt.NDArray[np.float64] = np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)
    return ratio


def _interval(values: npt.NDArray[np.float64]) -> Interval:
    """The first is the figure, the others are samples; what a sample cannot measure is left out."""
    samples = values[1:][np.isfinite(values[1:])]
    first = float(values[0]) if np.isfinite(values[0]) else 0.0
    low, high = np.quantile(samples, _LEVEL) if len(samples) else (0.0, 1.0)
    return Interval(value=first, low=float(low), high=float(high))
