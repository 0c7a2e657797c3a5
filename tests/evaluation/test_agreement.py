import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from serinus.evaluation.agreement import agreement, ious, match


def boxes(*rows: tuple[float, ...]) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, 6)


@st.composite
def pictures(draw: st.DrawFn) -> np.ndarray:
    """Boxes on a coarse grid, so that many overlap, by whole and by half."""
    rows = draw(
        st.lists(
            st.tuples(
                st.integers(0, 5), st.integers(0, 5), st.integers(1, 4), st.integers(1, 4), st.integers(0, 2)
            ),
            max_size=8,
        )
    )
    return boxes(*((x, y, x + w, y + h, 0.5, label) for x, y, w, h, label in rows))


def test_who_agrees_with_itself_agrees_wholly() -> None:
    found = boxes((0, 0, 10, 10, 0.9, 0), (20, 0, 30, 10, 0.8, 3))
    same = agreement(found, found, 4)
    assert (same.matched, same.agreed, same.f1, same.score_shift) == (2, 2, 1.0, 0.0)
    assert same.confusion[0][0] == 1 and same.confusion[3][3] == 1


def test_other_classes_lost_boxes_and_new_ones_are_told_apart() -> None:
    a = boxes((0, 0, 10, 10, 0.9, 0), (20, 0, 30, 10, 0.8, 1), (50, 50, 60, 60, 0.7, 2))
    b = boxes((20, 1, 30, 11, 0.6, 3), (0, 0, 10, 9, 0.5, 0), (80, 80, 90, 90, 0.9, 1))
    found = agreement(a, b, 4)
    assert (found.boxes_a, found.boxes_b, found.matched, found.agreed) == (3, 3, 2, 1)
    assert found.f1 == pytest.approx(2 / 6)
    assert found.confusion[0][0] == 1, "the same class"
    assert found.confusion[1][3] == 1, "another class"
    assert found.confusion[2][4] == 1, "only A"
    assert found.confusion[4][1] == 1, "only B"
    assert sum(map(sum, found.confusion)) == 4
    assert found.score_shift == pytest.approx(-0.3)


def test_nothing_seen_by_both_is_agreement_and_by_one_is_none() -> None:
    assert agreement(boxes(), boxes(), 4).f1 == 1.0
    assert agreement(boxes((0, 0, 9, 9, 0.9, 0)), boxes(), 4).f1 == 0.0


def test_a_greedy_match_would_lose_a_pair() -> None:
    """A1 overlaps B1 a little more than B2 does, but A2 has only B1."""
    a = boxes((0, 0, 10, 10, 0.9, 0), (3, 0, 13, 10, 0.9, 0))
    b = boxes((1, 0, 11, 10, 0.9, 0), (0, 3, 10, 13, 0.9, 0))
    rows, columns = match(a[:, :4], b[:, :4])
    assert sorted(zip(rows.tolist(), columns.tolist(), strict=True)) == [(0, 1), (1, 0)]


@given(pictures(), pictures())
def test_the_match_is_the_best_in_sum_of_iou(a: np.ndarray, b: np.ndarray) -> None:
    overlap = ious(a[:, :4], b[:, :4])
    rows, columns = match(a[:, :4], b[:, :4])
    assert len(set(rows.tolist())) == len(rows) and len(set(columns.tolist())) == len(columns)
    assert (overlap[rows, columns] >= 0.5).all()
    weights = np.where(overlap >= 0.5, overlap, 0.0)
    best = linear_sum_assignment(weights, maximize=True)
    assert overlap[rows, columns].sum() == pytest.approx(weights[best].sum())


@given(pictures(), pictures())
def test_agreement_is_symmetric_and_within_bounds(a: np.ndarray, b: np.ndarray) -> None:
    one, other = agreement(a, b, 3), agreement(b, a, 3)
    assert one.f1 == other.f1 and 0.0 <= one.f1 <= 1.0
    total = np.array(one.confusion)
    assert total[:3].sum() == len(a) and total[:, :3].sum() == len(b)


def test_iou_by_hand() -> None:
    a = np.array([[0, 0, 2, 2], [0, 0, 0, 0]], np.float32)
    b = np.array([[1, 0, 3, 2], [5, 5, 6, 6]], np.float32)
    assert ious(a, b).tolist() == [[pytest.approx(1 / 3), 0.0], [0.0, 0.0]]
    for shape in itertools.product((0, 2), (0, 3)):
        assert ious(np.zeros((shape[0], 4), np.float32), np.zeros((shape[1], 4), np.float32)).shape == shape
