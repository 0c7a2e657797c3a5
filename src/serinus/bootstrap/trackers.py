"""Where else a training is told of: MLflow when MLFLOW_TRACKING_URI is set, TensorBoard when asked for."""

import importlib.util
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from serinus.bootstrap import edge
from serinus.bootstrap.settings import Settings
from serinus.core.errors import Cancelled
from serinus.core.ids import Version
from serinus.data.dataset import Dataset
from serinus.store import Store

if TYPE_CHECKING:
    from serinus.tracking.run import TrackedRun
    from serinus.training.event_files import EventFiles
    from serinus.training.trainer import Progress, TrainSpec

log = logging.getLogger(__name__)

_EXPERIMENT = "serinus"
_FILES = ("MODEL_CARD.md", "training/results.csv", "training/loss.png", "training/confusion_matrix.png")
_UNTOLD = ("base", "note")
_ARTIFACTS = "mlruns"
"""Folder in DATA_DIR."""


class Trackers:
    """Those of one training."""

    def __init__(self, run: "TrackedRun | None", events: "EventFiles | None") -> None:
        self._run = run
        self._events = events

    def tell(self, at: "Progress") -> None:
        """Passes on the row of an epoch that has ended."""
        if at.row is None:
            return
        from serinus.training.reporting import flat

        if self._run is not None:
            self._run.row(
                at.row.epoch, {name: value for name, value in flat(at.row).items() if name != "epoch"}
            )
        if self._events is not None:
            self._events.row(at.row)

    def published(self, store: Store, version: Version) -> None:
        """Tells which version came of it."""
        if self._run is None:
            return
        digest = store.state().versions[version].digest
        artifact = store.artifact(digest)
        files = [artifact / name for name in _FILES if (artifact / name).is_file()]
        self._run.published(version, digest, store.manifest(digest).metrics, files)


@contextmanager
def tracking(
    settings: Settings, spec: "TrainSpec", dataset: Dataset, *, tensorboard: Path | None
) -> Iterator[Trackers]:
    """For one training; how the block ends is how the run ends. `tensorboard`: folder for event files.

    Raises InvalidInput when event files are asked for and cannot be written, or the address is none.
    """
    events = None
    if tensorboard is not None:
        from serinus.training.event_files import EventFiles

        events = EventFiles(tensorboard)
    run = _run(settings, spec, dataset)
    try:
        yield Trackers(run, events)
    except BaseException as error:
        _end(run, "KILLED" if isinstance(error, (Cancelled, KeyboardInterrupt)) else "FAILED")
        raise
    finally:
        if events is not None:
            events.close()
    _end(run, "FINISHED")


def _run(settings: Settings, spec: "TrainSpec", dataset: Dataset) -> "TrackedRun | None":
    if settings.mlflow_tracking_uri is None:
        return None
    if importlib.util.find_spec("mlflow") is None:
        log.warning("MLFLOW_TRACKING_URI is set, but mlflow is not installed: install serinus[mlflow].")
        return None
    from serinus.tracking.registry import MANNERS, PATIENCE
    from serinus.tracking.run import TrackedRun

    os.environ.update(MANNERS)  # before mlflow is imported
    for variable, value in PATIENCE.items():
        os.environ.setdefault(variable, value)
    params = {name: value for name, value in msgspec.structs.asdict(spec).items() if name not in _UNTOLD}
    params |= {"trainer": settings.trainer, "dataset": dataset.id, "dataset_sha256": dataset.manifest.sha256}
    params["base"] = "none" if spec.base is None else spec.base.name
    return TrackedRun(
        settings.mlflow_tracking_uri.get_secret_value(),
        _EXPERIMENT,
        f"{settings.trainer} on {dataset.id}",
        params,
        artifacts=settings.data_dir / _ARTIFACTS,
        clock=edge.now,
    )


def _end(run: "TrackedRun | None", status: str) -> None:
    if run is not None:
        from serinus.tracking.run import RunStatus

        run.end(RunStatus(status))
