"""Two versions that were judged on pictures of their own."""

import numpy as np
import pytest

from serinus.core.errors import InvalidInput
from serinus.evaluation.bootstrap import compare
from serinus.evaluation.online import JudgedArm, difference, online_metrics
from serinus.rollout.policy import FeedbackMetric
from tests.evaluation.scenes import CLASSES, perfect, scenes


def arm(pictures: int, seed: int, noise: float) -> JudgedArm:
    truth, found = scenes(pictures=pictures, seed=seed, noise=noise)
    return JudgedArm(truth, found, CLASSES)


@pytest.mark.parametrize("metric", FeedbackMetric)
def test_the_better_one_is_clearly_better_and_the_figures_are_those_of_each(metric: FeedbackMetric) -> None:
    worse, truth = arm(40, 0, 5.0), scenes(pictures=50, seed=1)[0]
    better = JudgedArm(truth, perfect(truth), CLASSES)
    bound = difference(worse, better, metric, confidence=0.99, samples=400)
    assert bound.low > 0.1
    assert bound.b == pytest.approx(1.0)
    assert bound.a == pytest.approx(getattr(online_metrics(*worse, samples=10), metric).value)
    back = difference(better, worse, metric, confidence=0.99, samples=400)
    assert back.high < -0.1


def test_equal_ones_do_not_differ_and_more_pictures_say_so_better() -> None:
    few = difference(arm(15, 2, 3.0), arm(15, 3, 3.0), FeedbackMetric.RECALL, confidence=0.99, samples=400)
    many = difference(arm(150, 2, 3.0), arm(150, 3, 3.0), FeedbackMetric.RECALL, confidence=0.99, samples=400)
    assert few.low < 0 < few.high
    assert many.low < 0 < many.high
    assert many.high - many.low < (few.high - few.low) / 2


def test_a_version_that_finds_nothing_has_no_precision_and_is_not_taken_for_good() -> None:
    good = arm(20, 4, 1.0)
    nothing = JudgedArm(good.truth, [np.zeros((0, 6), np.float32)] * 20, CLASSES)
    assert difference(good, nothing, FeedbackMetric.PRECISION, confidence=0.95, samples=100).low == -1.0
    assert difference(good, nothing, FeedbackMetric.RECALL, confidence=0.95, samples=100).high < 0


def test_pictures_without_buildings_measure_nothing() -> None:
    empty = JudgedArm([(np.zeros((0, 4), np.float32), np.zeros(0, np.int64))], [np.zeros((0, 6))], CLASSES)
    with pytest.raises(InvalidInput, match="nothing to measure"):
        difference(empty, arm(5, 0, 1.0), FeedbackMetric.MAP50, confidence=0.95)


def test_a_class_is_compared_alone() -> None:
    truth, a = scenes(pictures=40, seed=5)
    never = [np.where(rows[:, [5]] == 3, np.hstack((rows[:, :5], rows[:, [5]] * 0 + 2)), rows) for rows in a]
    compared = compare(truth, a, never, CLASSES, samples=200)
    assert compared.ap50(3).high < -0.2
    assert compared.ap50(0).low == compared.ap50(0).high == 0.0
    assert compared.recall(3).b == 0.0
    assert compared.support[3].objects == sum(int((labels == 3).sum()) for _, labels in truth)
    assert compared.support[3].pictures == sum(bool((labels == 3).any()) for _, labels in truth)


def test_recall_counts_what_users_are_shown() -> None:
    truth, _ = scenes(pictures=10, seed=6)
    sure = perfect(truth)
    compared = compare(truth, sure, sure, CLASSES, thresholds=(0.5, 0.95), samples=50)
    assert (compared.recall(0).a, compared.recall(0).b) == (1.0, 0.0)
    assert compared.ap50(0).b == pytest.approx(1.0)
