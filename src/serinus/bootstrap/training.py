"""Trainings, alone or as a job that reports to a folder."""

import logging
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from serinus.bootstrap import edge, signing
from serinus.bootstrap.datasets import At, Move, import_data, reporting, turn_down
from serinus.bootstrap.process import stop_event
from serinus.bootstrap.publication import KEPT, publish
from serinus.bootstrap.settings import Settings
from serinus.bootstrap.trackers import tracking
from serinus.bootstrap.wiring import ensure_base, open_store
from serinus.core.errors import Cancelled, InvalidInput, NotFound
from serinus.core.ids import Digest, Version
from serinus.core.text import storable
from serinus.data.dataset import Dataset, Split, list_datasets
from serinus.jobs.model import TrainOutput
from serinus.jobs.report import JobReporter
from serinus.store import Store

if TYPE_CHECKING:
    from serinus.training.trainer import Progress, TrainSpec

log = logging.getLogger(__name__)

_STALE_SECONDS = 7 * 24 * 3600.0


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What a training is asked for beyond the settings; see `serinus train --help`."""

    seed: int = 0
    base: str = "current"
    size: str = "n"
    inputs: str = "pre-post"
    precision: str = "auto"
    patience: int = 20
    tile: int = 640
    family: str = ""
    baseline: bool = False
    fresh: bool = False
    tensorboard: Path | None = None
    note: str = ""


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """What a training came to."""

    version: Version
    dataset: str
    best_epoch: int
    metrics: dict[str, float]
    baseline: str = ""
    """Whether six channels beat three, in words; empty when nobody asked."""


def train_and_publish(
    settings: Settings,
    wish: Wish,
    *,
    data: str,
    upload: Path | None,
    confirm: bool = False,
    job: Path | None,
    progress: Move,
) -> Published:
    """Train on a data set (or on an upload, imported first) and publish what came out.

    What kills a training leaves a checkpoint in DATA_DIR/checkpoints; an equal training goes on from it.
    Raises InvalidInput, NotFound, ModelFault, Cancelled; then nothing was published. A store that is away at
    the end is waited for; see `publication`.
    """
    # Read when OpenMP is loaded: threads that spin while they wait take the cores from whoever serves.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from serinus.training.discovery import find
    from serinus.training.run import train

    stop = stop_event()
    with reporting(job) as reporter:
        storable(wish.note, "The note")  # before hours of work, not after

        def cancelled() -> bool:
            return stop.is_set() or (reporter is not None and reporter.cancel_requested())

        def importing(at: At) -> None:
            if cancelled():
                raise Cancelled("The training was cancelled; nothing was published.")
            progress(at.fraction, 1.0, at.words)
            if reporter:
                reporter.progress(0.0, f"importing: {at.words}")

        def waiting(words: str) -> None:
            progress(1.0, 1.0, words)
            if reporter:
                reporter.progress(0.99, words)

        trainer = find(settings.trainer)
        store = open_store(settings)
        if upload is not None:
            with turn_down(reporter, upload.name):
                dataset = import_data(settings, upload, confirm=confirm, moved=importing)
        else:
            dataset = _dataset(settings, store, data)
        sign = signing.sign(settings)
        ensure_base(store, settings)
        _keep_golden_apart(store, dataset, post_only=wish.inputs == "post")
        spec = _spec(settings, wish, _base(store, settings, wish.base))
        drafts = _drafts(settings)
        outcome: list[tuple[TrainOutput, Published]] = []
        with (
            tracking(settings, spec, dataset, tensorboard=wish.tensorboard) as trackers,
            tempfile.TemporaryDirectory(dir=drafts) as folder,
        ):

            def moved(at: "Progress") -> None:
                _tell(at, progress, reporter)
                trackers.tell(at)

            def publishing(draft: Path) -> None:
                if cancelled():
                    raise Cancelled("The training was cancelled; nothing was published.")
                done = publish(
                    settings,
                    draft,
                    note=wish.note,
                    actor="training",
                    sign=sign,
                    cancelled=cancelled,
                    tell=waiting,
                )
                outcome.append(_outcome(done.store, done.version, settings.epochs))
                trackers.published(done.store, done.version)

            train(
                spec,
                dataset,
                Path(folder) / "draft",
                trainer=trainer,
                parent=_parent(store, wish.base),
                checkpoints=_swept(settings.data_dir / "checkpoints"),
                fresh=wish.fresh,
                with_baseline=wish.baseline,
                progress=moved,
                cancelled=cancelled,
                then=publishing,
                trial_seconds=settings.trial_seconds,
                trial_memory_mb=settings.trial_memory_mb,
            )
        output, published = outcome[0]
        if reporter:
            reporter.succeed(output)
        return published


def _spec(settings: Settings, wish: Wish, base: Path | None) -> "TrainSpec":
    from serinus.training.trainer import Inputs, Precision, Size, TrainSpec

    return TrainSpec(
        epochs=settings.epochs,
        batch=settings.batch,
        img_size=settings.img_size,
        seed=wish.seed,
        base=base,
        threads=settings.train_threads,
        size=Size(wish.size),
        inputs=Inputs(wish.inputs),
        precision=Precision(wish.precision),
        patience=wish.patience,
        tile=wish.tile,
        family=wish.family,
        note=wish.note,
    )


def _drafts(settings: Settings) -> Path:
    """The folder for models that are not published yet, without what killed trainings left there."""
    return _swept(settings.data_dir / "drafts")


def _swept(folder: Path) -> Path:
    """`folder`, made if need be, without what nobody has touched for a week."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        with suppress(FileNotFoundError):
            if not old.name.startswith(KEPT) and edge.now() - old.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(old, ignore_errors=True)
    return folder


def _tell(at: "Progress", progress: Move, reporter: JobReporter | None) -> None:
    progress(at.fraction, 1.0, at.words)
    if at.row is not None:
        row = at.row
        log.info(
            "epoch %d of %d: loss %.4g, mAP50 %.3f, precision %.3f, recall %.3f",
            *(row.epoch, at.epochs, row.loss, row.map50, row.precision, row.recall),
        )
    elif at.note and not at.epoch:
        log.info("%s", at.note)
    if reporter:
        seen = {"loss": at.loss, "map50": at.map50}
        reporter.progress(
            at.fraction,
            at.words,
            step=at.epoch,
            done=max(0, at.epoch - (at.row is None)),
            steps=at.epochs,
            metrics={name: value for name, value in seen.items() if value is not None},
            eta_seconds=at.eta_seconds,
        )


def _outcome(store: Store, version: Version, epochs: int) -> tuple[TrainOutput, Published]:
    """What the training came to: for the job's record, and for the command's reply."""
    from serinus.training.baseline import FILE, Baseline
    from serinus.training.reporting import Summary

    digest = store.state().versions[version].digest
    artifact, manifest = store.artifact(digest), store.manifest(digest)
    summary = msgspec.json.decode((artifact / "training" / "summary.json").read_bytes(), type=Summary)
    compared = ""
    if FILE in manifest.files:
        compared = msgspec.json.decode((artifact / FILE).read_bytes(), type=Baseline).words
    output = TrainOutput(
        version=version,
        epochs_completed=summary.epochs,
        total_epochs=epochs,
        final_metrics=summary.final,
        best_metrics=summary.best,
        model_info={
            "trainer": manifest.lineage.trainer,
            "version": version,
            "sha256": digest,
            "best_epoch": summary.best_epoch,
            "measured_on": summary.measured_on,
        },
        training_config={"dataset": manifest.lineage.dataset},
        baseline=compared,
        model_path=str(artifact / "best.pt"),
        published_path=str(artifact),
    )
    published = Published(
        version=version,
        dataset=manifest.lineage.dataset,
        best_epoch=summary.best_epoch,
        metrics=manifest.metrics,
        baseline=compared,
    )
    return output, published


def _keep_golden_apart(store: Store, dataset: Dataset, *, post_only: bool) -> None:
    """Refuses before the training what verification would refuse after it."""
    seen = {pair.sha256_post for split in (Split.TRAIN, Split.VAL) for pair in dataset.pairs(split)}
    if post_only:
        seen |= {pair.sha256_post for pair in dataset.post_only(Split.TRAIN)}
    for golden in store.golden_sets():
        known = sum(pair.sha256 in seen for pair in golden.pairs)
        if known:
            raise InvalidInput(
                f"{known} pictures of the golden set {golden.name!r} are in the train and val splits of "
                f"{dataset.id}; a model that learned them is refused.",
                remedy="Train on another data set, or make the golden set of the test split: "
                f"`serinus golden add {golden.name} --data {dataset.id} --split test`.",
            )


def _dataset(settings: Settings, store: Store, name: str) -> Dataset:
    """`newest` is the newest that is no golden set: a version trained on one would be refused."""
    folder = settings.data_dir / "datasets"
    if name != "newest":
        return Dataset.open(folder, name)
    golden = {one.dataset for one in store.golden_sets()}
    found = [dataset for dataset in list_datasets(folder) if dataset.id not in golden]
    if not found:
        raise NotFound(
            "There is no data set to train on.", remedy="`serinus data import FILE.zip` makes one."
        )
    return found[-1]


def _chosen(store: Store, base: str) -> Version | None:
    """The version that `base` means; None for `none`."""
    state = store.state()
    if base == "none":
        return None
    if base == "current":
        return state.current
    if not base.isdecimal() or Version(int(base)) not in state.versions:
        raise InvalidInput(
            f"--base {base!r} is no version.",
            remedy="Say `current`, `none`, or a number of `serinus versions list`.",
        )
    return Version(int(base))


def _parent(store: Store, base: str) -> Digest | None:
    version = _chosen(store, base)
    return None if version is None else store.state().versions[version].digest


def _base(store: Store, settings: Settings, base: str) -> Path | None:
    """The directory or file with the weights to start from."""
    version = _chosen(store, base)
    weights = settings.base_weights
    first = base == "current" and store.state().rollouts == 0
    if first and weights is not None and weights.suffix == ".pt":
        return weights
    if version is None:
        return None
    artifact = store.artifact(store.state().versions[version].digest)
    if not (artifact / "best.pt").exists():
        raise InvalidInput(
            f"Version {version} has no best.pt to start from.",
            remedy="Train with --base none, or from another one.",
        )
    return artifact
