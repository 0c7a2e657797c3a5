"""A picture for people: how the training went."""

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

from matplotlib.ticker import MaxNLocator

from serinus.evaluation.plots import BLACK, BLUE, GREEN, ORANGE, RED, figure_of, save
from serinus.training.trainer import EpochRow


def curves(history: Sequence[EpochRow], watched: str, best_epoch: int, path: Path) -> None:
    """Losses on the left, quality on the `watched` split on the right, over epochs."""
    figure = figure_of(10, 4.3)
    losses, quality = figure.subplots(1, 2)
    epochs = [row.epoch for row in history]
    parts = {"total": [row.loss for row in history]}
    for name in history[0].parts:
        parts[name.removesuffix("_loss")] = [row.parts[name] for row in history]
    for (words, values), colour in zip(parts.items(), cycle((BLACK, ORANGE, BLUE, GREEN))):
        losses.plot(epochs, values, marker="o", markersize=3.5, color=colour, label=words)
    losses.set_title("Training loss")
    losses.set_ylim(bottom=0)
    for words, values, colour in (
        ("mAP50", [row.map50 for row in history], BLUE),
        ("precision", [row.precision for row in history], ORANGE),
        ("recall", [row.recall for row in history], GREEN),
    ):
        quality.plot(epochs, values, marker="o", markersize=3.5, color=colour, label=words)
    quality.axvline(best_epoch, color=RED, linewidth=1, linestyle=":", label="kept")
    quality.set_title(f"Quality on the {watched} split")
    quality.set_ylim(0, 1.02)
    for axes in (losses, quality):
        axes.set_xlabel("epoch")
        axes.set_xlim(0.5, len(history) + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        # Below, where no curve runs through it.
        axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=4, fontsize=9)
    save(figure, path)
