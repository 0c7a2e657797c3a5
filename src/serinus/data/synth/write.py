"""Writes synthetic tiles as an archive with the layout of xBD."""

import io
import os
import zipfile
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path

import msgspec

from serinus.core.errors import InvalidInput
from serinus.data.synth.plan import plan_tile
from serinus.data.synth.scenery import Disaster, known_disaster, stream
from serinus.data.synth.tile import synth_tile
from serinus.data.xbd import Subtype
from serinus.imagery.decode import encode_png

EPOCH = (1980, 1, 1, 0, 0, 0)
"""Date of every member: equal seeds give equal bytes."""


class Labels(StrEnum):
    TRUE = "true"
    SHUFFLED = "shuffled"
    """Subtypes permuted across the set: boxes stay right, damage means nothing."""


class SynthSet(msgspec.Struct, frozen=True, kw_only=True):
    """Tiles `first` to `first + pairs - 1` of one disaster."""

    disaster: Disaster
    pairs: int
    size: int = 256
    """Pixels a side."""
    seed: int = 0
    labels: Labels = Labels.TRUE
    first: int = 0
    """Sets of one seed that must not share a tile start at different numbers."""
    folder: str = "train"
    """Top folder: `train` is split on import, `test` and `hold` are kept out of training."""


def write_zip(  # noqa: PLR0917 - the order the rooms agreed on
    path: Path,
    disaster: str,
    pairs: int,
    size: int = 256,
    seed: int = 0,
    labels: str = Labels.TRUE,
    progress: Callable[[int, int], object] | None = None,
    *,
    first: int = 0,
) -> None:
    """One disaster as xBD-like zip at `path`. `progress` is called with (pairs done, pairs wanted).

    Raises InvalidInput for an unknown disaster or kind of labels, or numbers out of range.
    """
    try:
        wanted = SynthSet(
            disaster=known_disaster(disaster),
            pairs=pairs,
            size=size,
            seed=seed,
            labels=Labels(labels),
            first=first,
        )
    except ValueError as error:
        raise InvalidInput(f"{error}.", remedy=f"Labels: {', '.join(Labels)}.") from error
    write_sets(path, [wanted], progress)


def write_sets(
    path: Path, sets: Sequence[SynthSet], progress: Callable[[int, int], object] | None = None
) -> None:
    """Several sets in one archive, for instance two disasters. Equal sets give equal bytes.

    Written beside `path` and renamed, so that a broken run leaves no half archive.
    """
    for wanted in sets:
        _check(wanted)
    total, done = sum(wanted.pairs for wanted in sets), 0
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            with zipfile.ZipFile(file, "w") as archive:
                for wanted in sets:
                    written = _written_subtypes(wanted)
                    for number in range(wanted.pairs):
                        _add_tile(archive, wanted, wanted.first + number, written[number])
                        done += 1
                        if progress:
                            progress(done, total)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def zip_bytes(sets: Sequence[SynthSet]) -> bytes:
    """A small archive in memory: for uploads."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for wanted in sets:
            _check(wanted)
            written = _written_subtypes(wanted)
            for number in range(wanted.pairs):
                _add_tile(archive, wanted, wanted.first + number, written[number])
    return buffer.getvalue()


def _check(wanted: SynthSet) -> None:
    if not (1 <= wanted.pairs <= 100_000 and wanted.first >= 0):
        raise InvalidInput(f"{wanted.pairs} pairs from tile {wanted.first} cannot be made.")
    if not 128 <= wanted.size <= 4096:
        raise InvalidInput(f"A tile of {wanted.size} pixels cannot be made.", remedy="Use 128 to 4096.")


def _written_subtypes(wanted: SynthSet) -> list[tuple[Subtype, ...] | None]:
    """Per tile what the post label says; None for the truth. Needs the plans only, no pictures."""
    if wanted.labels is Labels.TRUE:
        return [None] * wanted.pairs
    true = [
        [
            building.damage
            for building in plan_tile(
                wanted.seed, wanted.disaster, wanted.first + number, wanted.size
            ).buildings
        ]
        for number in range(wanted.pairs)
    ]
    pool = [damage for tile in true for damage in tile]
    order = stream(wanted.seed, wanted.disaster, wanted.first, "shuffle").permutation(len(pool))
    mixed = iter([pool[index] for index in order])
    return [tuple(next(mixed) for _ in tile) for tile in true]


def _add_tile(
    archive: zipfile.ZipFile, wanted: SynthSet, number: int, subtypes: tuple[Subtype, ...] | None
) -> None:
    tile = synth_tile(wanted.seed, wanted.disaster, number, wanted.size, subtypes=subtypes)
    for when, image, label in (("pre", tile.pre, tile.pre_label), ("post", tile.post, tile.post_label)):
        name = f"{tile.stem}_{when}_disaster"
        picture = zipfile.ZipInfo(f"{wanted.folder}/images/{name}.png", EPOCH)
        archive.writestr(picture, encode_png(image), zipfile.ZIP_STORED)
        text = zipfile.ZipInfo(f"{wanted.folder}/labels/{name}.json", EPOCH)
        archive.writestr(text, label, zipfile.ZIP_DEFLATED, 6)
