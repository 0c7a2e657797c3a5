"""The demo data: synthetic pairs of two disasters as a data set, alone or as a job."""

import tempfile
from pathlib import Path

from serinus.bootstrap.datasets import At, Move, finish, import_data, moving, reporting
from serinus.bootstrap.process import stop_event
from serinus.bootstrap.settings import Settings
from serinus.data.dataset import Dataset

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
        moved = moving(progress, stop, reporter, "The demo data")

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
        finish(dataset, moved, reporter)
        return dataset
