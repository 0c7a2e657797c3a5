"""The promotion test: has the canary *proved* that its error rate is below p0?

Null: theta_canary >= p0. E_good = sum_j weight_j (theta_j/p0)^failures ((1 - theta_j)/(1 - p0))^successes
over theta_j < p0; at 20 the null is refuted at 5 % (Wald's likelihood ratio, as a mixture). "No alarm so
far" is no proof: nine good requests do not exclude 5 %. It depends on counts alone and is computed in logs.

It must also hold on the most recent max(100, a third) canary observations, else a canary that was good for
long and is bad at the end would pass. That window's start only ever moves forward, so what lies before it
is forgotten. What lies in it is kept as runs: consecutive slices without a failure (or with nothing else)
are one piece that can be cut anywhere, so slices of one request give exactly the most recent observations.
A slice that holds both is cut nowhere, since the order within it is not known. Beyond 64 pieces the two
smallest neighbours become one: memory is bounded, and the window may then reach a few per cent further
back.
"""

import math
from functools import lru_cache
from itertools import pairwise

import msgspec

from serinus.evidence.errors import likelihood_ratio_logs
from serinus.evidence.wealth import CAP

LIMIT = 20.0
THETAS = (0.001, 0.01, 0.02, 0.03, 0.04)
WEIGHTS = (0.5, 0.15, 0.1, 0.1, 0.15)

RECENT_AT_LEAST = 100
RECENT_PART = 3
PIECES = 64


class Tally(msgspec.Struct, frozen=True):
    """Observations and how many of them failed."""

    requests: int = 0
    failures: int = 0

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(self.requests + other.requests, self.failures + other.failures)


class Recent(msgspec.Struct, frozen=True):
    """The newest observations, oldest piece first."""

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
    pieces = [*recent.pieces, slice_]
    if len(pieces) > 1 and _is_run(pieces[-2] + slice_):
        pieces[-2:] = [pieces[-2] + slice_]
    spare = sum(piece.requests for piece in pieces) - at_least
    while pieces[0].requests <= spare:
        spare -= pieces.pop(0).requests
    if spare > 0 and _is_run(pieces[0]):
        left = pieces[0].requests - spare
        pieces[0] = Tally(left, min(pieces[0].failures, left))
    while len(pieces) > PIECES:
        sizes = [one.requests + other.requests for one, other in pairwise(pieces)]
        at = sizes.index(min(sizes))
        pieces[at : at + 2] = [pieces[at] + pieces[at + 1]]
    return Recent(tuple(pieces))


def _is_run(piece: Tally) -> bool:
    """Whether all of it went alike, so that it may be cut anywhere."""
    return piece.failures in (0, piece.requests)


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
