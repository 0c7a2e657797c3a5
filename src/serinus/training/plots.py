"""Two pictures for people: how the training went, and what is taken for what. Matplotlib without a screen."""

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from serinus.evaluation.detection import Metrics
from serinus.training.trainer import EpochRow

# Okabe and Ito's palette: told apart by colour-blind people too.
_BLACK, _ORANGE, _BLUE, _GREEN, _RED = "#222222", "#E69F00", "#0072B2", "#009E73", "#D55E00"
_DPI = 110


def curves(history: Sequence[EpochRow], watched: str, best_epoch: int, path: Path) -> None:
    """Losses on the left, quality on the `watched` split on the right, over epochs."""
    figure = Figure(figsize=(10, 4), dpi=_DPI, layout="constrained")
    losses, quality = figure.subplots(1, 2)
    epochs = [row.epoch for row in history]
    parts = {"total": [row.loss for row in history]}
    for name in history[0].parts:
        parts[name.removesuffix("_loss")] = [row.parts[name] for row in history]
    for (words, values), colour in zip(parts.items(), cycle((_BLACK, _ORANGE, _BLUE, _GREEN))):
        losses.plot(epochs, values, marker="o", markersize=3.5, color=colour, label=words)
    losses.set_title("Training loss")
    losses.set_ylim(bottom=0)
    for words, values, colour in (
        ("mAP50", [row.map50 for row in history], _BLUE),
        ("precision", [row.precision for row in history], _ORANGE),
        ("recall", [row.recall for row in history], _GREEN),
    ):
        quality.plot(epochs, values, marker="o", markersize=3.5, color=colour, label=words)
    quality.axvline(best_epoch, color=_RED, linewidth=1, linestyle=":", label="kept")
    quality.set_title(f"Quality on the {watched} split")
    quality.set_ylim(0, 1.02)
    for axes in (losses, quality):
        axes.set_xlabel("epoch")
        axes.set_xlim(0.5, len(history) + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    losses.legend(frameon=False, loc="upper right")
    quality.legend(frameon=False, loc="lower right")
    _save(figure, path)


def confusion(metrics: Metrics, classes: Sequence[str], split: str, path: Path) -> None:
    """True class (rows) against found class (columns), in counts, shaded by the share of the row."""
    counts = np.array(metrics.confusion)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    shares[-1] = 0  # false alarms are a share of nothing
    figure = Figure(
        figsize=(1.15 * len(counts) + 2.4, 0.85 * len(counts) + 2.1), dpi=_DPI, layout="constrained"
    )
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
            color="white" if share > 0.55 else _BLACK,
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
        f"{metrics.pictures} pairs of the {split} split, confidence from {metrics.threshold:.2f}, IoU 0.5",
        fontsize=10,
    )
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure)
    figure.savefig(path, format="png", metadata={"Software": None})
