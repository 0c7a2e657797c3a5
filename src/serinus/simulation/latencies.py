"""`evidence.latency` for many rollouts at once; one request is one slice.

The past of each rollout is kept as cumulative counts over all places, dense: place 0 is that of a failure of
the canary, the last one that of a failure of current.
"""

import numpy as np
from numpy.typing import NDArray

from serinus.core.enums import Arm
from serinus.evidence.counts import BINS_PER_MARGIN
from serinus.evidence.errors import arm_given_outcome_log
from serinus.evidence.latency import (
    BLAME_THRESHOLDS,
    FAR_TAIL,
    MEDIAN,
    MIXTURE,
    PROOF_THRESHOLDS,
    RANK_STAKES,
    TAIL,
)
from serinus.simulation.streams import Bools, Floats, Ints
from serinus.simulation.wealths import Wealths


class Comparison:
    """One of the two latency tests: blame (margin 1.2, with failures) or proof (margin 1.44, successes only).

    `bins`: lowest and highest latency bin of the streams; `shares`: of each step.
    """

    def __init__(
        self, *, blame: bool, rollouts: int, most: int, bins: tuple[int, int], shares: tuple[float, ...]
    ) -> None:
        self._shift = (1 if blame else 2) * BINS_PER_MARGIN
        self._blame = blame
        self._lowest = bins[0] - self._shift
        places = bins[1] - self._lowest + 3
        self._fastest, self._slowest = 0, places - 1
        self._pooled = np.zeros((rollouts, places), np.int32)
        self._control = np.zeros((rollouts, places), np.int32)
        self._all = np.arange(places, dtype=np.int32)
        self._shares = np.array(shares)
        self._control_arm = max(shares) < 1.0
        self._stakes = np.array(RANK_STAKES if blame else [-stake for stake in RANK_STAKES])[:, None]
        thresholds = BLAME_THRESHOLDS if blame else PROOF_THRESHOLDS
        self._factors = np.stack([_threshold_factors(thresholds, share) for share in shares])
        """[step, bet, is canary, is slow]"""
        self.wealths = Wealths(MIXTURE, rollouts, most)

    def step(self, canary: Bools, failed: Bools, bins: Ints, step: Ints) -> None:
        """One request of every rollout."""
        place = bins - self._lowest + 1 - self._shift * canary
        if self._blame:
            place = np.where(failed, np.where(canary, self._fastest, self._slowest), place)
            counted = np.ones(len(place), np.bool_)
        else:
            counted = ~failed
        if self._control_arm:
            self._bet(canary, place, counted, step)
        at_or_above = self._all >= place.astype(np.int32)[:, None]
        self._pooled += at_or_above & counted[:, None]
        self._control += at_or_above & (counted & ~canary)[:, None]

    def _bet(self, canary: Bools, place: Ints, counted: Bools, step: Ints) -> None:
        rows = np.arange(len(place))
        total, control = self._pooled[:, -1], self._control[:, -1]
        betting = counted & (total > 0)
        upto = self._pooled[rows, place]
        below = np.where(place > 0, self._pooled[rows, place - 1], 0)
        score = (below + upto + 1) / (total + 1) - 1.0
        share = self._shares[step]
        lean = (canary - share) * score / np.maximum(share, 1.0 - share)
        factors = np.empty((len(MIXTURE.weights), len(place)))
        factors[: len(self._stakes)] = 1.0 + self._stakes * lean
        slow = [place > _quantile(self._pooled, MEDIAN)] * 2
        slow += [place > _quantile(self._control, q) for q in (TAIL, FAR_TAIL)]
        for n, is_slow in enumerate(slow):
            bet = self._factors[step, n, canary.astype(np.intp), is_slow.astype(np.intp)]
            factors[len(self._stakes) + n] = bet if n < 2 else np.where(control > 0, bet, 1.0)
        factors[:, ~betting] = 1.0
        self.wealths.step(factors, betting)

    def restart(self, which: Bools) -> None:
        self.wealths.restart(which)
        self._pooled[which] = 0
        self._control[which] = 0

    def only(self, keep: Bools) -> None:
        """Forgets all other rollouts."""
        self.wealths.only(keep)
        self._pooled, self._control = self._pooled[keep], self._control[keep]


def _quantile(cumulative: NDArray[np.int32], q: float) -> Ints:
    """The lowest place with at least this share of the requests at or below it."""
    needed = np.ceil(q * cumulative[:, -1]).astype(np.int32)
    found: Ints = (cumulative >= needed[:, None]).argmax(axis=1)
    return found


def _threshold_factors(thresholds: tuple[tuple[float, float], ...], share: float) -> Floats:
    """[bet, is canary, is slow]"""
    return np.array(
        [
            [
                [
                    np.exp(arm_given_outcome_log(1.0 - c, 1.0 - b, share, arm)),
                    np.exp(arm_given_outcome_log(c, b, share, arm)),
                ]
                for arm in (Arm.CURRENT, Arm.CANARY)
            ]
            for c, b in thresholds
        ]
    )
