"""Pictures of what was measured. Matplotlib without a screen; colours of Okabe and Ito (2008)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from serinus.evaluation.assessment import Assessment, SizeMetrics
from serinus.evaluation.calibration import Calibration
from serinus.evaluation.detection import Metrics

BLACK, ORANGE, BLUE, GREEN, RED = "#222222", "#E69F00", "#0072B2", "#009E73", "#D55E00"
_OF_CLASS = ("#0072B2", "#009E73", "#E69F00", "#D55E00", "#CC79A7")
_DPI = 110


def figure_of(width: float, height: float) -> Figure:
    """An empty one, in inches."""
    return Figure(figsize=(width, height), dpi=_DPI, layout="constrained")


def save(figure: Figure, path: Path) -> None:
    """As PNG; equal figures give equal bytes."""
    FigureCanvasAgg(figure)
    figure.savefig(path, format="png", metadata={"Software": None})


def confusion(metrics: Metrics, classes: Sequence[str], split: str, path: Path) -> None:
    """True class (rows) against found class (columns), in counts, shaded by the share of the row."""
    counts = np.array(metrics.confusion)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    shares[-1] = 0  # false alarms are a share of nothing
    figure = figure_of(1.15 * len(counts) + 2.4, 0.85 * len(counts) + 2.1)
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), count in np.ndenumerate(counts):
        if row == column == len(classes):
            continue  # nothing there, nothing found: nobody counts that
        share = shares[row, column]
        axes.text(
            column,
            row,
            f"{count}\n{share:.0%}" if share else str(count),
            ha="center",
            va="center",
            fontsize=9,
            color="white" if share > 0.55 else BLACK,
        )
    axes.set_xticks(range(len(counts)), [*classes, "missed"], rotation=25, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(counts)), [*classes, "nothing there"])
    axes.set_xlabel("found")
    axes.set_ylabel("truth")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xticks(np.arange(len(counts) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(counts) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=2)
    axes.tick_params(which="minor", length=0)
    axes.set_title(
        f"{_pairs(metrics.pictures, split)}, confidence from {metrics.threshold:.2f}, IoU 0.5",
        fontsize=10,
    )
    save(figure, path)


def _pairs(count: int, split: str) -> str:
    return f"All {count} pairs" if split == "all" else f"{count} pairs of the {split} split"


def precision_recall(assessed: Assessment, path: Path) -> None:
    """One curve for each class that is there, with its average precision."""
    figure = figure_of(5.6, 4.6)
    axes = figure.subplots()
    recalls = np.linspace(0, 1, 101)
    per_class = assessed.metrics.per_class
    for number, (name, curve) in enumerate(assessed.curves.items()):
        reached = np.count_nonzero(curve)  # beyond it no precision is 0: there is none
        axes.plot(
            recalls[:reached],
            curve[:reached],
            color=_OF_CLASS[number % len(_OF_CLASS)],
            linewidth=1.8,
            marker="o",
            markevery=(max(reached - 1, 0), 1),
            markersize=5,
            label=f"{name}: {per_class[name].map50:.3f} ({per_class[name].support})",
        )
    axes.set_xlabel("recall")
    axes.set_ylabel("precision")
    axes.set_title("Average precision at IoU 0.5 (buildings)", fontsize=10)
    axes.set_xlim(0, 1.01)
    _share(axes)
    figure.legend(frameon=False, loc="outside lower center", ncols=2, fontsize=9)
    save(figure, path)


def reliability(found: Calibration, path: Path) -> None:
    """How often detections are right against what they say; below, how many there are."""
    figure = figure_of(5.6, 4.6)
    upper, lower = figure.subplots(2, 1, height_ratios=(3, 1), sharex=True)
    filled = [one for one in found.bins if one.detections]
    upper.plot((0, 1), (0, 1), color=BLACK, linewidth=1, linestyle=":", label="as they say")
    upper.plot(
        [one.confidence for one in filled],
        [one.right for one in filled],
        marker="o",
        color=BLUE,
        clip_on=False,
        label="as they are",
    )
    upper.set_ylabel("share that is right")
    upper.set_title(f"Calibration error {found.ece:.3f} over {found.detections} detections", fontsize=10)
    _share(upper)
    middles = [(one.low + one.high) / 2 for one in found.bins]
    lower.bar(middles, [one.detections for one in found.bins], width=0.085, color=BLUE)
    lower.set_xlim(0, 1)
    lower.set_xlabel("confidence")
    lower.set_ylabel("how many")
    _plain(lower)
    figure.legend(frameon=False, loc="outside lower center", ncols=2, fontsize=9)
    save(figure, path)


def sizes(per_size: dict[str, SizeMetrics], path: Path) -> None:
    """mAP50 and mAP50-95 by size of the building."""
    figure = figure_of(5.6, 3.6)
    axes = figure.subplots()
    present = {name: one for name, one in per_size.items() if one.support}
    places = np.arange(len(present))
    for shift, words, values, colour in (
        (-0.2, "mAP50", [one.map50 for one in present.values()], BLUE),
        (0.2, "mAP50-95", [one.map50_95 for one in present.values()], ORANGE),
    ):
        bars = axes.bar(places + shift, values, 0.38, color=colour, label=words)
        axes.bar_label(bars, fmt="%.2f", fontsize=8, padding=2)
    axes.set_xticks(places, [f"{name}\n{one.support} buildings" for name, one in present.items()], fontsize=8)
    axes.set_title("By size of the building", fontsize=10)
    _share(axes, above=1.12)
    figure.legend(frameon=False, loc="outside lower center", ncols=2, fontsize=9)
    save(figure, path)


def _share(axes: Axes, above: float = 1.02) -> None:
    axes.set_ylim(0, above)
    axes.set_yticks(np.arange(0, 1.01, 0.2))
    _plain(axes)


def _plain(axes: Axes) -> None:
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
