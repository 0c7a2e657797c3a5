"""What the network should have said: the maps of a picture's true buildings. NumPy only."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from serinus.training.network import CELL

_SPREAD = 1 / 6
"""Standard deviation of a centre's bump, per side of the building."""
_MIN_SPREAD = 0.6
_REACH = 3.0
_INSIDE = 0.5
"""Cells where the bump is at least this high learn class and sides too."""


class Targets(NamedTuple):
    """For one picture of h x w cells."""

    heat: npt.NDArray[np.float32]
    """[h, w] in [0, 1]: a bump at each centre, 1 exactly in the centre's cell."""
    kind: npt.NDArray[np.int64]
    """[h, w] class id where `weight` > 0."""
    sides: npt.NDArray[np.float32]
    """[4, h, w] left, top, right, bottom in cells, where `weight` > 0."""
    weight: npt.NDArray[np.float32]
    """[h, w] how much a cell counts for class and sides; 0 outside buildings' centres."""


def targets(
    boxes: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], height: int, width: int
) -> Targets:
    """`boxes` float32 [M, 4] in pixels of a picture of `height` x `width` (multiples of CELL)."""
    h, w = height // CELL, width // CELL
    heat = np.zeros((h, w), np.float32)
    owner = np.full((h, w), -1, np.int64)
    cells = boxes / CELL
    for number, (x1, y1, x2, y2) in enumerate(cells.tolist()):
        rows, down = _bump((y1 + y2) / 2, (y2 - y1) * _SPREAD, h)
        columns, across = _bump((x1 + x2) / 2, (x2 - x1) * _SPREAD, w)
        bump = down[:, None] * across[None]
        window = heat[rows, columns]
        higher = bump > window
        owner[rows, columns][higher] = number
        window[higher] = bump[higher]
    mine = (owner >= 0) & (heat >= _INSIDE)
    kind = np.zeros((h, w), np.int64)
    sides = np.ones((4, h, w), np.float32)
    y, x = np.nonzero(mine)
    of = owner[y, x]
    kind[y, x] = labels[of]
    corners = cells[of]
    sides[0, y, x] = x + 0.5 - corners[:, 0]
    sides[1, y, x] = y + 0.5 - corners[:, 1]
    sides[2, y, x] = corners[:, 2] - x - 0.5
    sides[3, y, x] = corners[:, 3] - y - 0.5
    inside = mine & (sides.min(0) > 0)  # a cell outside a tiny box cannot learn its sides
    return Targets(heat, kind, sides, np.where(inside, heat, 0).astype(np.float32))


def _bump(centre: float, spread: float, cells: int) -> tuple[slice, npt.NDArray[np.float32]]:
    """Which cells a bump along one axis covers, and its height there: 1 in the cell that holds the centre."""
    spread = max(spread, _MIN_SPREAD)
    peak = min(max(int(centre), 0), cells - 1)
    reach = int(np.ceil(spread * _REACH))
    first, last = max(0, peak - reach), min(cells, peak + reach + 1)
    distance = np.arange(first, last) - peak
    return slice(first, last), np.exp(-0.5 * (distance / spread) ** 2).astype(np.float32)
