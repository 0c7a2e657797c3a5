"""How values look on a page: pure functions, used as Jinja filters."""

import math
import re
from datetime import UTC, datetime

from markupsafe import Markup, escape

_RING = 2 * math.pi * 52
"""Circumference of the countdown ring: radius 52 in the drawing's units."""


def count(number: float) -> str:
    """`1,204`."""
    return f"{number:,.0f}"


def percent(share: float) -> str:
    """`50 %`, `0.4 %`, `< 0.001 %`."""
    return "< 0.001 %" if 0 < share < 1e-5 else f"{_short(share * 100)} %"


def rate(part: float, whole: float) -> str:
    """`0.4 %` of a whole; a dash when the whole is 0."""
    return percent(part / whole) if whole else "–"


def score(value: float | None) -> str:
    """A metric in [0, 1] with three digits; a dash when unknown."""
    return "–" if value is None else f"{value:.3f}"


def evidence(value: float) -> str:
    """An e-value for people: `0.3`, `12`, `223`, `more than a million`."""
    if value >= 1e6:
        return "more than a million"
    if value >= 100:
        return f"{math.floor(value):,}"
    digits = 10 if value >= 1 else 100
    return f"{math.floor(value * digits) / digits:g}"  # cut, never rounded up to its limit


def capital(words: str) -> str:
    """A capital first."""
    return words[:1].upper() + words[1:]


def sentence(words: str) -> str:
    """A clause as a sentence: a capital first, a full stop last."""
    return f"{capital(words).rstrip('.')}." if words else ""


def clock(seconds: float) -> str:
    """`2:05`, `1:03:20`: minutes and seconds that are left."""
    whole = max(0, math.ceil(seconds))
    minutes, rest = divmod(whole, 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"


def ago(time: float, now: float) -> str:
    """`just now`, `40 s ago`, `3 min ago`, `2 h ago`, `5 days ago`."""
    seconds = max(0.0, now - time)
    if seconds < 5:
        return "just now"
    for limit, unit, name in ((60, 1, "s"), (3600, 60, "min"), (86400, 3600, "h"), (172800, 86400, "day")):
        if seconds < limit:
            return f"{int(seconds // unit)} {name} ago"
    return f"{int(seconds // 86400)} days ago"


def seconds(value: float) -> str:
    """A latency: `83 ms`, `1.2 s`."""
    return f"{_short(value * 1000)} ms" if value < 0.9995 else f"{_short(value)} s"


def utc(time: float) -> str:
    """`2026-11-23 06:43:10 UTC`."""
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def iso(time: float) -> str:
    """`2026-11-23T06:43:10+00:00`, for the attribute `datetime`."""
    return datetime.fromtimestamp(time, UTC).isoformat(timespec="seconds")


def size(octets: float) -> str:
    """`12.4 MB`."""
    for unit in ("B", "kB", "MB"):
        if octets < 999.5:
            return f"{_short(octets)} {unit}"
        octets /= 1000
    return f"{_short(octets)} GB"


def gauge(value: float, limit: float) -> float:
    """Where an e-value stands between nothing and its limit, in [0, 100]: evidence adds up in logarithms."""
    if limit <= 0 or value <= 0:
        return 0.0
    return round(100 * min(1.0, math.log1p(min(value, limit)) / math.log1p(limit)), 1)


def ring(done: float, whole: float) -> float:
    """Dash offset of the countdown ring when `done` of `whole` has passed."""
    part = min(1.0, max(0.0, done / whole)) if whole > 0 else 1.0
    return round(_RING * (1 - part), 2)


def band(share: float) -> float:
    """Stroke width of a band of traffic, in the drawing's units; thin ones stay visible."""
    return round(0.0 if share <= 0 else max(2.0, 44 * share), 1)


def label(name: str) -> str:
    """`canary_requests` -> `canary requests`, `map50` -> `mAP50`."""
    return re.sub(r"[_/]+", " ", name).replace("map50", "mAP50")


def number(value: float) -> str:
    """Any number of a table: whole ones with separators, others with four digits."""
    if value == int(value) and abs(value) < 1e15:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def unbroken(words: str) -> str:
    """No line ends between a number and its unit."""
    return re.sub(r"(?<=\d) (?=(%|s|ms|min|h|kB|MB|GB)(\W|$))", "\N{NO-BREAK SPACE}", words)


def _short(value: float) -> str:
    """Three digits that count, never as a power of ten: `0.0042`, `71.3`, `1,234`."""
    return f"{value:,.0f}" if value >= 999.5 else f"{value:.3g}"


def prose(words: str) -> Markup:
    """Escaped words in which `...` is code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(words))))


FILTERS = {
    "ago": ago,
    "band": band,
    "capital": capital,
    "clock": clock,
    "count": count,
    "evidence": evidence,
    "gauge": gauge,
    "iso": iso,
    "label": label,
    "number": number,
    "percent": percent,
    "prose": prose,
    "rate": rate,
    "ring": ring,
    "score": score,
    "seconds": seconds,
    "sentence": sentence,
    "size": size,
    "unbroken": unbroken,
    "utc": utc,
}
