"""The blame test for errors: roll back when `min(E_abs, E_rel)` reaches its limit of 200 (alpha 0.005).

Null: the canary's error rate is at most p0, OR it is never worse than current. Both must be refuted, each at
alpha (an intersection-union test; Berger 1982), so alpha is not split.

- E_abs looks at canary requests: likelihood ratio theta/p0 on a failure, (1 - theta)/(1 - p0) on a success,
  over several theta (Wald's test with a mixture; Johari, Koomen, Pekelis, Walsh: *Peeking at A/B tests*,
  2017).
- E_rel looks at all requests: likelihood of the *arm given the outcome*,
  f_arm(x) / (p f_canary(x) + (1 - p) f_current(x)), f a Bernoulli(theta) mass. With equal error rates its
  mean is exactly 1, whatever the traffic does in common and whatever the share p is just now (cf. Lindon,
  Sanden, Shirikian: *Rapid regression detection in software deployments through sequential testing*, arXiv
  2205.14762). With p = 1 there is no control arm and E_abs stands alone.

E_rel restarts whenever E_abs <= 1/2, that is, it counts what happened since the canary last looked fine.
Without it an old, allowed difference (2 % against 0.5 %) and a later outage of both arms add up to a false
blame.

The alternatives are for p0 = 0.05; for another p0 they are scaled in odds.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import msgspec

from serinus.core.enums import Arm
from serinus.evidence import wealth
from serinus.evidence.counts import Cell
from serinus.evidence.wealth import Mixture, Wealth

LIMIT = 200.0
LOOKS_FINE = 0.5
DESIGN_P0 = 0.05

ABS_THETAS = (0.065, 0.09, 0.13, 0.2, 0.35, 0.65, 0.98)
ABS = Mixture((0.10, 0.13, 0.15, 0.25, 0.15, 0.10, 0.12))

REL_THETAS = (
    (0.08, 0.002),
    (0.08, 0.03),
    (0.2, 0.002),
    (0.2, 0.08),
    (0.5, 0.01),
    (0.5, 0.15),
    (0.98, 0.01),
    (0.95, 0.5),
)
"""(canary, current)"""
REL = Mixture((0.14, 0.08, 0.2, 0.08, 0.15, 0.08, 0.2, 0.07))


class ErrorEvidence(msgspec.Struct, frozen=True):
    """The two wealths of the blame test."""

    absolute: Wealth
    relative: Wealth

    @property
    def e_abs(self) -> float:
        return wealth.value(self.absolute, ABS)

    @property
    def e_rel(self) -> float:
        return wealth.value(self.relative, REL)


def start() -> ErrorEvidence:
    return ErrorEvidence(wealth.start(ABS), wealth.start(REL))


def observe(evidence: ErrorEvidence, cells: Sequence[Cell], p0: float) -> ErrorEvidence:
    """The evidence after one slice. `cells` are of one stratum, with shares in (0, 1]."""
    failures = sum(cell.failures for cell in cells if cell.arm is Arm.CANARY)
    successes = sum(cell.successes for cell in cells if cell.arm is Arm.CANARY)
    absolute = wealth.step(
        evidence.absolute,
        ABS,
        [failures * lost + successes * won for lost, won in absolute_logs(p0)],
        failures + successes,
    )
    if wealth.value(absolute, ABS) <= LOOKS_FINE:
        return ErrorEvidence(absolute, wealth.start(REL))

    logs = [0.0] * len(REL_THETAS)
    count = 0
    for cell in cells:
        if cell.share == 1.0:
            continue  # no control arm: the arm says nothing
        failed, good = cell.failures, cell.successes
        count += failed + good
        factors = relative_logs(p0, cell.share, cell.arm)
        logs = [log + failed * lost + good * won for log, (lost, won) in zip(logs, factors, strict=True)]
    return ErrorEvidence(absolute, wealth.step(evidence.relative, REL, logs, count))


def scaled_logs(theta: float, p0: float) -> tuple[float, float]:
    """Logs of an alternative designed for p0 = 0.05, moved to another p0, and of its complement.

    Its odds times the ratio of the odds of p0, in logs: no p0 within (0, 1) is too near to an end.
    """
    log_odds = _log_odds(theta) + _log_odds(p0) - _log_odds(DESIGN_P0)
    return -_softplus(-log_odds), -_softplus(log_odds)


def _log_odds(rate: float) -> float:
    return math.log(rate) - math.log1p(-rate)


def _softplus(x: float) -> float:
    """log(1 + exp(x)), without overflow."""
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def likelihood_ratio_logs(theta: float, p0: float) -> tuple[float, float]:
    """Logs of theta/p0 (failure) and (1 - theta)/(1 - p0) (success), theta as designed for p0 = 0.05."""
    if p0 == DESIGN_P0:
        return math.log(theta / p0), math.log((1.0 - theta) / (1.0 - p0))
    failure, success = scaled_logs(theta, p0)
    return failure - math.log(p0), success - math.log1p(-p0)


@lru_cache(maxsize=64)
def absolute_logs(p0: float) -> tuple[tuple[float, float], ...]:
    """Per bet of E_abs: log factors of a failure and of a success."""
    return tuple(likelihood_ratio_logs(theta, p0) for theta in ABS_THETAS)


@lru_cache(maxsize=256)
def relative_logs(p0: float, share: float, arm: Arm) -> tuple[tuple[float, float], ...]:
    """Per bet of E_rel: log factors of a failure and of a success in this arm, at this share."""
    if p0 == DESIGN_P0:
        return tuple(
            (arm_given_outcome_log(c, b, share, arm), arm_given_outcome_log(1.0 - c, 1.0 - b, share, arm))
            for c, b in REL_THETAS
        )
    moved = ((scaled_logs(canary, p0), scaled_logs(current, p0)) for canary, current in REL_THETAS)
    return tuple(
        (_from_logs(canary[0], current[0], share, arm), _from_logs(canary[1], current[1], share, arm))
        for canary, current in moved
    )


def _from_logs(canary: float, current: float, share: float, arm: Arm) -> float:
    """`arm_given_outcome_log` of likelihoods in logs: only their ratio counts, which is moderate."""
    top = max(canary, current)
    return arm_given_outcome_log(math.exp(canary - top), math.exp(current - top), share, arm)


def arm_given_outcome_log(canary: float, current: float, share: float, arm: Arm) -> float:
    """log f_arm / (p f_canary + (1 - p) f_current), for an outcome of these two likelihoods."""
    likelihood = canary if arm is Arm.CANARY else current
    return math.log(likelihood / (share * canary + (1.0 - share) * current))
