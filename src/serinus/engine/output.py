"""What a model may answer, and what is refused. The last line between a broken version and a user."""

import numpy as np
import numpy.typing as npt

from serinus.core.errors import ModelFault

COLUMNS = 6
"""x1, y1, x2, y2, confidence, class id."""

EDGE_TOLERANCE = 0.5
"""Pixels that a box may stand out of the picture: rounding in the graph, nothing more."""


class InvalidOutput(ModelFault):
    """The model answered, but with what nobody should see."""


def check_shape(found: object, *, batch: int, max_detections: int) -> npt.NDArray[np.float32]:
    """`found`, when it is float32 [batch, K <= max_detections, 6]; else raises InvalidOutput."""
    if not isinstance(found, np.ndarray):
        raise InvalidOutput(f"the model answered with {type(found).__name__}, not an array.")
    if found.dtype != np.float32 or found.ndim != 3 or found.shape[0] != batch or found.shape[2] != COLUMNS:
        raise InvalidOutput(
            f"the model answered with {found.dtype} {list(found.shape)}, not float32 [{batch}, K, {COLUMNS}]."
        )
    if found.shape[1] > max_detections:
        raise InvalidOutput(f"the model answered with {found.shape[1]} detections, over {max_detections}.")
    return found


def check(
    detections: npt.NDArray[np.float32], *, width: int, height: int, classes: int, max_detections: int
) -> None:
    """Refuses an answer that nobody should see.

    `detections`: float32 [K, 6] of one picture, or [N, K, 6] of several of one size, in pixels of the
    network's input of `width` x `height`. `classes`: how many there are. Rows of confidence 0 are unused,
    they need only be finite. Raises InvalidOutput that says what is wrong with which row.
    """
    if detections.dtype != np.float32 or detections.ndim not in (2, 3) or detections.shape[-1] != COLUMNS:
        given = f"{detections.dtype} {list(detections.shape)}"
        raise InvalidOutput(f"the model answered with {given}, not float32 [K, {COLUMNS}].")
    if detections.shape[-2] > max_detections:
        raise InvalidOutput(
            f"the model answered with {detections.shape[-2]} detections, over {max_detections}."
        )
    rows = detections.reshape(-1, COLUMNS)
    if not np.isfinite(rows).all():
        raise InvalidOutput("the model answered with NaN or infinity.")
    x1, y1, x2, y2, confidence, kind = rows.T
    _refuse((confidence < 0) | (confidence > 1), rows, "a confidence outside [0, 1]")
    used = confidence > 0
    _refuse(used & ((kind != np.floor(kind)) | (kind < 0) | (kind >= classes)), rows, "no known class")
    _refuse(used & ((x1 > x2) | (y1 > y2)), rows, "a box turned inside out")
    low, right, bottom = -EDGE_TOLERANCE, width + EDGE_TOLERANCE, height + EDGE_TOLERANCE
    outside = (x1 < low) | (y1 < low) | (x2 > right) | (y2 > bottom)
    _refuse(used & outside, rows, f"a box outside the picture of {width}x{height}")


def _refuse(wrong: npt.NDArray[np.bool_], rows: npt.NDArray[np.float32], what: str) -> None:
    if wrong.any():
        row = rows[int(np.argmax(wrong))]
        raise InvalidOutput(f"the model answered with {what}: {[round(float(v), 3) for v in row]}.")


def mismatch(
    expected: npt.NDArray[np.float32],
    found: npt.NDArray[np.float32],
    *,
    floor: float,
    confidence: float,
    pixels: float,
) -> str:
    """How two answers for one picture (float32 [K, 6]) differ, in words; empty when they agree.

    Every detection of at least `floor` needs a partner in the other answer, in whatever order: same class,
    confidence within `confidence`, each side within `pixels`.
    """
    for ours, theirs, words in ((expected, found, "missing"), (found, expected, "new")):
        for row in ours[ours[:, 4] >= floor + confidence]:
            near = (
                (np.abs(theirs[:, :4] - row[:4]).max(axis=1, initial=0) <= pixels)
                & (np.abs(theirs[:, 4] - row[4]) <= confidence)
                & (theirs[:, 5] == row[5])
            )
            if not near.any():
                x, y, sure = (float(row[column]) for column in (0, 1, 4))
                return f"a detection is {words} at ({x:.0f}, {y:.0f}), confidence {sure:.2f}"
    return ""
