"""A whole training: a draft directory that is complete, proven and ready to publish, or nothing at all."""

import csv
import shutil
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import msgspec

from serinus.artifact.manifest import Contract, Lineage, Manifest
from serinus.core.errors import Conflict
from serinus.core.ids import Digest
from serinus.data.dataset import Dataset, Split
from serinus.training import export, plots
from serinus.training.compact import Compact
from serinus.training.trainer import EpochRow, Phase, Progress, Trained, Trainer, TrainSpec

TRIAL_SECONDS = 120.0
TRIAL_MEMORY_MB = 2048


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


def _silent(_: Progress) -> None:
    pass


def _never() -> bool:
    return False


def train(
    spec: TrainSpec,
    dataset: Dataset,
    out: Path,
    *,
    trainer: Trainer | None = None,
    parent: Digest | None = None,
    progress: Callable[[Progress], None] = _silent,
    cancelled: Callable[[], bool] = _never,
    trial_seconds: float = TRIAL_SECONDS,
    trial_memory_mb: int = TRIAL_MEMORY_MB,
) -> Path:
    """Trains on `dataset` and gives `out`, a draft that `Store.publish` takes.

    `out` must not exist; its folder must. Everything is made in a temporary sibling that is renamed at the
    very end: after a failure, Ctrl-C or `cancelled()` nothing is left. `trainer` None: the built-in one.
    `parent`: manifest digest of the version that `spec.base` is from. The `trial_*` limits are those of the
    sandboxed run of the exported model. Raises what `Trainer.train` raises; ModelFault when the export is not
    what was trained; Conflict when `out` exists.
    """
    if out.exists():
        raise Conflict(f"{out} exists already.", remedy="Give another place for the draft.")
    chosen = Compact() if trainer is None else trainer
    work = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        work.chmod(0o755)
        trained = chosen.train(spec, dataset, work, progress=progress, cancelled=cancelled)
        progress(Progress(phase=Phase.CHECKING, epochs=spec.epochs))
        contract = msgspec.json.decode((work / "contract.json").read_bytes(), type=Contract)
        export.prove(work, contract, seconds=trial_seconds, memory_mb=trial_memory_mb)
        lineage = _lineage(spec, dataset, chosen.name, parent, trained)
        (work / "lineage.json").write_bytes(msgspec.json.encode(lineage))
        _report(work, contract.classes, trained)
        work.rename(out)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return out


def _lineage(
    spec: TrainSpec, dataset: Dataset, trainer: str, parent: Digest | None, trained: Trained
) -> Lineage:
    seen = {pair.sha256_post for split in (Split.TRAIN, Split.VAL) for pair in dataset.pairs(split)}
    return Lineage(
        trainer=trainer,
        config={
            "epochs": spec.epochs,
            "batch": spec.batch,
            "img_size": spec.img_size,
            "seed": spec.seed,
            "measured_on": trained.measured_on,
            "best_epoch": trained.best_epoch,
        },
        dataset=dataset.id,
        parent=parent,
        tiles=tuple(sorted(seen | inherited_tiles(spec.base))),
        code=version("serinus"),
    )


def inherited_tiles(base: Path | None) -> frozenset[str]:
    """Pictures that the base was trained on, as its manifest or lineage says: its weights still know them."""
    if base is None:
        return frozenset()
    folder = base if base.is_dir() else base.parent
    if (folder / "manifest.json").is_file():
        manifest = msgspec.json.decode((folder / "manifest.json").read_bytes(), type=Manifest)
        return frozenset(manifest.lineage.tiles)
    if (folder / "lineage.json").is_file():
        return frozenset(msgspec.json.decode((folder / "lineage.json").read_bytes(), type=Lineage).tiles)
    return frozenset()


def _report(work: Path, classes: tuple[str, ...], trained: Trained) -> None:
    """metrics.json, and in training/: results.csv, summary.json and the two pictures."""
    metrics = trained.metrics.flat() | {"train_epochs": float(len(trained.history))}
    (work / "metrics.json").write_bytes(msgspec.json.encode(metrics))
    folder = work / "training"
    folder.mkdir(exist_ok=True)
    with (folder / "results.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.DictWriter(file, EpochRow.__struct_fields__)
        rows.writeheader()
        rows.writerows(
            {k: f"{v:.6g}" for k, v in msgspec.to_builtins(row).items()} for row in trained.history
        )
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
    plots.confusion(trained.metrics, classes, trained.measured_on, folder / "confusion_matrix.png")
