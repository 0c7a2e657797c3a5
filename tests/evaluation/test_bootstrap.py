import numpy as np
import pytest

from serinus.core.errors import InvalidInput
from serinus.evaluation.bootstrap import compare, weighted_map50
from serinus.evaluation.coco import evaluation, ground_truth, matches
from serinus.evaluation.detection import evaluate
from tests.evaluation.scenes import CLASSES, perfect, scenes


@pytest.mark.parametrize("rare", [False, True])
@pytest.mark.parametrize("noise", [0.0, 3.0])
def test_a_weight_is_a_repetition(noise: float, rare: bool) -> None:
    """The heart of it: drawing a picture twice is the same as hotcoco seeing it twice."""
    truth, found = scenes(pictures=25, noise=noise, rare=rare)
    matched = matches(evaluation(ground_truth(truth, CLASSES), found, [0.5]), 25, 4)
    rng = np.random.default_rng(1)
    for _ in range(12):
        drawn = rng.integers(0, 25, 25)
        weights = np.bincount(drawn, minlength=25)[None].astype(np.float64)
        repeated = evaluate([truth[i] for i in drawn], [found[i] for i in drawn], CLASSES)
        assert weighted_map50(matched, weights)[0] == pytest.approx(repeated.map50, abs=1e-12)


def test_a_version_does_not_differ_from_itself() -> None:
    truth, found = scenes(pictures=20)
    bound = compare(truth, found, found, CLASSES, samples=200).map50()
    assert (bound.difference, bound.low, bound.high) == (0.0, 0.0, 0.0)


def test_the_better_version_is_clearly_better() -> None:
    truth, worse = scenes(pictures=40, noise=5)
    bound = compare(truth, worse, perfect(truth), CLASSES).map50()
    assert bound.low > 0.2
    assert bound.low < bound.difference < bound.high
    assert bound.b == pytest.approx(1.0)
    back = compare(truth, perfect(truth), worse, CLASSES).map50()
    assert (back.difference, back.low, back.high) == pytest.approx(
        (-bound.difference, -bound.high, -bound.low), abs=1e-12
    )


def test_the_difference_is_that_of_evaluate() -> None:
    truth, a = scenes(pictures=30, noise=4)
    _, b = scenes(pictures=30, noise=2)
    bound = compare(truth, a, b, CLASSES, samples=50).map50()
    assert bound.a == pytest.approx(evaluate(truth, a, CLASSES).map50, abs=1e-12)
    assert bound.b == pytest.approx(evaluate(truth, b, CLASSES).map50, abs=1e-12)


def test_the_interval_has_the_spread_of_repeated_data_sets() -> None:
    """Against the slow way: data sets with repeated pictures, each evaluated by hotcoco."""
    truth, a = scenes(pictures=20, noise=4)
    _, b = scenes(pictures=20, noise=2)
    bound = compare(truth, a, b, CLASSES, samples=1000).map50()
    rng = np.random.default_rng(5)
    slow = []
    for _ in range(80):
        drawn = rng.integers(0, 20, 20)
        some = [truth[i] for i in drawn]
        ours, theirs = (evaluate(some, [found[i] for i in drawn], CLASSES).map50 for found in (b, a))
        slow.append(ours - theirs)
    width = float(np.subtract(*np.quantile(slow, [0.975, 0.025])))
    assert bound.high - bound.low == pytest.approx(width, rel=0.4)


def test_the_same_seed_gives_the_same_bound() -> None:
    truth, a = scenes(pictures=20, noise=4)
    _, b = scenes(pictures=20, noise=2)
    one, two, other = (compare(truth, a, b, CLASSES, seed=s, samples=150).map50() for s in (3, 3, 4))
    assert one == two
    assert (one.low, one.high) != (other.low, other.high)


def test_pictures_without_buildings_still_count() -> None:
    truth, found = scenes(pictures=10)
    empty = [(np.zeros((0, 4), np.float32), np.zeros(0, np.int64))] * 10
    quiet = [np.zeros((0, 6), np.float32)] * 10
    loud = [np.array([[5, 5, 30, 30, 0.99, label]], np.float32) for label in range(4)] * 3
    bound = compare(truth + empty, found + loud[:10], found + quiet, CLASSES, samples=100).map50()
    assert bound.low > 0


def test_one_picture_with_buildings_among_empty_ones() -> None:
    """Samples that draw no building at all have no mAP and are left out."""
    truth, found = scenes(pictures=1)
    empty = [(np.zeros((0, 4), np.float32), np.zeros(0, np.int64))] * 3
    quiet = [np.zeros((0, 6), np.float32)] * 3
    bound = compare(truth + empty, found + quiet, perfect(truth) + quiet, CLASSES, samples=100).map50()
    assert np.isfinite([bound.low, bound.high]).all()
    assert bound.low == pytest.approx(bound.difference)


def test_lengths_must_agree() -> None:
    truth, found = scenes(pictures=3)
    with pytest.raises(InvalidInput, match="3 pictures, but 3 and 2"):
        compare(truth, found, found[:2], CLASSES)
