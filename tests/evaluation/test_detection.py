import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serinus.core.errors import InvalidInput
from serinus.evaluation.bootstrap import compare
from serinus.evaluation.detection import evaluate
from tests.evaluation.scenes import CLASSES, perfect, scenes

BOX = np.array([[10, 10, 30, 30]], np.float32)


def _truth(*labels: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """One picture per label, with one building."""
    return [(BOX, np.array([label], np.int64)) for label in labels]


def _found(*rows: tuple[float, ...]) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, 6)


def test_a_perfect_model() -> None:
    truth, _ = scenes(pictures=8)
    metrics = evaluate(truth, perfect(truth), CLASSES)
    assert metrics.map50 == metrics.map50_95 == metrics.precision == metrics.recall == 1.0
    confusion = np.array(metrics.confusion)
    assert (confusion == np.diag(np.diag(confusion))).all()
    assert confusion.sum() == sum(len(labels) for _, labels in truth)


def test_a_model_that_finds_nothing() -> None:
    truth = _truth(0, 1)
    metrics = evaluate(truth, [_found(), _found()], CLASSES)
    assert metrics.map50 == metrics.precision == metrics.recall == 0.0
    assert np.array(metrics.confusion)[:, -1].tolist() == [1, 1, 0, 0, 0]


def test_rows_of_confidence_zero_are_no_detections() -> None:
    unused = _found((10, 10, 30, 30, 0.0, 0), (10, 10, 30, 30, 0.8, 0))
    metrics = evaluate(_truth(0), [unused], CLASSES)
    assert metrics.precision == 1.0
    assert np.array(metrics.confusion).sum() == 1


def test_average_precision_by_hand() -> None:
    """Two buildings; a hit, a false alarm, a hit: precision 1 up to recall 1/2, then 2/3."""
    truth = [(np.array([[0, 0, 20, 20], [40, 40, 60, 60]], np.float32), np.array([0, 0]))]
    found = [_found((0, 0, 20, 20, 0.9, 0), (80, 80, 99, 99, 0.8, 0), (40, 40, 60, 60, 0.7, 0))]
    expected = (51 * 1.0 + 50 * 2 / 3) / 101
    assert evaluate(truth, found, CLASSES).map50 == pytest.approx(expected)


def test_iou_decides_between_map50_and_map50_95() -> None:
    """IoU 0.8: a hit at 0.50 to 0.80, that is 7 of 10 thresholds (at 0.80 by COCO's >=)."""
    found = [_found((10, 10, 30, 26, 0.9, 0))]
    metrics = evaluate(_truth(0), found, CLASSES)
    assert metrics.map50 == pytest.approx(1.0)
    assert metrics.map50_95 == pytest.approx(0.7)


def test_the_mean_is_over_the_classes_that_are_there() -> None:
    truth = _truth(0, 2)
    found = [_found((10, 10, 30, 30, 0.9, 0)), _found((50, 50, 70, 70, 0.9, 2))]
    metrics = evaluate(truth, found, CLASSES)
    assert metrics.present == (CLASSES[0], CLASSES[2])
    assert metrics.map50 == pytest.approx(0.5)
    assert metrics.per_class[CLASSES[1]].support == 0
    assert metrics.flat() == {
        "map50": metrics.map50,
        "map50_95": metrics.map50_95,
        "precision": 0.5,
        "recall": 0.5,
        f"map50/{CLASSES[0]}": pytest.approx(1.0),
        f"map50/{CLASSES[2]}": 0.0,
    }


def test_a_wrong_class_is_a_miss_and_stands_in_the_confusion_matrix() -> None:
    metrics = evaluate(_truth(0), [_found((10, 10, 30, 30, 0.9, 3))], CLASSES)
    assert metrics.map50 == metrics.recall == metrics.precision == 0.0
    assert metrics.confusion[0][3] == 1
    assert metrics.per_class[CLASSES[0]].recall == 0.0


def test_the_threshold_with_the_best_f1() -> None:
    """One hit at 0.9, one at 0.6, five false alarms from 0.5 down: it cuts above the false alarms."""
    truth = [(np.array([[0, 0, 20, 20], [40, 40, 60, 60]], np.float32), np.array([0, 1]))]
    alarms = [(80, 80, 99, 99, 0.5 - 0.01 * n, 0) for n in range(5)]
    found = [_found((0, 0, 20, 20, 0.9, 0), (40, 40, 60, 60, 0.6, 1), *alarms)]
    best = evaluate(truth, found, CLASSES)
    assert best.threshold == pytest.approx(0.6)
    assert (best.precision, best.recall) == (1.0, 1.0)
    low = evaluate(truth, found, CLASSES, threshold=0.3)
    assert (low.precision, low.recall) == (pytest.approx(2 / 7), 1.0)
    high = evaluate(truth, found, CLASSES, threshold=0.7)
    assert (high.precision, high.recall) == (1.0, 0.5)
    assert low.map50 == best.map50 == high.map50


def test_a_dense_picture_counts_whole() -> None:
    """COCO's own limit is 100 detections a class; a tile of a city has more buildings than that."""
    x, y = np.meshgrid(np.arange(20) * 20.0, np.arange(15) * 20.0)
    corners = np.stack((x.ravel(), y.ravel()), 1)
    boxes = np.hstack((corners, corners + 12)).astype(np.float32)
    truth = [(boxes, np.zeros(300, np.int64))]
    metrics = evaluate(truth, perfect(truth), CLASSES, threshold=0.5)
    assert (metrics.map50, metrics.recall, metrics.precision) == (1.0, 1.0, 1.0)
    assert metrics.confusion[0][0] == 300
    compared = compare(truth, perfect(truth), perfect(truth), CLASSES)
    assert compared.recall(0).a == 1.0


def test_double_detections_count_once() -> None:
    found = [_found((10, 10, 30, 30, 0.9, 0), (10, 10, 30, 30, 0.8, 0))]
    metrics = evaluate(_truth(0), found, CLASSES, threshold=0.1)
    assert metrics.precision == 0.5
    assert metrics.recall == 1.0


@given(seed=st.integers(0, 1000), noise=st.floats(0, 6))
@settings(max_examples=25, deadline=None)
def test_numbers_are_shares_and_agree_with_each_other(seed: int, noise: float) -> None:
    truth, found = scenes(pictures=6, seed=seed, noise=noise)
    metrics = evaluate(truth, found, CLASSES)
    assert all(0 <= value <= 1 for value in metrics.flat().values())
    assert metrics.map50_95 <= metrics.map50 + 1e-12
    confusion = np.array(metrics.confusion)
    support = [metrics.per_class[name].support for name in CLASSES]
    assert confusion[:-1].sum(1).tolist() == support
    shown = sum(int((f[:, 4] >= np.float32(metrics.threshold)).sum()) for f in found)
    assert confusion[:, :-1].sum() == pytest.approx(shown, abs=1)


@pytest.mark.parametrize(
    ("truth", "found", "words"),
    [
        (_truth(0), [], "1 pictures have truth, but 0"),
        (_truth(4), [_found()], "class 4"),
        ([(np.zeros((0, 4), np.float32), np.zeros(0, np.int64))], [_found()], "nothing to measure"),
        ([], [], "nothing to measure"),
    ],
)
def test_what_cannot_be_measured_is_refused(truth: list, found: list, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        evaluate(truth, found, CLASSES)
