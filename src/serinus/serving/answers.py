"""What an answer is like: its category of each signal. On the hot path of every request."""

import numpy as np
import numpy.typing as npt

from serinus.evidence.answers import EMPTY, FOUND
from serinus.evidence.counts import Answer

_BANDS = ("0", "1", "2-3", "4-7", "8-15", "16-31", *["32 and more"] * 58)
"""By the bits of the number."""
_NONE = "none"


def answer_of(detections: npt.NDArray[np.float32], classes: tuple[str, ...], *, golden: bool) -> Answer:
    """Of detections [K, 6] that are shown. `golden`: to a probe whose pair shows buildings."""
    found = len(detections)
    return (
        _BANDS[found.bit_length()],
        classes[np.bincount(detections[:, 5].astype(np.intp)).argmax()] if found else _NONE,
        (FOUND if found else EMPTY) if golden else "",
    )
