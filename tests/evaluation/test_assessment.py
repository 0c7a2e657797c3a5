import numpy as np
import pytest

from serinus.evaluation.assessment import Picture, assess
from serinus.evaluation.calibration import calibration
from serinus.evaluation.coco import Matches
from serinus.evaluation.detection import evaluate
from tests.evaluation.scenes import CLASSES


def _picture(disaster: str, *buildings: tuple[int, int, int, int]) -> Picture:
    """Buildings as (x, y, side, class)."""
    boxes = np.array([[x, y, x + side, y + side] for x, y, side, _ in buildings], np.float32).reshape(-1, 4)
    labels = np.array([label for *_, label in buildings], np.int64)
    return Picture(boxes, labels, disaster, 128, 128)


def _exact(picture: Picture, confidence: float = 0.9) -> np.ndarray:
    sure = np.full(len(picture.labels), confidence)
    return np.column_stack((picture.boxes, sure, picture.labels)).astype(np.float32).reshape(-1, 6)


FIRE = _picture("fire", (0, 0, 10, 0), (40, 40, 20, 1))
FLOOD = _picture("flood", (0, 0, 40, 0), (60, 60, 20, 1), (0, 100, 20, 0))
EMPTY = _picture("calm")


def test_each_disaster_and_each_size_by_itself() -> None:
    """The flood is answered perfectly, the fire not at all."""
    found = assess(
        [FIRE, FLOOD, EMPTY], [_exact(EMPTY), _exact(FLOOD), _exact(EMPTY)], CLASSES, threshold=0.5
    )
    assert found.per_disaster["flood"].map50 == pytest.approx(1.0)
    assert found.per_disaster["fire"].map50 == 0.0
    assert "calm" not in found.per_disaster, "there is nothing to measure"
    sizes = found.per_size
    assert [one.support for one in sizes.values()] == [1, 3, 1, 0]
    assert sizes["below 16 px"].map50 == 0.0
    assert sizes["32 to 64 px"].map50 == pytest.approx(1.0)
    assert 0 < sizes["16 to 32 px"].map50 < 1
    assert sizes["64 px and more"].map50 == 0.0
    truth = [(p.boxes, p.labels) for p in (FIRE, FLOOD, EMPTY)]
    answers = [_exact(EMPTY), _exact(FLOOD), _exact(EMPTY)]
    assert found.metrics == evaluate(truth, answers, CLASSES, threshold=0.5)


def test_counting_by_hand() -> None:
    """One of two is shown, then four of three: off by one each, and none on the whole."""
    twice = np.vstack([_exact(FLOOD), _exact(FLOOD)[:1], _exact(FLOOD, 0.1)])
    found = assess([FIRE, FLOOD], [_exact(FIRE)[:1], twice], CLASSES, threshold=0.5)
    assert (found.count.true, found.count.shown) == (5, 5)
    assert found.count.mean_absolute == 1.0
    assert found.count.bias == 0.0
    assert found.count_per_class[CLASSES[1]].bias == -0.5


def test_the_interval_holds_the_figure_and_shrinks_to_it_when_all_pictures_are_alike() -> None:
    pictures = [FIRE, FLOOD, EMPTY] * 5
    mixed = [_exact(EMPTY), _exact(FLOOD), _exact(EMPTY)] * 5
    found = assess(pictures, mixed, CLASSES, threshold=0.5)
    assert found.map50.low < found.map50.value < found.map50.high
    perfect = assess(pictures, [_exact(p) for p in pictures], CLASSES, threshold=0.5)
    assert perfect.map50.low == perfect.map50.value == perfect.map50.high == pytest.approx(1.0)
    assert perfect.xview2.present_score == pytest.approx(1.0, abs=1e-5)
    assert perfect.curves == dict.fromkeys(CLASSES[:2], (1.0,) * 101)


def _matches(*pairs: tuple[float, bool]) -> Matches:
    score, hit = zip(*pairs, strict=True) if pairs else ((), ())
    return Matches(np.zeros(len(pairs), int), np.array(score), np.array(hit, bool), np.ones(1, int))


def test_calibration_by_hand() -> None:
    """Confidence 0.85 is right 1 time of 2, 0.25 not once of 2. What is below 0.05 is left out."""
    found = calibration(
        [_matches((0.85, True), (0.85, False)), _matches((0.25, False), (0.25, False), (0.01, False))]
    )
    assert found.detections == 4
    assert found.ece == pytest.approx((2 * 0.35 + 2 * 0.25) / 4)
    assert [one.detections for one in found.bins] == [0, 0, 2, 0, 0, 0, 0, 0, 2, 0]
    assert calibration([_matches()]).ece == 0.0
    assert calibration([_matches((1.0, True))]).bins[-1].right == 1.0
