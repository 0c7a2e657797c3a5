"""Golden sets: a few pairs kept apart from training, against which candidates are judged.

A directory with `golden.json` and PNG files named by their hashes.
"""

from pathlib import Path

import msgspec

from serinus.core.errors import InvalidInput
from serinus.data.dataset import Dataset, Split

GOLDEN = "golden.json"


class GoldenEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One pair in `golden.json`."""

    key: str
    sha256: str
    """Of the post file, as in `Pair.sha256_post`."""
    sha256_pre: str
    pre: str
    """File name in the directory."""
    post: str
    boxes: tuple[tuple[float, float, float, float], ...]
    """x1, y1, x2, y2 in pixels."""
    classes: tuple[int, ...]


class GoldenIndex(msgspec.Struct, frozen=True, kw_only=True):
    """`golden.json`; whoever keeps the set may add fields such as its name."""

    dataset: str
    """Id of the data set that it was taken from."""
    pairs: tuple[GoldenEntry, ...]


def export_golden(
    dataset: Dataset, out_dir: Path, *, split: str | None = Split.TEST, limit: int | None = None
) -> GoldenIndex:
    """Writes the pairs of `split` (None: all), at most `limit`, as a golden set into the folder `out_dir`.

    Raises InvalidInput when there is no pair, or when `out_dir` exists with something in it.
    """
    pairs = dataset.pairs(split)[:limit]
    if not pairs:
        raise InvalidInput(
            f"{dataset.id} has no pairs in the split {split!r}.", remedy="Choose another split."
        )
    if out_dir.exists() and any(out_dir.iterdir()):
        raise InvalidInput(f"{out_dir} is not empty.", remedy="Choose a new folder.")
    out_dir.mkdir(parents=True, exist_ok=True)
    entries = []
    for pair in pairs:
        for stored in (pair.pre, pair.post):
            _write(out_dir / Path(stored).name, (dataset.path / stored).read_bytes())
        entries.append(
            GoldenEntry(
                key=pair.key,
                sha256=pair.sha256_post,
                sha256_pre=pair.sha256_pre,
                pre=Path(pair.pre).name,
                post=Path(pair.post).name,
                boxes=pair.boxes,
                classes=pair.classes,
            )
        )
    index = GoldenIndex(dataset=dataset.id, pairs=tuple(entries))
    _write(out_dir / GOLDEN, msgspec.json.format(msgspec.json.encode(index), indent=1))
    return index


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
