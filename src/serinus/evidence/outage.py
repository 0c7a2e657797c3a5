"""Shared failures: when both versions fail, the canary is not to blame; and when that is over.

That the canary's error rate is above p0 (E_abs) is soon known; that it is worse than current (E_rel) takes a
few requests more. A shared failure is the first without the second *while current fails too*: its newest
requests fail more often than p0. When it is over, the old evidence is worthless and starts afresh.
"""

from collections import deque
from collections.abc import Iterable

from serinus.core.enums import Arm, Stratum
from serinus.evidence.counts import Slice
from serinus.evidence.promotion import Recent, Tally

_MOST_SLICES = 100_000

OVER_AFTER = 50
"""Newest requests of each arm that must look fine before a shared failure counts as over."""


def fails(newest: Recent, p0: float) -> bool:
    """Whether the newest requests of a version fail more often than p0."""
    return newest.total.failures > newest.total.requests * p0


def is_over(newest_first: Iterable[Slice], p0: float) -> bool:
    """Whether the newest `OVER_AFTER` requests of each arm fail at half of p0 or less.

    `newest_first`: slices since the failure was noticed, the newest first; no more are read than needed.
    Every stratum that has requests among them must be well: healthy probes do not speak for users that fail.
    """
    counts = {(stratum, arm): Tally() for stratum in Stratum for arm in Arm}
    for slice_ in newest_first:
        for cell in slice_:
            counts[cell.stratum, cell.arm] += Tally(cell.failures + cell.successes, cell.failures)
        if all(sum(counts[stratum, arm].requests for stratum in Stratum) >= OVER_AFTER for arm in Arm):
            return all(tally.failures <= tally.requests * p0 / 2 for tally in counts.values())
    return False


class Aftermath:
    """The slices since a shared failure was noticed: `is_over` of all of them, at a constant cost a slice.

    What the newest `OVER_AFTER` requests of each arm do not need is forgotten.
    """

    def __init__(self) -> None:
        self._slices: deque[Slice] = deque()
        self._tallies = {(stratum, arm): Tally() for stratum in Stratum for arm in Arm}

    def add(self, slice_: Slice) -> None:
        self._slices.append(slice_)
        self._count(slice_, 1)
        while self._suffices_without(self._slices[0]) or len(self._slices) > _MOST_SLICES:
            self._count(self._slices.popleft(), -1)

    def over(self, p0: float) -> bool:
        """Whether both arms are well again."""
        enough = all(self._requests(arm) >= OVER_AFTER for arm in Arm)
        return enough and all(one.failures <= one.requests * p0 / 2 for one in self._tallies.values())

    def _count(self, slice_: Slice, sign: int) -> None:
        for cell in slice_:
            failures = cell.failures
            more = Tally(sign * (failures + cell.successes), sign * failures)
            self._tallies[cell.stratum, cell.arm] += more

    def _suffices_without(self, slice_: Slice) -> bool:
        gone = {arm: sum(c.successes + c.failures for c in slice_ if c.arm is arm) for arm in Arm}
        return all(self._requests(arm) - gone[arm] >= OVER_AFTER for arm in Arm)

    def _requests(self, arm: Arm) -> int:
        return sum(self._tallies[stratum, arm].requests for stratum in Stratum)
