"""The picture of a rollout: evidence over time with its limits, error rates with confidence sequences, and
the canary's share, under the events that happened. Pure: an explanation in, shapes out.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from serinus.control.canvas import Area, Ink, Line, Picture, Shape, Text
from serinus.control.explain import Explanation
from serinus.control.series import Point, Rate

_WIDTH, _LEFT, _RIGHT = 920, 72, 24
_TITLE = 24
_TOP = 84
_GAP = 46
_HEIGHTS = (220, 180, 70)
_BOTTOM = 48
_LABEL_ROW = 15
_CHARACTER = 6.2
"""Width of a letter at size 12, on average over fonts."""
_APART = 12
_LEAST_E, _MOST_E = 1e-3, 1e6
_TELLING_REQUESTS = 20
_SHORT = {
    "verified": "canary",
    "policy_changed": "policy",
    "epoch_reset": "evidence restarts",
    "rolled_back": "rolled back",
    "rollout_started": "superseded",
}


class _Panel(NamedTuple):
    top: float
    height: float
    end: float
    """Seconds at the right edge."""
    low: float
    high: float
    """Values at the lower and the upper edge."""

    def x(self, seconds: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * min(max(seconds, 0.0), self.end) / self.end

    def y(self, value: float) -> float:
        part = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return self.top + self.height * (1.0 - part)

    def across(self, value: float) -> tuple[tuple[float, float], tuple[float, float]]:
        return (_LEFT, self.y(value)), (_WIDTH - _RIGHT, self.y(value))


def chart(found: Explanation) -> Picture:
    """The picture; where no request was judged, it says so."""
    title = f"Rollout {found.rollout}: version {found.version}, {found.phase.value.replace('_', ' ')}"
    shapes: list[Shape] = [Text(_LEFT, _TITLE, title, size=16, bold=True)]
    points = found.series
    if not points:
        shapes.append(Text(_LEFT, 56, "No request was judged.", Ink.MUTED))
        return Picture(_WIDTH, 90, title, shapes)
    marks = _marks(found)
    end = max(points[-1].seconds, *(seconds for seconds, _ in marks), 1.0)
    rows = list(_rows(marks, end))
    top = _TOP + _LABEL_ROW * max((row for row, *_ in rows), default=0)
    tops = [top + sum(_HEIGHTS[:n]) + _GAP * n for n in range(3)]
    shapes += _verticals(rows, end, [(one, one + high) for one, high in zip(tops, _HEIGHTS, strict=True)])
    shapes += _evidence(points, _Panel(tops[0], _HEIGHTS[0], end, *_decades(points)))
    shapes += _rates(found, points, _Panel(tops[1], _HEIGHTS[1], end, 0.0, _highest(found, points)))
    share = _Panel(tops[2], _HEIGHTS[2], end, 0.0, 1.0)
    shapes += _shares(points, share)
    shapes += _time(share)
    return Picture(_WIDTH, round(tops[2] + _HEIGHTS[2] + _BOTTOM), title, shapes)


def _evidence(points: Sequence[Point], panel: _Panel) -> Iterator[Shape]:
    yield from _heading(panel, "Evidence (e-values)", _legend(points))
    exponent = math.floor(panel.low)
    while exponent <= panel.high:
        if panel.low <= exponent:
            yield from _level(
                panel, exponent, f"{10.0**exponent:g}" if abs(exponent) < 4 else f"1e{exponent}"
            )
        exponent += 1

    def curve(value: Callable[[Point], float | None], ink: Ink, *, dashed: bool = False) -> Iterator[Shape]:
        known = [(one.seconds, v) for one in points if (v := value(one)) is not None]
        if known:
            # Evidence begins at 1, and a limit is what it is from the start.
            known.insert(0, (0.0, known[0][1] if dashed else 1.0))
            drawn = [(panel.x(seconds), panel.y(_log(v))) for seconds, v in known]
            yield Line(drawn if not dashed else _stairs(drawn), ink, 1.2 if dashed else 2.0, dashed)

    yield from curve(lambda one: one.limit_errors, Ink.HARM, dashed=True)
    yield from curve(lambda one: one.limit_good, Ink.GOOD, dashed=True)
    yield from curve(lambda one: one.limit_latency, Ink.SLOW, dashed=True)
    yield from curve(lambda one: one.e_latency, Ink.SLOW)
    yield from curve(lambda one: one.e_good, Ink.GOOD)
    yield from curve(lambda one: one.e_errors, Ink.HARM)


def _legend(points: Sequence[Point]) -> list[tuple[str, Ink]]:
    slow = any(one.e_latency is not None for one in points)
    known = [("it fails too often", Ink.HARM), ("proof of health", Ink.GOOD)]
    return [*known, *([("it is slower", Ink.SLOW)] if slow else []), ("dashed: the limit", Ink.MUTED)]


def _rates(found: Explanation, points: Sequence[Point], panel: _Panel) -> Iterator[Shape]:
    legend = [
        ("canary", Ink.CANARY),
        ("current", Ink.CURRENT),
        ("shaded: 95 % confidence at every look", Ink.MUTED),
    ]
    yield from _heading(panel, "Error rate so far", legend)
    for value in _ticks(panel.high, 4):
        yield from _level(panel, value, f"{value * 100:g} %")
    # Where both lines lie on each other, both are seen.
    arms: tuple[tuple[Ink, Callable[[Point], Rate], float], ...] = (
        (Ink.CANARY, lambda one: one.canary, 3.5),
        (Ink.CURRENT, lambda one: one.current, 1.5),
    )
    for ink, rate, width in arms:
        seen = [one for one in points if rate(one).requests]
        if not seen:
            continue
        upper = [(panel.x(one.seconds), panel.y(rate(one).high)) for one in seen]
        lower = [(panel.x(one.seconds), panel.y(rate(one).low)) for one in seen]
        if len(seen) > 1:
            yield Area([*upper, *reversed(lower)], ink, 0.16)
        yield Line([(panel.x(one.seconds), panel.y(rate(one).rate)) for one in seen], ink, width)
    allowed = found.policy.max_error_rate
    yield Line(panel.across(allowed), Ink.HARM, 1.2, dashed=True)
    yield Text(
        _WIDTH - _RIGHT - 4, panel.y(allowed) - 9, f"{allowed * 100:g} % allowed", Ink.HARM, 11, anchor="end"
    )


def _shares(points: Sequence[Point], panel: _Panel) -> Iterator[Shape]:
    yield from _heading(panel, "Share of the canary", [])
    for value in (0.0, 0.5, 1.0):
        yield from _level(panel, value, f"{value * 100:g} %")
    known = [(0.0, points[0].share), *((one.seconds, one.share) for one in points)]
    stairs = _stairs([(panel.x(seconds), panel.y(share)) for seconds, share in known])
    yield Area([*stairs, (stairs[-1][0], panel.y(0)), (stairs[0][0], panel.y(0))], Ink.CANARY, 0.16)
    yield Line(stairs, Ink.CANARY, 2.0)


def _time(panel: _Panel) -> Iterator[Shape]:
    unit, name = (1.0, "s") if panel.end < 600 else (60.0, "min") if panel.end < 36_000 else (3600.0, "h")
    base = panel.top + panel.height
    for value in _ticks(panel.end / unit, 8):
        x = panel.x(value * unit)
        yield Line(((x, base), (x, base + 4)), Ink.MUTED)
        yield Text(x, base + 14, f"{value:g} {name}", Ink.MUTED, 11, anchor="middle")
    words = "since the version became the canary"
    yield Text((_LEFT + _WIDTH - _RIGHT) / 2, base + 33, words, Ink.MUTED, 11, anchor="middle")


def _heading(panel: _Panel, words: str, legend: Sequence[tuple[str, Ink]]) -> Iterator[Shape]:
    y = panel.top - 14
    yield Text(_LEFT, y, words, bold=True)
    swatches = [22.0 if ink is not Ink.MUTED else 0.0 for _, ink in legend]
    widths = [len(label) * _CHARACTER for label, _ in legend]
    x = _WIDTH - _RIGHT - sum(swatches) - sum(widths) - _APART * (len(legend) - 1)
    for (label, ink), swatch, width in zip(legend, swatches, widths, strict=True):
        if swatch:
            yield Line(((x, y), (x + 16, y)), ink, 3.0)
        yield Text(x + swatch, y, label, Ink.MUTED, 12)
        x += swatch + width + _APART


def _level(panel: _Panel, value: float, label: str) -> Iterator[Shape]:
    yield Line(panel.across(value), Ink.GRID)
    yield Text(_LEFT - 8, panel.y(value), label, Ink.MUTED, 11, anchor="end")


def _marks(found: Explanation) -> list[tuple[float, str]]:
    """Events with their seconds on the axis; the first one is where the axis begins."""
    began = next((one for one in found.timeline if one.row.kind == "verified"), None)
    if began is None:
        return []
    marks = []
    for one in found.timeline:
        if one.row.seq <= began.row.seq:
            continue
        words = _SHORT.get(one.row.kind, one.row.kind)
        if one.row.kind == "share_changed" and one.share is not None:
            words = f"{one.share * 100:.3g} %"
        marks.append((max(0.0, one.seconds - began.seconds), words))
    return marks


def _rows(marks: Sequence[tuple[float, str]], end: float) -> Iterator[tuple[int, float, str]]:
    """Labels in rows, such that none covers another."""
    reach: list[float] = []
    for seconds, words in marks:
        x = _LEFT + (_WIDTH - _LEFT - _RIGHT) * seconds / end
        half = len(words) * _CHARACTER / 2 + 4
        x = min(max(x, _LEFT + half), _WIDTH - _RIGHT - half)
        row = next((n for n, right in enumerate(reach) if right < x - half), len(reach))
        reach[row : row + 1] = [x + half]
        yield row, seconds, words


def _verticals(
    rows: Sequence[tuple[int, float, str]], end: float, panels: Sequence[tuple[float, float]]
) -> Iterator[Shape]:
    """The events: a label above, a line through each panel."""
    for row, seconds, words in rows:
        x = _LEFT + (_WIDTH - _LEFT - _RIGHT) * seconds / end
        half = len(words) * _CHARACTER / 2 + 4
        y = panels[0][0] - 36 - _LABEL_ROW * row
        for top, bottom in panels:
            yield Line(((x, top), (x, bottom)), Ink.MUTED, 1.0, dashed=True)
        yield Text(min(max(x, _LEFT + half), _WIDTH - _RIGHT - half), y, words, Ink.TEXT, 11, "middle")


def _decades(points: Sequence[Point]) -> tuple[float, float]:
    values = [v for one in points for v in (one.e_errors, one.e_good, one.e_latency) if v is not None]
    limits = [v for one in points for v in (one.limit_errors, one.limit_latency) if v is not None]
    low, high = _log(min(values)), max(_log(max(values)), _log(max(limits)) + 0.5)
    return math.floor(low), high + 0.1


def _log(value: float) -> float:
    return math.log10(min(max(value, _LEAST_E), _MOST_E))


def _highest(found: Explanation, points: Sequence[Point]) -> float:
    """The upper edge for rates: what was seen once there were some requests, and the allowed rate."""
    telling = [
        rate.rate
        for one in points
        for rate in (one.canary, one.current)
        if rate.requests >= _TELLING_REQUESTS or one is points[-1]
    ]
    ends = [rate.high for rate in (points[-1].canary, points[-1].current) if rate.requests]
    wanted = max(1.25 * max(telling, default=0.0), *ends, 2.0 * found.policy.max_error_rate)
    return min(1.0, wanted)


def _ticks(high: float, about: int) -> list[float]:
    """Round values from 0 to `high`, about so many."""
    rough = high / about
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * magnitude for factor in (1, 2, 5, 10) if factor * magnitude >= rough)
    return [round(step * n, 10) for n in range(math.floor(high / step + 1e-9) + 1)]


def _stairs(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Each value holds until the next point."""
    found = [points[0]]
    for (_, before), (x, y) in pairwise(points):
        found += [(x, before), (x, y)] if y != before else [(x, y)]
    return found
