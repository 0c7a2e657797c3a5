"""How the evidence of a rollout went, slice by slice, from what was frozen: for pictures and for programs."""

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

import msgspec

from serinus.control.ledger import Standing, params_of
from serinus.core.enums import Stratum
from serinus.evidence import assignment
from serinus.evidence.interval import interval
from serinus.evidence.promotion import Tally
from serinus.rollout.policy import Policy
from serinus.store import FrozenSlice, Store


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """What failed so far, and the 95 % confidence sequence of the error rate (`evidence.interval`)."""

    requests: int
    failures: int
    low: float
    high: float

    @property
    def rate(self) -> float:
        return self.failures / self.requests if self.requests else 0.0


class Claim(StrEnum):
    """What is tested besides errors and latency."""

    SIGNALS = "signals"
    """The canary's answers are invalid, or empty where there are buildings."""
    SHIFT = "shift"
    """The canary answers differently from current."""
    DRIFT = "drift"
    """Both answer differently from the time before the rollout."""
    DISAGREEMENT = "disagreement"
    """The versions disagree on too many shadow pairs."""
    SPLIT = "split"
    """The traffic is not split as declared."""


class Weighed(msgspec.Struct, frozen=True, kw_only=True):
    """The evidence for a claim."""

    e: float
    limit: float


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """What the evidence up to slice `k` said."""

    k: int
    digest: str
    seconds: float
    """Since the version became the canary."""
    clock: float
    """The window's clock, seconds."""
    share: float
    canary: Rate
    """Users and probes together, since the rollout began."""
    current: Rate
    e_errors: float
    """Evidence that the canary fails too often and more often than current; the larger one of the strata."""
    limit_errors: float
    e_good: float
    """Proof of health of the stratum that vouches; the weaker one of all and recent requests."""
    limit_good: float
    e_latency: float | None = None
    """Evidence that it is slower; None where latency is not judged."""
    limit_latency: float | None = None
    claims: dict[Claim, Weighed] = {}
    """What was tested besides; the split by the larger one of the strata."""


class Regime(NamedTuple):
    """A policy, and the last slice before it."""

    after: int
    policy: Policy


class Shift(NamedTuple):
    """A share, and since when: UTC seconds."""

    time: float
    share: float


def rate_of(tally: Tally) -> Rate:
    low, high = interval(tally)
    return Rate(requests=tally.requests, failures=tally.failures, low=low, high=high)


def series(
    store: Store, rollout: int, regimes: Sequence[Regime], shifts: Sequence[Shift], most: int
) -> tuple[Point, ...]:
    """At most `most` points, evenly over the slices, with the first and the last of them.

    `regimes` and `shifts` in their order. Raises Corrupt, naming a damaged file.
    """
    last = store.last_frozen(rollout)
    if last is None or not shifts:
        return ()
    found = [store.frozen(rollout, k) for k in _chosen(last.k + 1, most)]
    return tuple(_point(one, _policy(one.k, regimes), shifts) for one in found if one is not None)


def _chosen(slices: int, most: int) -> list[int]:
    if slices <= most:
        return list(range(slices))
    step = (slices - 1) / (most - 1)
    return sorted({round(number * step) for number in range(most)})


def _policy(k: int, regimes: Sequence[Regime]) -> Policy:
    return next(one.policy for one in reversed(regimes) if one.after < k)


def _claims(frozen: FrozenSlice, numbers: dict[str, float]) -> dict[Claim, Weighed]:
    known = numbers | ({} if frozen.shadow is None else frozen.shadow.numbers)
    known["e_split"] = max(known.get(f"{stratum}_e_split", known["e_split"]) for stratum in Stratum)
    known["limit_split"] = assignment.LIMIT
    return {
        claim: Weighed(e=known[f"e_{claim}"], limit=known[f"limit_{claim}"])
        for claim in Claim
        if f"e_{claim}" in known
    }


def _point(frozen: FrozenSlice, policy: Policy, shifts: Sequence[Shift]) -> Point:
    numbers = Standing(frozen, frozen.analysis, params_of(policy), policy).verdict().numbers
    harm = [numbers[name] for stratum in Stratum if (name := f"{stratum}_e_errors") in numbers]
    share = next((one.share for one in reversed(shifts) if one.time <= frozen.time), shifts[0].share)
    return Point(
        k=frozen.k,
        digest=frozen.digest,
        seconds=max(0.0, frozen.time - shifts[0].time),
        clock=frozen.clock,
        share=share,
        canary=rate_of(frozen.analysis.canary),
        current=rate_of(frozen.analysis.current),
        e_errors=max(harm, default=numbers["e_errors"]),
        limit_errors=numbers["limit_errors"],
        e_good=min(numbers["e_good"], numbers["e_good_recent"]),
        limit_good=numbers["limit_good"],
        e_latency=numbers.get("e_latency"),
        limit_latency=numbers.get("limit_latency"),
        claims=_claims(frozen, numbers),
    )
