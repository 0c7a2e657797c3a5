"""A whole training: a draft directory that is complete, proven and ready to publish, or nothing at all."""

import os
import shutil
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import msgspec

from serinus.artifact.card import write_card
from serinus.artifact.manifest import Contract, Lineage, Manifest
from serinus.core.errors import Conflict, ModelFault
from serinus.core.ids import Digest
from serinus.data.dataset import Dataset, Split
from serinus.training import baseline, export, resumption
from serinus.training.compact import Compact
from serinus.training.examples import write_examples
from serinus.training.provenance import code_sha256, of_dataset
from serinus.training.reporting import report
from serinus.training.trainer import Inputs, Phase, Progress, Trained, Trainer, TrainSpec

TRIAL_SECONDS = 120.0
TRIAL_MEMORY_MB = 2048
_OWED = ("model.onnx", "contract.json", "best.pt", export.GOLDEN)
"""What every trainer must have written."""


def _silent(_: Progress) -> None:
    pass


def _never() -> bool:
    return False


def _enough(_: Path) -> None:
    pass


def train(
    spec: TrainSpec,
    dataset: Dataset,
    out: Path,
    *,
    trainer: Trainer | None = None,
    parent: Digest | None = None,
    progress: Callable[[Progress], None] = _silent,
    cancelled: Callable[[], bool] = _never,
    checkpoints: Path | None = None,
    fresh: bool = False,
    with_baseline: bool = False,
    then: Callable[[Path], object] = _enough,
    trial_seconds: float = TRIAL_SECONDS,
    trial_memory_mb: int = TRIAL_MEMORY_MB,
) -> Path:
    """Trains on `dataset` and gives `out`, a draft that `Store.publish` takes.

    `out` must not exist; its folder must. Everything is made in a temporary sibling that is renamed at the
    very end: after a failure, Ctrl-C or `cancelled()` nothing is left of it. `trainer` None: the built-in
    one. `parent`: manifest digest of the version that `spec.base` is from. `checkpoints`: a folder where a
    training that does not end well leaves what the next equal one goes on from, unless that is `fresh`; None:
    nothing is kept. `with_baseline`: also train on the post picture alone, and say whether six channels beat
    it. `then`: what is to be done with the draft; until that is done the checkpoint stays. The `trial_*`
    limits are those of the sandboxed run of the exported model. Raises what `Trainer.train` and `then`
    raise; ModelFault when the export is not what was trained; Conflict when `out` exists.
    """
    if out.exists():
        raise Conflict(f"{out} exists already.", remedy="Give another place for the draft.")
    with_baseline = with_baseline and spec.inputs is not Inputs.POST
    told = baseline.of_two(progress) if with_baseline else progress
    chosen = Compact() if trainer is None else trainer
    work = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        work.chmod(0o755)
        name = resumption.key(spec, dataset, resumption.edition(chosen)) if checkpoints else ""
        with resumption.kept(checkpoints, name, fresh=fresh) as checkpoint:
            trained = chosen.train(
                spec, dataset, work, progress=told, cancelled=cancelled, checkpoint=checkpoint
            )
            told(Progress(phase=Phase.CHECKING, epochs=spec.epochs))
            contract = _finished(work, chosen.name, trained)
            export.prove(work, contract, seconds=trial_seconds, memory_mb=trial_memory_mb)
            lineage = _lineage(spec, dataset, chosen, parent, trained)
            (work / "lineage.json").write_bytes(msgspec.json.encode(lineage))
            report(work, contract.classes, trained)
            if with_baseline:
                compared = baseline.against_baseline(
                    spec,
                    dataset,
                    work,
                    chosen,
                    split=trained.measured_on,
                    progress=progress,
                    cancelled=cancelled,
                    checkpoint=checkpoint and checkpoint / "baseline",
                )
                (work / baseline.FILE).write_bytes(msgspec.json.encode(compared))
            write_examples(work, contract)
            write_card(work)
            work.rename(out)
            then(out)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return out


def _finished(work: Path, trainer: str, trained: Trained) -> Contract:
    """The contract of what the trainer left. Raises ModelFault where it left less than it owes."""
    lacking = [name for name in _OWED if not (work / name).is_file()]
    if lacking:
        raise ModelFault(
            f"The trainer {trainer!r} did not write {', '.join(lacking)}.", remedy="Tell its makers."
        )
    if not 1 <= trained.best_epoch <= len(trained.history):
        raise ModelFault(
            f"The trainer {trainer!r} kept epoch {trained.best_epoch} of {len(trained.history)}.",
            remedy="Tell its makers.",
        )
    try:
        return msgspec.json.decode((work / "contract.json").read_bytes(), type=Contract)
    except msgspec.MsgspecError as error:
        raise ModelFault(
            f"The contract.json of the trainer {trainer!r} cannot be read: {error}.",
            remedy="Tell its makers.",
        ) from error


def _lineage(
    spec: TrainSpec, dataset: Dataset, chosen: Trainer, parent: Digest | None, trained: Trained
) -> Lineage:
    seen = {pair.sha256_post for split in (Split.TRAIN, Split.VAL) for pair in dataset.pairs(split)}
    if spec.inputs is Inputs.POST:
        seen |= {pair.sha256_post for pair in dataset.post_only(Split.TRAIN)}
    return Lineage(
        trainer=chosen.name,
        config={
            "epochs": spec.epochs,
            "batch": spec.batch,
            "img_size": spec.img_size,
            "seed": spec.seed,
            "size": str(spec.size),
            "inputs": str(spec.inputs),
            "precision": str(spec.precision),
            "patience": spec.patience,
            "tile": spec.tile,
            **({"family": spec.family} if spec.family else {}),
            **of_dataset(dataset),
            "licence": chosen.licence,
            "code_sha256": code_sha256(),
            "threads": spec.threads or len(os.sched_getaffinity(0)),
            "torch": version("torch"),
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
