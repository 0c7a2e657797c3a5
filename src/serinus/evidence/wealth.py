"""The wealth of a test martingale: a mixture of bets with a cash reserve.

Theory. A factor whose mean is at most 1 under a null hypothesis is a fair bet against it; the running
product of such factors is a non-negative supermartingale, and by Ville's inequality it ever exceeds 1/alpha
with a chance of at most alpha. So one may look after every slice, for ever (Howard, Ramdas, McAuliffe,
Sekhon: *Time-uniform, nonparametric, nonasymptotic confidence sequences*, 2021; Waudby-Smith and Ramdas:
*Estimating means of bounded random variables by betting*, 2023). Which alternative is true is unknown: the
wealth is split over J bets by `weights`. A bet that lost for a long time is poor and finds a later change
slowly, so a reserve is kept in cash and paid out over time, which keeps each bet solvent (a mixture over
starting times; cf. Shin, Ramdas, Rinaldo: *E-detectors*, 2023).

Per observation, with `t` counting observations:

    start:      w_j = 0.8 * weight_j, reserve = 0.2, t = 0
    step(fac):  if t mod 16 == 0: r = 0.2 / (1 + log2(1 + floor(t/16)/4)); c = reserve - r; reserve = r
                t += 1; w_j = (w_j + c * weight_j) * fac_j    (0 below 1e-200, at most 1e200)
    E = sum w_j + reserve

A slice of m observations multiplies by its factors first, adds m to t, then pays out what the schedule
releases between the old and the new t, for the *next* slice: what is paid must not depend on the slice it
is bet on. With m = 1 that is the rule above, since a step pays before it bets. The reserve depends on t
alone, so the payouts of a slice telescope to one difference and a slice of 1e9 costs as much as a slice of
one.
"""

import math
from collections.abc import Sequence

import msgspec

RESERVE = 0.2
PAYOUT_EVERY = 16
FLOOR = 1e-200
CAP = 1e200
_MOST_DOUBLINGS = 900


class Mixture(msgspec.Struct, frozen=True):
    """How the wealth is split at the start."""

    weights: tuple[float, ...]
    """One per bet; they add up to 1."""
    reserve: float = RESERVE
    """Share kept in cash; 0 is the form without restart."""


class Wealth(msgspec.Struct, frozen=True):
    """What each bet is worth. The reserve follows from `steps`."""

    bets: tuple[float, ...]
    steps: int = 0


def start(mixture: Mixture) -> Wealth:
    """Wealth 1, nothing observed."""
    return Wealth(tuple((1.0 - mixture.reserve) * weight for weight in mixture.weights))


def reserve_after(mixture: Mixture, steps: int) -> float:
    """Cash that is left when `steps` observations were made and the payout that is due was paid."""
    return mixture.reserve / (1.0 + math.log2(1.0 + (steps // PAYOUT_EVERY) / 4.0))


def step(wealth: Wealth, mixture: Mixture, log_factors: Sequence[float], count: int) -> Wealth:
    """Bets on one slice.

    `log_factors` holds, per bet, the log of the product of the factors of all `count` observations (minus
    infinity: the bet is lost for good).
    """
    if count == 0:
        return wealth
    steps = wealth.steps + count
    paid = reserve_after(mixture, wealth.steps) - reserve_after(mixture, steps)
    bets = tuple(
        _grow(bet, log_factor) + paid * weight
        for bet, log_factor, weight in zip(wealth.bets, log_factors, mixture.weights, strict=True)
    )
    return Wealth(bets, steps)


def value(wealth: Wealth, mixture: Mixture) -> float:
    """E: the evidence against the null; finite and never negative."""
    return math.fsum(wealth.bets) + reserve_after(mixture, wealth.steps)


def doubled(restarts: int) -> float:
    """By what limits are multiplied after so many restarts; finite, as numbers in the journal must be.

    Beyond 900 it stays: no e-value reaches a limit of 1e270, since bets end at `CAP`.
    """
    return 2.0 ** min(restarts, _MOST_DOUBLINGS)


def in_words(e_value: float) -> str:
    """An e-value for people: cut, never rounded up to its limit."""
    if e_value >= 1e6:
        return "more than a million"
    return f"{math.floor(e_value * 10) / 10:g}" if e_value < 100 else f"{math.floor(e_value)}"


def _grow(bet: float, log_factor: float) -> float:
    if bet == 0.0 or log_factor == -math.inf:
        return 0.0
    log_grown = math.log(bet) + log_factor
    if log_grown >= math.log(CAP):
        return CAP
    grown = math.exp(log_grown)
    return 0.0 if grown < FLOOR else grown
