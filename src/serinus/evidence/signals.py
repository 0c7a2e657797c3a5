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

Shares may change, and with sticky units each has its own. So what is remembered of a category is by how much
its odds differ from those of the coins, with X_k the sum of the shares of its requests:

    o_k = (C_k + 10 p)/(B_k + 10 (1 - p)) / [(X_k + 10 p)/(C_k + B_k - X_k + 10 (1 - p))]
    q_k = p o_k/(p o_k + 1 - p)

With one share all along that is the q_k above.

**Drift of one arm**, per signal. The same bet on the frequency P_k of each category against its frequency f_k
in the past: null P_k's odds within a factor r of f_k's, guess (N_k + 10 f_k)/(N + 10); the e-values of the
categories are averaged. f_k is known from counts only: the null takes in all frequencies that a confidence
sequence (`interval`) at 1e-4 does not exclude, so a short past has little power and does no harm. Both arms
drift: the smaller of their e-values (intersection-union).

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
from serinus.evidence.interval import interval
from serinus.evidence.promotion import Tally
from serinus.evidence.wealth import Mixture, Wealth

LIMIT = 400.0
MARGIN = 1.5
"""r: the ratio of odds that is no shift."""
PRIOR = 10.0
"""Requests that the first guess weighs as much as."""
OTHER = "other"
"""Category of everything that the past did not know, and of what comes after the first `MOST`."""
MOST = 100
"""Categories of a signal that are told apart: the state stays small, whatever a model answers."""
PAST_ALPHA = 1e-4
"""Chance that a category's true frequency in the past lies outside of what its counts allow."""

RAREST = 1e-9
"""Smallest share, of either arm, at which the arms are compared."""

ONE_BET = Mixture((1.0,))


class Categories(msgspec.Struct, frozen=True, kw_only=True):
    """What one slice counted of one signal, for one arm and share."""

    arm: Arm
    share: Share
    counts: dict[str, Count]


class Seen(msgspec.Struct, frozen=True):
    """The requests of one category."""

    canary: Count = 0
    current: Count = 0
    coins: float = 0.0
    """X: the sum of their shares, which is how many of them the coins meant for the canary."""

    def plus(self, arm: Arm, share: float, requests: int) -> "Seen":
        canary, current = (requests, 0) if arm is Arm.CANARY else (0, requests)
        return Seen(self.canary + canary, self.current + current, self.coins + share * requests)

    def guess(self, share: float) -> float:
        """The probability that the category's next request, at this share, is the canary's."""
        more, rest = PRIOR * share, PRIOR * (1.0 - share)
        odds = (self.canary + more) / (self.current + rest)
        # A sum of floats may end a hair above what it cannot exceed.
        meant_for_current = max(0.0, self.canary + self.current - self.coins)
        ratio = odds / ((self.coins + more) / (meant_for_current + rest))
        return share * ratio / (share * ratio + 1.0 - share)


class Shift(msgspec.Struct, frozen=True, kw_only=True):
    """The evidence that the arms differ in one signal."""

    wealth: Wealth = wealth.start(ONE_BET)
    seen: dict[str, Seen] = {}

    @property
    def e_shift(self) -> float:
        return wealth.value(self.wealth, ONE_BET)


def observe_shift(evidence: Shift, slice_: Iterable[Categories], *, bet: bool = True) -> Shift:
    """The evidence after one slice. Without `bet` it only counts."""
    log, count = 0.0, 0
    seen = dict(evidence.seen)
    for part in slice_:
        if not RAREST <= part.share <= 1.0 - RAREST:
            continue  # nobody tossed a coin, or one whose odds are lost in rounding
        low, high = _margins(part.share)
        for category, requests in part.counts.items():
            name = category if category in seen or len(seen) < MOST else OTHER
            seen[name] = seen.get(name, Seen()).plus(part.arm, part.share, requests)
            guess = evidence.seen.get(name, Seen()).guess(part.share)
            log += requests * _log_factor(part.arm is Arm.CANARY, guess, low, high)
            count += requests
    after = wealth.step(evidence.wealth, ONE_BET, [log], count) if bet else evidence.wealth
    return Shift(wealth=after, seen=dict(sorted(seen.items())))


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """The evidence that one arm's requests differ from the past in one signal."""

    past: dict[str, float]
    """Category -> its frequency, with `OTHER`; they add up to 1 and none is 0."""
    allowed: dict[str, tuple[float, float]]
    """Category -> the frequencies that are no drift."""
    wealths: dict[str, Wealth]
    seen: dict[str, Count] = {}

    @property
    def e_drift(self) -> float:
        return fmean(wealth.value(one, ONE_BET) for one in self.wealths.values())


def begin_drift(past: Mapping[str, int]) -> Drift:
    """`past`: requests per category, counted before the rollout."""
    frequent = sorted(past, key=lambda name: (-past[name], name))[: MOST - 1]
    counts = {name: past[name] for name in frequent if name != OTHER}
    counts[OTHER] = sum(past.values()) - sum(counts.values())
    names = sorted(counts)
    requests = sum(counts.values())
    total = requests + PRIOR
    return Drift(
        past={name: (counts[name] + PRIOR / len(names)) / total for name in names},
        allowed={name: _allowed(Tally(requests, counts[name])) for name in names},
        wealths={name: wealth.start(ONE_BET) for name in names},
    )


def restart_drift(evidence: Drift) -> Drift:
    """The same past, nothing observed."""
    fresh = {name: wealth.start(ONE_BET) for name in evidence.past}
    return msgspec.structs.replace(evidence, wealths=fresh, seen={})


def observe_drift(evidence: Drift, counts: Mapping[str, int]) -> Drift:
    """The evidence after one slice of one arm's requests."""
    known = Counter[str]()
    for category, requests in counts.items():
        known[category if category in evidence.past else OTHER] += requests
    count = known.total()
    before = sum(evidence.seen.values())
    wealths = {}
    for category, frequency in evidence.past.items():
        low, high = evidence.allowed[category]
        guess = (evidence.seen.get(category, 0) + PRIOR * frequency) / (before + PRIOR)
        hit, miss = (_log_factor(is_hit, guess, low, high) for is_hit in (True, False))
        log = known[category] * hit + (count - known[category]) * miss
        wealths[category] = wealth.step(evidence.wealths[category], ONE_BET, [log], count)
    seen = Counter(evidence.seen) + known
    return msgspec.structs.replace(evidence, wealths=wealths, seen=dict(sorted(seen.items())))


def e_family(e_values: Iterable[float]) -> float:
    """The average of the signals' e-values; 1 without any."""
    return fmean([*e_values] or [1.0])


def e_data_drift(canary: Iterable[Drift], current: Iterable[Drift]) -> float:
    """The evidence that *both* arms drift away from the past; 1 without signals."""
    return min(e_family(one.e_drift for one in arm) for arm in (canary, current))


def _allowed(tally: Tally) -> tuple[float, float]:
    """The frequencies with odds within the margin of one that the past does not exclude."""
    least, most = interval(tally, PAST_ALPHA)
    return _margins(least)[0], _margins(most)[1]


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
