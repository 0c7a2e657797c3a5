"""The demo data: synthetic pairs of two disasters as a data set, alone or as a job."""

import tempfile
from pathlib import Path

from serinus.bootstrap.datasets import At, Move, import_data, page_of, reporting
from serinus.bootstrap.process import stop_event
from serinus.bootstrap.settings import Settings
from serinus.core.errors import Cancelled
from serinus.data.dataset import Dataset
from serinus.jobs.model import PrepareOutput

NAME = "demo data"
_SIZE = 256
"""Pixels a side: what the packaged base model was trained on, too."""
_HURRICANE = 0.6
"""Share of the pairs; the others show the wildfire, which the base model has never seen."""
_DRAWN = 0.5
"""Share of the work that is done when the pictures are drawn."""


def load(settings: Settings, *, pairs: int, seed: int, job: Path | None, progress: Move) -> Dataset:
    """Draws `pairs` pairs and imports them; equal numbers give the data set that is there already.

    Raises InvalidInput for numbers out of range, Cancelled.
    """
    from serinus.data.synth import Disaster, SynthSet, write_sets

    stop = stop_event()
    with reporting(job) as reporter:

        def moved(at: At) -> None:
            if stop.is_set() or (reporter and reporter.cancel_requested()):
                raise Cancelled("The demo data was cancelled; nothing half-done was kept.")
            progress(at.fraction, 1.0, at.words)
            if reporter:
                reporter.progress(0.98 * at.fraction, at.words, step=at.pairs, steps=at.of)

        def drawn(done: int, total: int) -> None:
            moved(At(_DRAWN * done / total, f"drawing pair {done} of {total}", done, total))

        def importing(at: At) -> None:
            moved(at._replace(fraction=_DRAWN + (1 - _DRAWN) * at.fraction))

        hurricane = round(pairs * _HURRICANE)
        sets = [
            SynthSet(disaster=Disaster.HURRICANE, pairs=hurricane, size=_SIZE, seed=seed),
            SynthSet(disaster=Disaster.WILDFIRE, pairs=pairs - hurricane, size=_SIZE, seed=seed),
        ]
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=settings.data_dir, prefix=".demo-") as folder:
            archive = Path(folder) / "demo.zip"
            write_sets(archive, sets, drawn)
            dataset = import_data(settings, archive, name=NAME, confirm=False, moved=importing)
        moved(At(1.0, "drawing the report"))
        page_of(dataset)
        if reporter:
            report = dataset.report
            reporter.succeed(
                PrepareOutput(
                    dataset=dataset.id,
                    splits=report.splits,
                    total_images=2 * report.pairs_usable,
                    total_polygons=sum(report.per_class.values()),
                    pairs_found=report.pairs_found,
                    pairs_usable=report.pairs_usable,
                )
            )
        return dataset
