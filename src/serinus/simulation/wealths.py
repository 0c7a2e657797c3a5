"""`evidence.wealth` for many rollouts at once; one request is one slice.

The bets of all rollouts are one array [bets, rollouts]. The rule is that of `evidence.wealth`, in factors in
place of logs: a slice of one request needs none.
"""

import numpy as np

from serinus.evidence.wealth import CAP, FLOOR, PAYOUT_EVERY, Mixture, reserve_after
from serinus.simulation.streams import Bools, Floats


class Wealths:
    """The wealths of one test. `most`: most steps that will be made."""

    def __init__(self, mixture: Mixture, rollouts: int, most: int) -> None:
        self._weights = np.array(mixture.weights)[:, None]
        self._start = (1.0 - mixture.reserve) * self._weights
        self._reserve = np.array([reserve_after(mixture, n) for n in range(0, most + 1, PAYOUT_EVERY)])
        self._pays = mixture.reserve > 0.0
        self._bets = np.repeat(self._start, rollouts, axis=1)
        self._steps = np.zeros(rollouts, np.int64)

    def step(self, factors: Floats, counted: Bools) -> None:
        """`factors` [bets, rollouts], all 1 where the request is not `counted`."""
        bets = self._bets * factors
        bets[bets < FLOOR] = 0.0
        np.minimum(bets, CAP, out=bets)
        if self._pays:
            before = self._reserve[self._steps // PAYOUT_EVERY]
            self._steps += counted
            paid = before - self._reserve[self._steps // PAYOUT_EVERY]
            if paid.any():
                bets += self._weights * paid
        self._bets = bets

    def restart(self, which: Bools) -> None:
        self._bets[:, which] = self._start
        self._steps[which] = 0

    def only(self, keep: Bools) -> None:
        """Forgets all other rollouts."""
        self._bets, self._steps = self._bets[:, keep], self._steps[keep]

    @property
    def values(self) -> Floats:
        """E of every rollout."""
        total: Floats = self._bets.sum(axis=0)
        return total + self._reserve[self._steps // PAYOUT_EVERY] if self._pays else total
