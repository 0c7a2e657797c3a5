"""The charts of a data set's report, as SVG. Matplotlib without a screen."""

import io
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from serinus.core.text import visible
from serinus.data.xbd import CLASSES
from serinus.imagery.overlay import COLOURS

_NAMES = tuple(map(str, CLASSES))
_INK, _SOFT, _BAR = "#1a2420", "#55625c", "#0b63b0"
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "serinus",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.parse_math": False,  # names come from strangers
    "text.color": _INK,
    "axes.edgecolor": "#c9d0cb",
    "axes.labelcolor": _SOFT,
    "xtick.color": _SOFT,
    "ytick.color": _INK,
}
MOST_DISASTERS = 20
_LONGEST_NAME = 34


def classes(counts: Mapping[str, int]) -> str:
    """Buildings per class."""
    total = max(sum(counts.values()), 1)
    words = [f"{counts[name]:,} ({counts[name] / total:.1%})" for name in _NAMES]
    return _bars(_NAMES, [counts[name] for name in _NAMES], words, [_rgb(label) for label in range(4)])


def sizes(counts: Mapping[str, int]) -> str:
    """Buildings per band of side lengths."""
    return _bars(
        list(counts), list(counts.values()), [f"{count:,}" for count in counts.values()], [_BAR] * len(counts)
    )


def disasters(per_disaster: Mapping[str, Mapping[str, int]]) -> str:
    """Buildings of each class, per disaster; the largest ones, the smaller ones together."""
    with mpl.rc_context(_STYLE):
        rows = _largest(per_disaster)
        figure = Figure(figsize=(7.2, 0.5 + 0.34 * len(rows)), layout="constrained")
        axes = figure.subplots()
        totals = [sum(counts.get(name, 0) for name in _NAMES) for _, counts in rows]
        left = [0] * len(rows)
        for label, name in enumerate(_NAMES):
            widths = [counts.get(name, 0) for _, counts in rows]
            axes.barh(range(len(rows)), widths, 0.68, left, color=_rgb(label), label=name)
            left = [start + width for start, width in zip(left, widths, strict=True)]
        _finish(axes, [name for name, _ in rows], totals)
        for place, ((_, counts), total) in enumerate(zip(rows, totals, strict=True)):
            _say(axes, total, place, f"{total:,} in {counts['pairs']:,} pairs")
        figure.legend(loc="outside lower center", ncols=4, frameon=False, handlelength=1, columnspacing=1.4)
        return _svg(figure)


def _largest(per_disaster: Mapping[str, Mapping[str, int]]) -> list[tuple[str, Mapping[str, int]]]:
    rows = sorted(per_disaster.items(), key=lambda row: (-row[1]["pairs"], row[0]))
    rest = rows[MOST_DISASTERS:]
    if not rest:
        return rows
    together = {name: sum(counts.get(name, 0) for _, counts in rest) for name in ("pairs", *_NAMES)}
    return [*rows[:MOST_DISASTERS], (f"{len(rest)} others", together)]


def _bars(
    names: Sequence[str],
    values: Sequence[int],
    words: Sequence[str],
    colours: Sequence[str | tuple[float, ...]],
) -> str:
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(5.4, 0.15 + 0.36 * len(names)), layout="constrained")
        axes = figure.subplots()
        axes.barh(range(len(names)), values, 0.68, color=colours)
        _finish(axes, names, values)
        for place, (value, text) in enumerate(zip(values, words, strict=True)):
            _say(axes, value, place, text)
        return _svg(figure)


def _finish(axes: "mpl.axes.Axes", names: Sequence[str], values: Sequence[int]) -> None:
    names = [visible(name) for name in names]
    short = [name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…" for name in names]
    axes.set_yticks(range(len(names)), short)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(0, max(*values, 1) * 1.42)  # room for the words at the bars' ends
    axes.xaxis.set_visible(False)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _say(axes: "mpl.axes.Axes", value: int, place: int, words: str) -> None:
    """Words at the end of a bar."""
    axes.annotate(words, (value, place), (6, 0), textcoords="offset points", va="center", color=_SOFT)


def _rgb(label: int) -> tuple[float, ...]:
    return tuple(part / 255 for part in COLOURS[label])


def _svg(figure: Figure) -> str:
    out = io.StringIO()
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "Glyph", UserWarning
        )  # the page's font may have what this one lacks
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :]
    # As wide as its place in the page allows; the text in the page's own font.
    svg = re.sub(
        r'(<svg [^>]*?)width="([\d.]+)pt" height="[\d.]+pt"', r'\1style="max-width:\2pt"', svg, count=1
    )
    return svg.replace("'DejaVu Sans'", "system-ui, sans-serif")
