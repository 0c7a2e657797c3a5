"""Distributions as shapes of a drawing that is 100 wide and 100 high. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

_MOST_TICKS = 4
_EMPTY = ""


class Histogram(NamedTuple):
    """Latencies of both versions as shares of their requests."""

    canary: str
    """Points of the stairs, for a polygon."""
    current: str
    ticks: list[tuple[float, float]]
    """(x, seconds): where the axis has a mark."""


class Bar(NamedTuple):
    """One category of answers."""

    name: str
    canary: float
    """Share of the canary's answers, in [0, 1]."""
    current: float
    canary_count: int
    current_count: int


def histogram(latency: Sequence[Mapping[str, Any]]) -> Histogram | None:
    """`latency`: the bars of /api/rollouts/N/distributions. None without any."""
    totals = {arm: sum(bar[arm] for bar in latency) for arm in ("canary", "current")}
    if not any(totals.values()):
        return None
    shares = {arm: [bar[arm] / total if total else 0.0 for bar in latency] for arm, total in totals.items()}
    most = max(max(each) for each in shares.values())
    width = 100 / len(latency)
    step = max(1, -(-len(latency) // _MOST_TICKS))
    return Histogram(
        canary=_stairs(shares["canary"], most, width) if totals["canary"] else _EMPTY,
        current=_stairs(shares["current"], most, width) if totals["current"] else _EMPTY,
        ticks=[
            (round((place + 1) * width, 2), latency[place]["seconds"])
            for place in range(step - 1, len(latency), step)
        ],
    )


def bars(answers: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, list[Bar]]:
    """`answers` of /api/rollouts/N/distributions, signal by signal, as shares of each version's answers."""
    return {signal: _bars(parts) for signal, parts in answers.items()}


def _bars(parts: Sequence[Mapping[str, Any]]) -> list[Bar]:
    canary, current = (sum(part[arm] for part in parts) for arm in ("canary", "current"))
    return [
        Bar(
            name=part["category"],
            canary=part["canary"] / canary if canary else 0.0,
            current=part["current"] / current if current else 0.0,
            canary_count=part["canary"],
            current_count=part["current"],
        )
        for part in parts
    ]


def _stairs(shares: Sequence[float], most: float, width: float) -> str:
    points = ["0,100"]
    for place, share in enumerate(shares):
        height = round(100 - 96 * share / most, 2)
        points += [f"{place * width:.2f},{height}", f"{(place + 1) * width:.2f},{height}"]
    return " ".join([*points, "100,100"])
