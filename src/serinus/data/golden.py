"""Golden sets: a few pairs kept apart from training, against which candidates are judged.

A directory with `golden.json` and PNG files named by their hashes.
"""

from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from serinus.core.errors import Corrupt, InvalidInput
from serinus.data.dataset import Dataset, Split, load_image

GOLDEN = "golden.json"
MAX_PIXELS = 100_000_000
"""Of a stored picture; what an import lets through is less."""


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


@dataclass(frozen=True, kw_only=True)
class GoldenPair:
    """One pair in memory."""

    key: str
    sha256: str
    pre: NDArray[np.uint8]
    """RGB [H, W, 3]."""
    post: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    """[M, 4]: x1, y1, x2, y2 in pixels."""
    classes: NDArray[np.int64]
    """[M]"""


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


def read_index(path: Path) -> GoldenIndex:
    """`golden.json` of the golden set in the folder `path`. Raises Corrupt."""
    try:
        return msgspec.json.decode((path / GOLDEN).read_bytes(), type=GoldenIndex)
    except (msgspec.MsgspecError, OSError) as error:
        raise Corrupt(f"{path / GOLDEN} cannot be read: {error}.") from error


def load_golden(path: Path) -> list[GoldenPair]:
    """All pairs of the golden set in the folder `path`. Raises Corrupt for a file that its hash denies."""
    pairs = []
    for entry in read_index(path).pairs:
        if any(Path(name).name != name for name in (entry.pre, entry.post)):
            raise Corrupt(f"{path / GOLDEN} names a file outside its folder.")
        pairs.append(
            GoldenPair(
                key=entry.key,
                sha256=entry.sha256,
                pre=load_image(path / entry.pre, entry.sha256_pre, MAX_PIXELS),
                post=load_image(path / entry.post, entry.sha256, MAX_PIXELS),
                boxes=np.asarray(entry.boxes, np.float32).reshape(-1, 4),
                classes=np.asarray(entry.classes, np.int64),
            )
        )
    return pairs


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
