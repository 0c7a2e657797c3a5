"""The pairs of a data set in the making: on disk as they come, so that memory does not grow with them."""

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec
import numpy as np

from serinus.data.dataset import Manifest, Pair, Split, content_hash
from serinus.data.xbd import CLASSES

SIDES = (8, 16, 32, 64, 128)
"""Bounds between the bands of buildings' sizes: pixels, square root of the box's area."""
BANDS = (f"< {SIDES[0]}", *(f"{low}-{high}" for low, high in pairwise(SIDES)), f">= {SIDES[-1]}")


class Tally:
    """What the report says of the pairs, counted one by one."""

    def __init__(self) -> None:
        self.pairs = 0
        self.splits = dict.fromkeys(map(str, Split), 0)
        self.per_disaster: dict[str, dict[str, int]] = {}
        self._sizes = np.zeros(len(BANDS), np.int64)

    def add(self, pair: Pair) -> None:
        self.pairs += 1
        self.splits[pair.split] += 1
        fresh = {"pairs": 0, **dict.fromkeys(map(str, CLASSES), 0)}
        counts = self.per_disaster.setdefault(pair.disaster, fresh)
        counts["pairs"] += 1
        for number, count in Counter(pair.classes).items():
            counts[CLASSES[number]] += count
        boxes = np.asarray(pair.boxes, np.float64).reshape(-1, 4)
        sides = np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(1))
        self._sizes += np.bincount(np.digitize(sides, SIDES), minlength=len(BANDS))

    @property
    def per_class(self) -> dict[str, int]:
        return {
            name: sum(counts[name] for counts in self.per_disaster.values()) for name in map(str, CLASSES)
        }

    @property
    def per_size(self) -> dict[str, int]:
        return dict(zip(BANDS, self._sizes.tolist(), strict=True))


class _Spool:
    """Pairs as lines of JSON."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w+b")
        path.unlink()  # the open file is enough, and gone with the process
        self.tally = Tally()

    def add(self, pair: Pair) -> None:
        self._file.write(msgspec.json.encode(pair) + b"\n")
        self.tally.add(pair)

    def joined(self) -> Iterator[bytes]:
        """The elements of a JSON array, piece by piece."""
        self._file.seek(0)
        for number, line in enumerate(self._file):
            yield (b"," if number else b"") + line[:-1]


class First(NamedTuple):
    """The first pair that shows a picture."""

    key: str
    split: Split


class Draft:
    """Pairs, and pairs without a pre picture, in the order in which they were added."""

    def __init__(self, work: Path) -> None:
        self._pairs, self._post_only = _Spool(work / "pairs"), _Spool(work / "post_only")
        self.pictures: set[str] = set()
        """Hashes of the pictures that are used."""
        self._first: dict[str, First] = {}
        """Post picture -> the first pair that shows it."""

    @property
    def tally(self) -> Tally:
        """Of the pairs with both pictures."""
        return self._pairs.tally

    @property
    def post_only(self) -> int:
        """Pairs without a pre picture."""
        return self._post_only.tally.pairs

    def add(self, pair: Pair, *, fixed: bool) -> First | None:
        """Gives the first pair that shows the same post picture, if another one does.

        Both get one split, or a model would be tested on what it has learned; unless the split of `pair` is
        `fixed`: somebody asked for it.
        """
        this = First(pair.key, pair.split)
        first = self._first.setdefault(pair.sha256_post, this)
        if not fixed and pair.split is not first.split:
            pair = msgspec.structs.replace(pair, split=first.split)
        (self._pairs if pair.pre else self._post_only).add(pair)
        self.pictures.update(filter(None, (pair.sha256_pre, pair.sha256_post)))
        return None if first is this else first

    def sha256(self) -> str:
        """Content hash: of what makes a data set this data set, and not another."""
        spools = (self._pairs, self._post_only) if self.post_only else (self._pairs,)
        return content_hash([str(subtype) for subtype in CLASSES], *(spool.joined() for spool in spools))

    def write(self, file: BinaryIO, manifest: Manifest) -> None:
        """Writes `manifest`, which has no pairs, with these."""
        head, pairs, rest = msgspec.json.encode(manifest).partition(b'"pairs":[')
        middle, post_only, tail = rest.partition(b'"post_only":[')
        for words, spool in ((head + pairs, self._pairs), (middle + post_only, self._post_only)):
            file.write(words)
            file.writelines(spool.joined())
        file.write(tail)
