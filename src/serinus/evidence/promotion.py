"""The promotion test: has the canary *proved* that its error rate is below p0?

Null: theta_canary >= p0. E_good = sum_j weight_j (theta_j/p0)^failures ((1 - theta_j)/(1 - p0))^successes
over theta_j < p0; at 20 the null is refuted at 5 % (Wald's likelihood ratio, as a mixture). "No alarm so
far" is no proof: nine good requests do not exclude 5 %. It depends on counts alone and is computed in logs.

It must also hold on the most recent max(100, a third) canary observations, else a canary that was good for
long and is bad at the end would pass. That window's start only ever moves forward, so what lies before it
is forgotten, and what lies in it is kept in pieces of about a sixteenth of it: memory is bounded.
"""

import math
from functools import lru_cache

import msgspec

from serinus.evidence.errors import likelihood_ratio_logs
from serinus.evidence.wealth import CAP

LIMIT = 20.0
THETAS = (0.001, 0.01, 0.02, 0.03, 0.04)
WEIGHTS = (0.5, 0.15, 0.1, 0.1, 0.15)

RECENT_AT_LEAST = 100
RECENT_PART = 3
PIECES = 16


class Tally(msgspec.Struct, frozen=True):
    """Observations and how many of them failed."""

    requests: int = 0
    failures: int = 0

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(self.requests + other.requests, self.failures + other.failures)


class Recent(msgspec.Struct, frozen=True):
    """The newest observations, oldest piece first. Whole slices: it may reach a little further back than
    asked."""

    pieces: tuple[Tally, ...] = ()

    @property
    def total(self) -> Tally:
        return sum(self.pieces, Tally())


def recent_of(requests: int) -> int:
    """How many of so many observations count as recent."""
    return max(RECENT_AT_LEAST, math.ceil(requests / RECENT_PART))


def remember(recent: Recent, slice_: Tally, at_least: int) -> Recent:
    """Appends one slice; forgets what the newest `at_least` observations do not need."""
    if slice_.requests == 0:
        return recent
    coarse = at_least // PIECES
    pieces: list[Tally] = []
    for piece in (*recent.pieces, slice_):
        if pieces and pieces[-1].requests + piece.requests <= coarse:
            pieces[-1] = pieces[-1] + piece
        else:
            pieces.append(piece)
    spare = sum(piece.requests for piece in pieces) - at_least
    oldest = 0
    while pieces[oldest].requests <= spare:
        spare -= pieces[oldest].requests
        oldest += 1
    return Recent(tuple(pieces[oldest:]))


def e_good(tally: Tally, p0: float) -> float:
    """The evidence that the error rate is below p0; 1 without observations, at most 1e200."""
    successes = tally.requests - tally.failures
    logs = [
        math.log(weight) + tally.failures * lost + successes * won
        for weight, (lost, won) in zip(WEIGHTS, _logs(p0), strict=True)
    ]
    top = max(logs)
    log_sum = top + math.log(math.fsum(math.exp(log - top) for log in logs))
    return math.exp(min(log_sum, math.log(CAP)))


@lru_cache(maxsize=64)
def _logs(p0: float) -> tuple[tuple[float, float], ...]:
    return tuple(likelihood_ratio_logs(theta, p0) for theta in THETAS)
