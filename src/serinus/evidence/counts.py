"""Counters of one slice of time: all that a decision reads of the traffic.

The hot path only increments; a decision costs the same at 1 and at 1e9 requests. A request is counted in the
slice of its *arrival*, for the arm it was *assigned* to, and only when a coin decided (a request sent by an
override is no evidence). Slices of several processes add up.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Annotated, TypeAlias

import msgspec

from serinus.core.enums import Arm, FailureKind, Signal, Stratum

Count = Annotated[int, msgspec.Meta(ge=0)]
Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]

FASTEST_SECONDS = 1e-4
"""Lower edge of bin 0."""
BINS_PER_MARGIN = 2
"""Bins have the ratio sqrt(1.2), so that the margin 1.2 is two bins and 1.44 is four."""
LAST_BIN = 255
"""Takes everything slower, too (from about 1.2e6 s on)."""

Bin = Annotated[int, msgspec.Meta(ge=0, le=LAST_BIN)]


Categories: TypeAlias = dict[Signal, dict[str, Count]]
"""Signal -> category -> requests that were answered so."""


Answer: TypeAlias = tuple[str, str, str]
"""The category of one answer, signal by signal, in the order of `Signal`; empty where it has none."""


def categories(answers: Mapping[Answer, int]) -> Categories:
    """Counts of whole answers, signal by signal."""
    found: Categories = {}
    for answer, requests in answers.items():
        for signal, category in zip(Signal, answer, strict=True):
            if category:
                counts = found.setdefault(signal, {})
                counts[category] = counts.get(category, 0) + requests
    return found


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """Counters of one slice for one arm, stratum and share."""

    arm: Arm
    stratum: Stratum
    share: Share
    """Canary probability in force when the requests arrived."""
    ok: dict[Bin, Count] = {}
    """Latency bin -> successes."""
    failed: dict[FailureKind, Count] = {}
    signals: Categories = {}
    """What the successes were like."""

    @property
    def successes(self) -> int:
        return sum(self.ok.values())

    @property
    def failures(self) -> int:
        return sum(self.failed.values())


Slice: TypeAlias = tuple[Cell, ...]


def latency_bin(seconds: float) -> int:
    """The bin of a latency: `floor(log(seconds / 1e-4) / log(sqrt(1.2)))`, kept within 0 and 255."""
    if not seconds > FASTEST_SECONDS:
        return 0
    ratio = seconds / FASTEST_SECONDS
    if math.isinf(ratio):
        return LAST_BIN
    exact = BINS_PER_MARGIN * math.log(ratio) / math.log(1.2)
    return min(math.floor(exact), LAST_BIN)


def merge(slices: Iterable[Slice]) -> Slice:
    """Adds slices up. The order is canonical and nothing is zero: equal content gives equal bytes."""
    ok: dict[tuple[Stratum, Arm, float], Counter[int]] = {}
    failed: dict[tuple[Stratum, Arm, float], Counter[FailureKind]] = {}
    signals: dict[tuple[Stratum, Arm, float], list[Categories]] = {}
    for cell in (cell for one in slices for cell in one):
        key = (cell.stratum, cell.arm, cell.share)
        ok.setdefault(key, Counter()).update(cell.ok)
        failed.setdefault(key, Counter()).update(cell.failed)
        signals.setdefault(key, []).append(cell.signals)
    cells = (
        Cell(
            stratum=key[0],
            arm=key[1],
            share=key[2],
            ok={bin_: n for bin_, n in sorted(ok[key].items()) if n},
            failed={kind: n for kind, n in sorted(failed[key].items()) if n},
            signals=added(signals[key]),
        )
        for key in sorted(ok)
    )
    return tuple(cell for cell in cells if cell.ok or cell.failed or cell.signals)


def added(parts: Iterable[Categories]) -> Categories:
    """The sum of what was counted, in canonical order and without zeros."""
    total: dict[Signal, Counter[str]] = {}
    for signal, categories in (item for part in parts for item in part.items()):
        total.setdefault(signal, Counter()).update(categories)
    found = {
        signal: {category: n for category, n in sorted(total[signal].items()) if n}
        for signal in sorted(total)
    }
    return {signal: categories for signal, categories in found.items() if categories}
