"""The int8 variant of a version, made and published."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from serinus.bootstrap import signing
from serinus.bootstrap.process import stop_event
from serinus.bootstrap.settings import Settings
from serinus.bootstrap.wiring import open_store
from serinus.core.errors import InvalidInput, NotFound
from serinus.core.ids import Version
from serinus.core.text import storable
from serinus.data.dataset import Dataset

if TYPE_CHECKING:
    from serinus.training.quantise import Comparison

Move = Callable[[float, float, str], None]
"""Moves a progress bar: done, total, words."""


class Quantised(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it."""

    version: Version | None
    """None: only measured."""
    parent: Version
    dataset: str
    speed: float
    """How many times as fast as its parent."""
    comparison: "Comparison"


def quantise_version(
    settings: Settings,
    version: Version,
    *,
    data: str,
    pairs: int,
    note: str,
    actor: str,
    dry_run: bool,
    progress: Move,
) -> Quantised:
    """Makes the int8 variant of `version`, calibrated on the data set `data`, and publishes it.

    Raises NotFound, InvalidInput, ModelFault, Cancelled; then nothing was published.
    """
    storable(note, "The note")
    try:
        from serinus.training.quantise import quantise
    except ModuleNotFoundError as error:
        raise InvalidInput(
            f"Quantising needs the package {error.name}, which is not installed here.",
            remedy="Install it with: pip install 'serinus[train]'",
        ) from error

    stop = stop_event()
    store = open_store(settings)
    record = store.state().versions.get(version)
    if record is None:
        raise NotFound(f"There is no version {version}.", remedy="`serinus versions list` names them.")
    dataset = Dataset.open(settings.data_dir / "datasets", data)
    sign = signing.sign(settings)
    store.verify(record.digest)
    with tempfile.TemporaryDirectory(prefix="serinus-int8-") as folder:
        variant = quantise(
            store.artifact(record.digest),
            store.manifest(record.digest),
            dataset,
            Path(folder) / "draft",
            parent=record.digest,
            pairs=pairs,
            trial_seconds=settings.trial_seconds,
            trial_memory_mb=settings.trial_memory_mb,
            progress=lambda share, words: progress(share, 1.0, words),
            cancelled=stop.is_set,
        )
        number = None
        if not dry_run:
            words = note or f"int8 of version {version}, calibrated on {dataset.id}"
            number = store.publish(variant.draft, note=words, actor=actor, sign=sign)
    progress(1.0, 1.0, "done")
    return Quantised(
        version=number,
        parent=version,
        dataset=dataset.id,
        speed=round(variant.comparison.speed, 3),
        comparison=variant.comparison,
    )
