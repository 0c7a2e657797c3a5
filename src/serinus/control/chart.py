"""The picture of a rollout: evidence over time with its limits, what the answers are like, error rates with
confidence sequences, and the canary's share, under the events that happened. Pure: an explanation in, shapes
out.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from serinus.control.canvas import Area, Ink, Line, Picture, Shape, Text
from serinus.control.explain import Explanation
from serinus.control.series import Claim, Point, Rate

_WIDTH, _LEFT, _RIGHT = 920, 72, 24
_TITLE = 24
_TOP = 84
_GAP = 46
_EVIDENCE_HEIGHT, _ANSWERS_HEIGHT, _RATES_HEIGHT, _SHARE_HEIGHT = 220, 130, 180, 70
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


class _Track(NamedTuple):
    """One kind of evidence."""

    label: str
    ink: Ink
    value: Callable[[Point], float | None]
    """None where nothing was observed."""
    limit: Callable[[Point], float | None]


_HARM = _Track("it fails too often", Ink.HARM, lambda one: one.e_errors, lambda one: one.limit_errors)
_GOOD = _Track("proof of health", Ink.GOOD, lambda one: one.e_good, lambda one: one.limit_good)
_SLOW = _Track("it is slower", Ink.SLOW, lambda one: one.e_latency, lambda one: one.limit_latency)
_CLAIMS = {
    Claim.SIGNALS: ("invalid or empty", Ink.HARM),
    Claim.SHIFT: ("other answers", Ink.CANARY),
    Claim.DRIFT: ("drift", Ink.CURRENT),
    Claim.DISAGREEMENT: ("disagreement", Ink.SLOW),
    Claim.SPLIT: ("split", Ink.TEXT),
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
    evidence, answers = _observed(points, (_HARM, _GOOD, _SLOW)), _observed(points, _of_answers(points))
    heights = [_EVIDENCE_HEIGHT, *([_ANSWERS_HEIGHT] if answers else []), _RATES_HEIGHT, _SHARE_HEIGHT]
    tops = [top + sum(heights[:n]) + _GAP * n for n in range(len(heights))]
    shapes += _verticals(rows, end, [(one, one + high) for one, high in zip(tops, heights, strict=True)])
    panel = _Panel(tops[0], _EVIDENCE_HEIGHT, end, *_decades(points, evidence))
    shapes += _evidence("Evidence (e-values)", points, evidence, panel)
    if answers:
        panel = _Panel(tops[1], _ANSWERS_HEIGHT, end, *_decades(points, answers))
        shapes += _evidence("Answers (e-values)", points, answers, panel)
    shapes += _rates(found, points, _Panel(tops[-2], _RATES_HEIGHT, end, 0.0, _highest(found, points)))
    share = _Panel(tops[-1], _SHARE_HEIGHT, end, 0.0, 1.0)
    shapes += _shares(points, share)
    shapes += _time(share)
    return Picture(_WIDTH, round(tops[-1] + _SHARE_HEIGHT + _BOTTOM), title, shapes)


def _of_answers(points: Sequence[Point]) -> Iterator[_Track]:
    """What anything was observed of; of the split only that it is wrong, since it is about no answer."""
    for claim, (label, ink) in _CLAIMS.items():
        known = [weighed for one in points if (weighed := one.claims.get(claim)) is not None]
        if claim is Claim.SPLIT:
            tells = any(one.e >= one.limit for one in known)
        else:
            tells = any(one.e != 1.0 for one in known)
        if tells:
            yield _Track(label, ink, _e_of(claim), _limit_of(claim))


def _e_of(claim: Claim) -> Callable[[Point], float | None]:
    return lambda one: one.claims[claim].e if claim in one.claims else None


def _limit_of(claim: Claim) -> Callable[[Point], float | None]:
    return lambda one: one.claims[claim].limit if claim in one.claims else None


def _observed(points: Sequence[Point], tracks: Iterable[_Track]) -> list[_Track]:
    return [track for track in tracks if any(track.value(one) is not None for one in points)]


def _evidence(
    words: str, points: Sequence[Point], tracks: Sequence[_Track], panel: _Panel
) -> Iterator[Shape]:
    legend = [(track.label, track.ink) for track in tracks]
    yield from _heading(panel, words, [*legend, ("dashed: the limit", Ink.MUTED)])
    for exponent in range(math.ceil(panel.low), math.floor(panel.high) + 1):
        label = f"{10.0**exponent:g}" if abs(exponent) < 4 else f"1e{exponent}"
        yield from _level(panel, exponent, label)
    # Limits that are the same are one line, of nobody's colour.
    limits: dict[tuple[tuple[float, float], ...], Ink] = {}
    for track in tracks:
        stairs = tuple(_steps(points, track.limit))
        limits[stairs] = Ink.MUTED if stairs in limits else track.ink
    for stairs, ink in limits.items():
        drawn = [(panel.x(seconds), panel.y(_log(value))) for seconds, value in stairs]
        drawn.append((panel.x(points[-1].seconds), drawn[-1][1]))
        yield Line(_stairs(drawn), ink, 1.2, dashed=True)
    for track in reversed(tracks):
        known = [(one.seconds, e) for one in points if (e := track.value(one)) is not None]
        # Evidence begins at 1.
        curve = [(panel.x(seconds), panel.y(_log(e))) for seconds, e in [(0.0, 1.0), *known]]
        yield Line(curve, track.ink, 2.0)


def _steps(points: Sequence[Point], value: Callable[[Point], float | None]) -> Iterator[tuple[float, float]]:
    """Where a limit changes, and to what: it is what it is from the start."""
    before: float | None = None
    for one in points:
        limit = value(one)
        if limit is not None and limit != before:
            yield (0.0 if before is None else one.seconds), limit
            before = limit


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


def _decades(points: Sequence[Point], tracks: Sequence[_Track]) -> tuple[float, float]:
    """The lower and the upper edge, as exponents of ten."""
    values = [e for one in points for track in tracks if (e := track.value(one)) is not None]
    limits = [e for one in points for track in tracks if (e := track.limit(one)) is not None]
    return math.floor(_log(min(values))), max(_log(max(values)), _log(max(limits)) + 0.5) + 0.1


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
