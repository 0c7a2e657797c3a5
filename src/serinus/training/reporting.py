"""What a draft tells people and programs of its training: metrics.json and the files in training/."""

import csv
from pathlib import Path

import msgspec

from serinus.evaluation.plots import confusion
from serinus.training import plots
from serinus.training.trainer import EpochRow, Trained


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """training/summary.json: the numbers that a job's record and its page show."""

    epochs: int
    best_epoch: int
    measured_on: str
    watched: str
    final: dict[str, float]
    """Of the published weights, on the measured split."""
    best: dict[str, float]
    """Of the same weights, on the watched split, as results.csv has them."""


def report(work: Path, classes: tuple[str, ...], trained: Trained) -> None:
    """metrics.json, and in training/: results.csv, summary.json and the two pictures."""
    metrics = trained.metrics.flat() | {"train_epochs": float(len(trained.history))}
    (work / "metrics.json").write_bytes(msgspec.json.encode(metrics))
    folder = work / "training"
    folder.mkdir(exist_ok=True)
    with (folder / "results.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.DictWriter(file, list(flat(trained.history[0])))
        rows.writeheader()
        rows.writerows({name: f"{value:.6g}" for name, value in flat(row).items()} for row in trained.history)
    best = trained.history[trained.best_epoch - 1]
    summary = Summary(
        epochs=len(trained.history),
        best_epoch=trained.best_epoch,
        measured_on=trained.measured_on,
        watched=trained.watched,
        final=trained.metrics.flat(),
        best={"map50": best.map50, "precision": best.precision, "recall": best.recall},
    )
    (folder / "summary.json").write_bytes(msgspec.json.encode(summary))
    plots.curves(trained.history, trained.watched, trained.best_epoch, folder / "loss.png")
    confusion(trained.metrics, classes, trained.measured_on, folder / "confusion_matrix.png")


def flat(row: EpochRow) -> dict[str, float]:
    """The columns of results.csv."""
    whole = msgspec.to_builtins(row)
    front = {name: whole[name] for name in ("epoch", "seconds", "loss")}
    return front | row.parts | {name: whole[name] for name in ("map50", "precision", "recall")}
