"""By hand, on masks small enough to count; and beside the scoring code's own arithmetic."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serinus.evaluation.xview2 import mask, xview2
from tests.evaluation.scenes import CLASSES


def _m(*rows: str) -> np.ndarray:
    return np.array([[int(c) for c in row] for row in rows], np.uint8)


def test_a_perfect_answer_scores_one() -> None:
    truth = _m("1122", "3344")
    found = xview2([(truth, truth)], CLASSES)
    assert found.localization_f1 == 1.0
    assert found.score == found.present_score == pytest.approx(1.0, abs=1e-5)


def test_by_hand() -> None:
    """Truth: 2 pixels of each class; one of class 2 is called 3, one of class 4 is missed, one false alarm.

    Localization: 7 hits, 1 false alarm, 1 missed: 14/16. Class 1: 1. Class 2: 1 hit, 1 missed: 2/3.
    Class 3: 2 hits, 1 wrong: 4/5. Class 4: 1 hit, 1 missed: 2/3. The false alarm counts for no class.
    """
    truth = _m("11223344", "00000000")
    answer = _m("11233340", "40000000")
    found = xview2([(truth, answer)], CLASSES)
    assert found.localization_f1 == pytest.approx(14 / 16)
    f1 = [found.per_class[name].f1 for name in CLASSES]
    assert f1 == pytest.approx([1, 2 / 3, 4 / 5, 2 / 3])
    damage = 4 / (1 + 3 / 2 + 5 / 4 + 3 / 2)
    assert found.damage_f1 == pytest.approx(damage, abs=1e-5)
    assert found.score == pytest.approx(0.3 * 14 / 16 + 0.7 * damage, abs=1e-5)
    assert [found.per_class[name].support for name in CLASSES] == [2, 2, 2, 2]


def test_an_absent_class_costs_nearly_all_of_the_damage_score() -> None:
    truth = _m("1122", "3300")
    found = xview2([(truth, truth)], CLASSES)
    assert found.damage_f1 == pytest.approx(4 / (3 + 1e6), rel=1e-3)
    assert found.score == pytest.approx(0.3, abs=1e-4)
    assert found.present_damage_f1 == pytest.approx(1.0, abs=1e-5)
    assert found.present_score == pytest.approx(1.0, abs=1e-5)
    assert found.per_class[CLASSES[3]].support == 0


def test_pixels_are_pooled_not_pictures() -> None:
    """A picture of 1 pixel that is wrong beside one of 99 that are right: 99/100, not 1/2."""
    right, wrong = np.ones((9, 11), np.uint8), np.ones((1, 1), np.uint8)
    found = xview2([(right, right), (wrong, 2 * wrong)], CLASSES)
    assert found.per_class[CLASSES[0]].f1 == pytest.approx(2 * 99 / (2 * 99 + 1))
    assert found.localization_f1 == 1.0


def test_nothing_there_and_nothing_found() -> None:
    empty = np.zeros((4, 4), np.uint8)
    assert xview2([(empty, empty)], CLASSES).score == pytest.approx(0, abs=1e-5)


def _as_published(pairs: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """The scoring code's way: tp, fn, fp by comparison, precision and recall, harmonic means."""

    def f1(tp: int, fp: int, fn: int) -> float:
        precision = tp / (tp + fp) if tp + fp else 0.0
        recall = tp / (tp + fn) if tp + fn else 0.0
        return 2 * precision * recall / (precision + recall) if precision + recall else 0.0

    def counted(values: list[tuple[np.ndarray, np.ndarray]], c: int) -> float:
        tp = sum(int(((p == c) & (t == c)).sum()) for t, p in values)
        fn = sum(int(((p != c) & (t == c)).sum()) for t, p in values)
        fp = sum(int(((p == c) & (t != c)).sum()) for t, p in values)
        return f1(tp, fp, fn)

    located = counted([(t > 0, p > 0) for t, p in pairs], 1)
    damage = [counted([(t[t > 0], p[t > 0]) for t, p in pairs], c) for c in (1, 2, 3, 4)]
    return 0.3 * located + 0.7 * (4 / sum(1 / (value + 1e-6) for value in damage))


@given(seed=st.integers(0, 10_000), kinds=st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_as_the_scoring_code_counts(seed: int, kinds: int) -> None:
    random = np.random.default_rng(seed)
    pairs = [
        (random.integers(0, kinds, size, dtype=np.uint8), random.integers(0, 5, size, dtype=np.uint8))
        for size in ((5, 7), (3, 2))
    ]
    assert xview2(pairs, CLASSES).score == pytest.approx(_as_published(pairs), abs=1e-9)


def test_masks_of_boxes() -> None:
    boxes = np.array([[0.4, 0, 2.6, 2], [2, 1, 9, 2], [-5, -5, -1, -1]], np.float32)
    painted = mask(boxes, np.array([0, 3, 1]), 3, 4)
    np.testing.assert_array_equal(painted, _m("1110", "1144", "0000"))
