"""Streams of requests for the cases that the conformance folder does not hold, from fixed seeds."""

import random
from collections.abc import Callable, Iterator

from serinus.core.enums import Arm, Stratum
from serinus.evidence.replay import Row

Rates = Callable[[float], tuple[float, float]]
"""Seconds since the start -> error rates of (canary, current)."""


def stream(
    seed: int,
    rates: Rates,
    *,
    rate: float = 10.0,
    seconds: float = 180.0,
    share: float = 0.5,
    slower: float = 1.0,
    sigma: float = 0.5,
    stratum: Stratum = Stratum.USERS,
) -> Iterator[Row]:
    """Random arrivals at `rate` a second, log-normal latencies around 0.1 s."""
    rng, t = random.Random(seed), 0.0
    while (t := t + rng.expovariate(rate)) < seconds:
        arm = Arm.CANARY if rng.random() < share else Arm.CURRENT
        bad = rng.random() < rates(t)[0 if arm is Arm.CANARY else 1]
        latency = 0.1 * rng.lognormvariate(0.0, sigma) * (slower if arm is Arm.CANARY else 1.0)
        yield Row(t=t, arm=arm, ok=not bad, latency=latency, p=share, stratum=stratum)


def shared_outage_after_an_allowed_difference(seed: int) -> Iterator[Row]:
    return stream(seed, lambda t: (0.02, 0.005) if t < 150 else (0.5, 0.5))


def good_then_bad_at_the_end(seed: int) -> Iterator[Row]:
    """So late that the evidence cannot blame it any more; it must not be promoted either."""
    return stream(seed, lambda t: (0.0, 0.0) if t < 175 else (0.4, 0.0))


def low_dispersion_at_1_15(seed: int) -> Iterator[Row]:
    return stream(seed, lambda _: (0.0, 0.0), slower=1.15, sigma=0.03)


def failing_current(seed: int) -> Iterator[Row]:
    return stream(seed, lambda _: (0.001, 0.6))


def sticky(seed: int, *, pinned: bool) -> Iterator[Row]:
    """Sixty users, all pinned; two of them on the canary have bad pictures and try again and again.

    `pinned`: whether the rows say which user it was.
    """
    rng = random.Random(seed)
    arms = {f"user {n}": Arm.CANARY if n % 2 else Arm.CURRENT for n in range(60)}
    bad = {"user 1", "user 3"}
    for n in range(600):
        user = rng.choice([*arms, *["user 1", "user 3"] * 5])
        yield Row(
            t=n / 4,
            arm=arms[user],
            ok=user not in bad,
            latency=0.1,
            p=0.5,
            unit=user if pinned else None,
        )


def users_against_probes(seed: int) -> Iterator[Row]:
    """The canary answers every probe and fails each of the few users that it gets in the window."""
    probes = stream(seed, lambda _: (0.0, 0.0), rate=2.0, stratum=Stratum.PROBES)
    users = [
        Row(t=20.0 * n + 5, arm=Arm.CANARY if n % 2 else Arm.CURRENT, ok=n % 2 == 0, latency=0.1, p=0.5)
        for n in range(8)
    ]
    return iter(sorted([*probes, *users], key=lambda row: row.t))
