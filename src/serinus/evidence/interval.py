"""A confidence sequence for an error rate: an interval that holds at every look at once.

For independent requests with one error rate theta, f failures and s successes, the mixture likelihood ratio

    E(theta) = B(1/2 + f, 1/2 + s) / B(1/2, 1/2) / (theta^f (1 - theta)^s)

(B: Euler's beta function, that is, the alternatives are mixed by Jeffreys' prior) is a test martingale under
theta. By Ville's inequality the set {theta: E(theta) < 1/alpha} contains the true rate at all times with a
probability of at least 1 - alpha (Robbins: *Statistical methods related to the law of the iterated
logarithm*, 1970; Howard, Ramdas, McAuliffe, Sekhon: *Time-uniform, nonparametric, nonasymptotic confidence
sequences*, 2021, section on conjugate mixtures). So, unlike the usual interval, it may be watched. It depends
on the two counts alone. Where the rate changes over time it tells of no single rate; the decision never rests
on it, it is drawn for people.

log E is convex in theta with its minimum at f/(f + s), so the set is an interval.
"""

import math
from collections.abc import Callable

from serinus.evidence.promotion import Tally

ALPHA = 0.05
_STEPS = 60
_LOG_BETA_HALF = math.log(math.pi)


def interval(tally: Tally, alpha: float = ALPHA) -> tuple[float, float]:
    """The rates that are not refuted at `alpha`, looked at any number of times."""
    failures, successes = tally.failures, tally.requests - tally.failures
    if tally.requests == 0:
        return 0.0, 1.0
    mixed = _log_beta(0.5 + failures, 0.5 + successes) - _LOG_BETA_HALF
    limit = -math.log(alpha)

    def refuted(theta: float) -> bool:
        return mixed - failures * math.log(theta) - successes * math.log1p(-theta) >= limit

    middle = failures / tally.requests
    lower = 0.0 if failures == 0 else _edge(refuted, 0.0, middle)
    upper = 1.0 if successes == 0 else _edge(refuted, 1.0, middle)
    return lower, upper


def _edge(refuted: Callable[[float], bool], outside: float, inside: float) -> float:
    """Where `refuted` changes between a refuted end and one that is not."""
    for _ in range(_STEPS):
        half = (outside + inside) / 2
        if half in (outside, inside):
            break
        outside, inside = (half, inside) if refuted(half) else (outside, half)
    return outside


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
