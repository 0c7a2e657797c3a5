"""Model signals: do the arms answer differently, and does the traffic differ from the past?

A signal puts each answered request into one category, such as a band of the number of detections or the
dominant class. A better model answers differently, so neither test rolls back: a shift between the arms is
explained (golden sets or feedback vouch for the canary) or held and shown; where both arms shift against the
past the *data* drift, and no version is to blame.

**Shift between the arms**, per signal. Null: given its category k, a request was the canary's with odds
within a factor r = 1.5 of p/(1 - p), that is with a probability within [lo, hi], hi = p r/(p r + 1 - p) and
lo = p/(p + (1 - p) r). The guess q_k = (C_k + 10 p)/(C_k + B_k + 10) counts what was seen *before* the
slice (predictable). If q_k > hi the factor is q_k/hi for the canary and (1 - q_k)/(1 - hi) for current;
mirrored below lo; else 1. At P = hi its mean is q_k + (1 - q_k) = 1, and it falls with P: a fair bet
against every P in the null (a plug-in likelihood ratio against the nearest point of the null; Waudby-Smith
and Ramdas, *Estimating means by betting*, 2023; the arm given the outcome as in `errors`).

**Drift of one arm**, per signal. The same bet on the frequency P_k of each category against its frequency f_k
in the past: null P_k's odds within a factor r of f_k's, guess (N_k + 10 f_k)/(N + 10); the e-values of the
categories are averaged. f_k is taken as known, so the past should hold many times more than 1/f_k requests;
r leaves room for what it does not know. Both arms drift: the smaller of their e-values (intersection-union).

The family of signals has one limit of 400 (alpha 0.0025) for the *average* of its e-values, which is an
e-value whatever the dependence between them (Vovk and Wang, *E-values: calibration, combination and
applications*, 2021).
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from statistics import fmean

import msgspec

from serinus.core.enums import Arm
from serinus.evidence import wealth
from serinus.evidence.counts import Count, Share
from serinus.evidence.wealth import Mixture, Wealth

LIMIT = 400.0
MARGIN = 1.5
"""r: the ratio of odds that is no shift."""
PRIOR = 10.0
"""Requests that the first guess weighs as much as."""
OTHER = "other"
"""Category of everything that the past did not know."""

ONE_BET = Mixture((1.0,))


class Categories(msgspec.Struct, frozen=True, kw_only=True):
    """What one slice counted of one signal, for one arm and share."""

    arm: Arm
    share: Share
    counts: dict[str, Count]


class Shift(msgspec.Struct, frozen=True, kw_only=True):
    """The evidence that the arms differ in one signal."""

    wealth: Wealth = wealth.start(ONE_BET)
    canary: dict[str, Count] = {}
    current: dict[str, Count] = {}

    @property
    def e_shift(self) -> float:
        return wealth.value(self.wealth, ONE_BET)


def observe_shift(evidence: Shift, slice_: Iterable[Categories]) -> Shift:
    """The evidence after one slice."""
    log, count = 0.0, 0
    canary, current = Counter(evidence.canary), Counter(evidence.current)
    for part in slice_:
        (canary if part.arm is Arm.CANARY else current).update(part.counts)
        if not 0.0 < part.share < 1.0:
            continue  # nobody tossed a coin
        low, high = _margins(part.share)
        for category, requests in part.counts.items():
            of_canary = evidence.canary.get(category, 0)
            seen = of_canary + evidence.current.get(category, 0)
            guess = (of_canary + PRIOR * part.share) / (seen + PRIOR)
            log += requests * _log_factor(part.arm is Arm.CANARY, guess, low, high)
            count += requests
    return Shift(
        wealth=wealth.step(evidence.wealth, ONE_BET, [log], count),
        canary=dict(sorted(canary.items())),
        current=dict(sorted(current.items())),
    )


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """The evidence that one arm's requests differ from the past in one signal."""

    past: dict[str, float]
    """Category -> its frequency, with `OTHER`; they add up to 1 and none is 0."""
    wealths: dict[str, Wealth]
    seen: dict[str, Count] = {}

    @property
    def e_drift(self) -> float:
        return fmean(wealth.value(one, ONE_BET) for one in self.wealths.values())


def begin_drift(past: Mapping[str, int]) -> Drift:
    """`past`: requests per category, counted before the rollout."""
    names = sorted({*past, OTHER})
    total = sum(past.values()) + PRIOR
    frequencies = {name: (past.get(name, 0) + PRIOR / len(names)) / total for name in names}
    return Drift(past=frequencies, wealths={name: wealth.start(ONE_BET) for name in names})


def observe_drift(evidence: Drift, counts: Mapping[str, int]) -> Drift:
    """The evidence after one slice of one arm's requests."""
    known = Counter[str]()
    for category, requests in counts.items():
        known[category if category in evidence.past else OTHER] += requests
    count = known.total()
    before = sum(evidence.seen.values())
    wealths = {}
    for category, frequency in evidence.past.items():
        low, high = _margins(frequency)
        guess = (evidence.seen.get(category, 0) + PRIOR * frequency) / (before + PRIOR)
        hit, miss = (_log_factor(is_hit, guess, low, high) for is_hit in (True, False))
        log = known[category] * hit + (count - known[category]) * miss
        wealths[category] = wealth.step(evidence.wealths[category], ONE_BET, [log], count)
    seen = Counter(evidence.seen) + known
    return Drift(past=evidence.past, wealths=wealths, seen=dict(sorted(seen.items())))


def e_family(shifts: Iterable[Shift]) -> float:
    """The average of the signals' e-values; 1 without any."""
    return fmean([one.e_shift for one in shifts] or [1.0])


def e_data_drift(canary: Iterable[Drift], current: Iterable[Drift]) -> float:
    """The evidence that *both* arms drift away from the past; 1 without signals."""
    return min(fmean([one.e_drift for one in arm] or [1.0]) for arm in (canary, current))


def _margins(probability: float) -> tuple[float, float]:
    """(lo, hi): the probabilities whose odds are r times smaller and larger."""
    low = probability / (probability + (1.0 - probability) * MARGIN)
    high = probability * MARGIN / (probability * MARGIN + 1.0 - probability)
    return low, high


def _log_factor(hit: bool, guess: float, low: float, high: float) -> float:
    """Log of the bet's factor, against the point of [low, high] that is nearest to the guess."""
    nearest = min(max(guess, low), high)
    if nearest == guess:
        return 0.0
    return math.log(guess / nearest) if hit else math.log((1.0 - guess) / (1.0 - nearest))
