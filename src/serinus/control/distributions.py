"""What the answers of both versions of a rollout are like: how long they take, and what is in them."""

import msgspec

from serinus.control.ledger import standing
from serinus.core.enums import Arm, Signal
from serinus.core.errors import NotFound
from serinus.core.ids import Version
from serinus.evidence.counts import BINS_PER_MARGIN, FASTEST_SECONDS
from serinus.rollout.state import Rollout, State
from serinus.store import Store

_MARGIN = 1.2
_PERCENTILES = (50, 95, 99)


class LatencyBar(msgspec.Struct, frozen=True, kw_only=True):
    """Requests that took at most `seconds`, and longer than the bar before allows."""

    seconds: float
    canary: int
    current: int


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """Answers of one category."""

    category: str
    canary: int
    current: int


class Distributions(msgspec.Struct, frozen=True, kw_only=True):
    """Of users' requests since the evidence last started afresh."""

    rollout: int
    version: Version
    baseline: Version | None
    latency: tuple[LatencyBar, ...]
    """Fastest first, without gaps; empty where latency is not judged or nothing was observed."""
    percentiles: dict[Arm, dict[str, float]]
    """Arm -> `p50`, `p95`, `p99` in seconds: the upper edge of the bar that holds it."""
    answers: dict[Signal, tuple[Part, ...]]
    """What the answers held: the class that most detections have, and bands of their number."""


def distributions(store: Store, number: int) -> Distributions:
    """Of the active rollout or of the last one. Raises NotFound for others, Corrupt for a damaged file."""
    rollout = _known(store.state(), number)
    users = standing(store, rollout).analysis.users
    latency = users.latency
    bars = () if latency is None else _bars(latency.canary, latency.current)
    return Distributions(
        rollout=number,
        version=rollout.version,
        baseline=rollout.baseline,
        latency=bars,
        percentiles={
            arm: _percentiles(
                [(bar.seconds, bar.canary if arm is Arm.CANARY else bar.current) for bar in bars]
            )
            for arm in Arm
        },
        answers={
            signal: tuple(
                Part(category=name, canary=seen.canary, current=seen.current)
                for name, seen in sorted(shift.seen.items())
            )
            for signal, shift in users.answers.shifts.items()
            if shift.seen
        },
    )


def _known(state: State, number: int) -> Rollout:
    for rollout in (state.rollout, state.last):
        if rollout is not None and rollout.number == number:
            return rollout
    raise NotFound(
        f"Rollout {number} is neither the active one nor the last one.",
        remedy=f"GET /api/rollouts/{number}/explain has what is kept of it.",
    )


def _bars(canary: dict[int, int], current: dict[int, int]) -> tuple[LatencyBar, ...]:
    places = sorted({*canary, *current})
    if not places:
        return ()
    return tuple(
        LatencyBar(seconds=_upper(place), canary=canary.get(place, 0), current=current.get(place, 0))
        for place in range(places[0], places[-1] + 1)
    )


def _upper(place: int) -> float:
    """Upper edge of a bin, the inverse of `latency_bin`, to four digits."""
    return float(f"{FASTEST_SECONDS * _MARGIN ** ((place + 1) / BINS_PER_MARGIN):.4g}")


def _percentiles(bars: list[tuple[float, int]]) -> dict[str, float]:
    total = sum(count for _, count in bars)
    found: dict[str, float] = {}
    for percent in _PERCENTILES if total else ():
        seen = 0
        for seconds, count in bars:
            seen += count
            if seen * 100 >= percent * total:
                found[f"p{percent}"] = seconds
                break
    return found
