import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serinus.engine.output import InvalidOutput, check, check_shape, mismatch

GOOD = np.array([[1, 2, 30, 40, 0.9, 3], [0, 0, 64, 48, 0.4, 0], [0, 0, 0, 0, 0, 0]], np.float32)


def _check(rows: np.ndarray) -> None:
    check(rows, width=64, height=48, classes=4, max_detections=100)


def test_a_good_answer_passes() -> None:
    _check(GOOD)
    _check(np.stack([GOOD, GOOD]))
    _check(np.zeros((0, 6), np.float32))


def _with(column: int, value: float) -> np.ndarray:
    rows = GOOD.copy()
    rows[0, column] = value
    return rows


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (_with(0, np.nan), "NaN or infinity"),
        (_with(4, np.nan), "NaN or infinity"),
        (_with(2, np.inf), "NaN or infinity"),
        (_with(4, 1.01), r"confidence outside \[0, 1\]"),
        (_with(4, -0.1), r"confidence outside \[0, 1\]"),
        (_with(5, 4), "no known class"),
        (_with(5, -1), "no known class"),
        (_with(5, 1.5), "no known class"),
        (_with(0, 31), "inside out"),
        (_with(1, 41), "inside out"),
        (_with(0, -2), "outside the picture of 64x48"),
        (_with(3, 49), "outside the picture of 64x48"),
        (GOOD.astype(np.float64), "float64"),
        (GOOD[:, :5], r"\[3, 5\]"),
        (np.zeros((101, 6), np.float32), "101 detections, over 100"),
        (np.zeros(6, np.float32), r"\[6\]"),
    ],
)
def test_what_nobody_should_see_is_refused(rows: np.ndarray, words: str) -> None:
    with pytest.raises(InvalidOutput, match=words):
        _check(rows)


def test_unused_rows_may_hold_anything_finite() -> None:
    rows = GOOD.copy()
    rows[2] = (99, 99, -5, -5, 0, 17)
    _check(rows)
    rows[2, 0] = np.nan
    with pytest.raises(InvalidOutput):
        _check(rows)


@given(st.binary(min_size=24 * 3, max_size=24 * 3))
@settings(max_examples=200, deadline=None)
def test_what_passes_is_always_showable(data: bytes) -> None:
    rows = np.frombuffer(data, np.float32).reshape(3, 6)
    try:
        _check(rows)
    except InvalidOutput:
        return
    used = rows[rows[:, 4] > 0]
    assert np.isfinite(rows).all()
    assert ((used[:, :4] >= -0.5) & (used[:, [0, 1, 2, 3]] <= 64.5)).all()
    assert set(used[:, 5]) <= {0, 1, 2, 3}


@pytest.mark.parametrize(
    "found",
    [
        np.zeros((1, 3, 6), np.float32),
        np.zeros((2, 3, 5), np.float32),
        np.zeros((2, 3, 6), np.int64),
        np.zeros((2, 6), np.float32),
        np.zeros((2, 11, 6), np.float32),
        "text",
    ],
)
def test_wrong_shapes_are_refused(found: object) -> None:
    with pytest.raises(InvalidOutput):
        check_shape(found, batch=2, max_detections=10)


def test_mismatch_ignores_order_and_rounding() -> None:
    moved = GOOD[[1, 0, 2]] + np.array([0.01, 0, 0, 0, 0.0005, 0], np.float32)
    assert mismatch(GOOD, moved, floor=0.05, confidence=1e-3, pixels=0.1) == ""


@pytest.mark.parametrize(
    ("column", "by", "words"),
    [(0, 0.3, "missing at"), (4, -0.05, "missing at"), (5, -1, "missing at")],
)
def test_mismatch_names_what_differs(column: int, by: float, words: str) -> None:
    other = _with(column, GOOD[0, column] + by)
    assert words in mismatch(GOOD, other, floor=0.05, confidence=1e-3, pixels=0.1)


def test_a_new_detection_is_a_mismatch() -> None:
    assert "new at (1, 2)" in mismatch(GOOD[1:], GOOD, floor=0.05, confidence=1e-3, pixels=0.1)
    assert mismatch(GOOD[1:], GOOD, floor=0.95, confidence=1e-3, pixels=0.1) == ""
