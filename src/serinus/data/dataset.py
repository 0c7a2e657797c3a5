"""A data set version: immutable, named by its content.

`<datasets>/<id>/` holds `manifest.json`, `report.json`, `issues.csv` and `images/<sha256>.png`.
"""

import hashlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from serinus.core.errors import Corrupt, NotFound
from serinus.data.report import Report
from serinus.data.xbd import CLASSES
from serinus.imagery.decode import decode

log = logging.getLogger(__name__)

T = TypeVar("T")
MANIFEST = "manifest.json"
REPORT = "report.json"
ISSUES = "issues.csv"
PAGE = "report.html"
IMAGES = "images"


class Split(StrEnum):
    TRAIN = "train"
    VAL = "val"
    TEST = "test"


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """One sample: the pictures before and after, and the buildings on them."""

    key: str
    """`<disaster>_<tile>`, lower case."""
    disaster: str
    split: Split
    pre: str
    """Path below the data set's directory."""
    post: str
    sha256_pre: str
    """Of the stored PNG. Pictures are stored in one way, so equal pixels have equal hashes."""
    sha256_post: str
    width: int
    """Pixels."""
    height: int
    boxes: tuple[tuple[float, float, float, float], ...]
    """x1, y1, x2, y2 in pixels of the picture."""
    classes: tuple[int, ...]
    """Class id per box."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    schema: int = 1
    id: str
    sha256: str
    """Content hash: of pairs and classes, not of when and from what they came."""
    created: float
    """Seconds since 1970-01-01 UTC."""
    source: str
    """Name of the archive."""
    source_sha256: str
    seed: int
    classes: tuple[str, ...] = tuple(str(subtype) for subtype in CLASSES)
    pairs: tuple[Pair, ...]
    post_only: tuple[Pair, ...] = ()
    """Pairs without a pre picture (`pre` and `sha256_pre` are empty): of no use to a 6-channel model."""
    fixed: tuple[str, ...] = ()
    """Keys whose split the archive's folders ask for; other splits of the same pairs honour it."""
    recipe: str = ""
    """Hash of the rules, limits and seed by which the archive was converted."""
    parent: str = ""
    """Data set whose pairs these are, in other splits; empty: made of an archive."""
    left_out: str = ""
    """The disaster that is kept for testing; empty: none."""


def dataset_id(content: str) -> str:
    """The name of the version with this content hash."""
    return f"ds-{content[:12]}"


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """A manifest without its pairs, which may be many."""

    sha256: str
    created: float = 0.0
    source: str
    source_sha256: str = ""
    seed: int
    classes: tuple[str, ...] = tuple(str(subtype) for subtype in CLASSES)
    fixed: tuple[str, ...] = ()
    recipe: str = ""
    parent: str = ""
    left_out: str = ""


class _Raw(msgspec.Struct, frozen=True, kw_only=True):
    classes: tuple[str, ...] = tuple(str(subtype) for subtype in CLASSES)
    pairs: tuple[msgspec.Raw, ...]
    post_only: tuple[msgspec.Raw, ...] = ()


def content_hash(classes: Sequence[str], *lists: Iterable[bytes]) -> str:
    """sha256 of what makes a data set this data set, and not another.

    `lists`: the pairs, and, only where there are some, those without a pre picture; each as the elements of a
    JSON array, with their commas, piece by piece.
    """
    whole = hashlib.sha256(b"[" + msgspec.json.encode(classes))
    for pieces in lists:
        whole.update(b",[")
        for piece in pieces:
            whole.update(piece)
        whole.update(b"]")
    whole.update(b"]")
    return whole.hexdigest()


@dataclass(frozen=True)
class Dataset:
    """A data set in its folder. Its manifest is read when it is first asked for, unless it is given."""

    path: Path
    given: Manifest | None = None
    data: bytes | None = None
    """Bytes of the manifest, for whoever must not see another one at a second look; None: read each time."""

    @classmethod
    def open(cls, datasets_dir: Path, dataset_id: str) -> "Dataset":
        """Raises NotFound for an unknown id and Corrupt for a manifest that cannot be read."""
        path = datasets_dir / dataset_id
        # An id comes from the outside: only a plain name may become a path.
        if Path(dataset_id).name != dataset_id or not (path / MANIFEST).is_file():
            raise NotFound(f"There is no data set {dataset_id!r}.", remedy="See `serinus data list`.")
        found = cls(path)
        _ = found.head
        return found

    @cached_property
    def manifest(self) -> Manifest:
        """Raises Corrupt when it cannot be read."""
        return self._read(Manifest) if self.given is None else self.given

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def head(self) -> Head:
        """Raises Corrupt when it cannot be read."""
        return (
            self._read(Head)
            if self.given is None
            else msgspec.convert(self.given, Head, from_attributes=True)
        )

    def each_pair(self) -> Iterator[Pair]:
        """The pairs one by one, in the order of their keys; no two are in memory. Raises Corrupt."""
        if self.given is not None:
            yield from self.given.pairs
            return
        for raw in self._read(_Raw).pairs:
            yield msgspec.json.decode(raw, type=Pair)

    def each_post_only(self) -> Iterator[Pair]:
        """As `each_pair`, of those without a pre picture."""
        if self.given is not None:
            yield from self.given.post_only
            return
        for raw in self._read(_Raw).post_only:
            yield msgspec.json.decode(raw, type=Pair)

    def content(self) -> str:
        """The content hash, taken again; not the manifest's where it was changed. Raises Corrupt."""
        raw = self._read(_Raw)
        lists = (raw.pairs, raw.post_only) if raw.post_only else (raw.pairs,)
        return content_hash(raw.classes, *map(_joined, lists))

    def _read(self, kind: type[T]) -> T:
        try:
            data = (self.path / MANIFEST).read_bytes() if self.data is None else self.data
            return msgspec.json.decode(data, type=kind)
        except (msgspec.MsgspecError, OSError) as error:
            raise Corrupt(f"{self.path / MANIFEST} cannot be read: {error}.") from error

    @property
    def report(self) -> Report:
        """Raises Corrupt when the report cannot be read."""
        try:
            return msgspec.json.decode((self.path / REPORT).read_bytes(), type=Report)
        except (msgspec.MsgspecError, FileNotFoundError) as error:
            raise Corrupt(f"{self.path / REPORT} cannot be read: {error}.") from error

    @property
    def issues_file(self) -> Path:
        """CSV of all issues."""
        return self.path / ISSUES

    def pairs(self, split: str | None = None) -> tuple[Pair, ...]:
        """The pairs of one split, or all; in the order of their keys."""
        if split is None:
            return self.manifest.pairs
        wanted = Split(split)
        return tuple(pair for pair in self.manifest.pairs if pair.split is wanted)

    def post_only(self, split: str | None = None) -> tuple[Pair, ...]:
        """The pairs without a pre picture, of one split or all: for models that look at post only."""
        found = self.manifest.post_only
        return found if split is None else tuple(pair for pair in found if pair.split is Split(split))


def _joined(elements: Iterable[msgspec.Raw]) -> Iterator[bytes]:
    for number, element in enumerate(elements):
        yield (b"," if number else b"") + bytes(element)


def list_datasets(datasets_dir: Path) -> list[Dataset]:
    """All data sets, the newest last. A damaged one is told of in the log, and passed over."""
    found = []
    for manifest in datasets_dir.glob(f"ds-*/{MANIFEST}"):
        try:
            dataset = Dataset.open(datasets_dir, manifest.parent.name)
            found.append((dataset.head.created, dataset.id, dataset))
        except Corrupt as error:
            log.warning("A data set is passed over: %s", error)
    return [dataset for *_, dataset in sorted(found, key=lambda each: each[:2])]


def load_pair(
    dataset: Dataset, pair: Pair
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float32], NDArray[np.int64]]:
    """pre and post (RGB uint8 [H, W, 3]), boxes (float32 [M, 4]) and classes (int64 [M]).

    A pair without a pre picture has a black one. Raises Corrupt when a picture is missing or not what its
    hash says.
    """
    post = load_image(dataset.path / pair.post, pair.sha256_post, pair.width * pair.height)
    if pair.pre:
        pre = load_image(dataset.path / pair.pre, pair.sha256_pre, pair.width * pair.height)
    else:
        pre = np.zeros_like(post)
    boxes = np.asarray(pair.boxes, np.float32).reshape(-1, 4)
    return pre, post, boxes, np.asarray(pair.classes, np.int64)


def load_image(path: Path, sha256: str, max_pixels: int) -> NDArray[np.uint8]:
    """A stored picture, checked against its hash. Raises Corrupt."""
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise Corrupt(f"{path} is missing.") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise Corrupt(f"{path} is not what its hash says.", remedy="Import the archive again.")
    return decode(data, max_pixels=max_pixels)
