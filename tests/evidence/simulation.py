"""Simulated rollouts: random requests of both arms, in slices of ten, judged as in production."""

import random
from collections.abc import Callable, Iterator

from serinus.core.enums import Arm, Stratum
from serinus.evidence import errors
from serinus.evidence.counts import Slice
from tests.evidence.requests import both

PER_SLICE = 10

Rates = Callable[[int], tuple[float, float]]
"""Number of the request -> error rates of (canary, current) just then."""


def always(canary: float, current: float) -> Rates:
    return lambda _: (canary, current)


def traffic(
    seed: int,
    requests: int,
    rates: Rates,
    *,
    share: float = 0.5,
    stratum: Stratum = Stratum.USERS,
    per_slice: int = PER_SLICE,
) -> Iterator[Slice]:
    rng = random.Random(seed)
    for first in range(0, requests, per_slice):
        good, failed = dict.fromkeys(Arm, 0), dict.fromkeys(Arm, 0)
        for n in range(first, first + per_slice):
            arm = Arm.CANARY if rng.random() < share else Arm.CURRENT
            rate = rates(n)[0 if arm is Arm.CANARY else 1]
            (failed if rng.random() < rate else good)[arm] += 1
        yield both(
            good[Arm.CANARY],
            failed[Arm.CANARY],
            good[Arm.CURRENT],
            failed[Arm.CURRENT],
            share=share,
            stratum=stratum,
        )


def blamed_after(slices: Iterator[Slice], p0: float = 0.05) -> int | None:
    """Canary requests until the rule for errors rolls back; None if it never does."""
    evidence, seen = errors.start(), 0
    for slice_ in slices:
        seen += sum(c.successes + c.failures for c in slice_ if c.arm is Arm.CANARY)
        evidence = errors.observe(evidence, slice_, p0)
        if min(evidence.e_abs, evidence.e_rel) >= errors.LIMIT:
            return seen
    return None
