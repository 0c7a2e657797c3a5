"""Looks into data sets for people: heads, and pages of pairs.

Imports no array or picture code, so that servers may look. A manifest names every pair, and there may be
many: what is not shown is skipped, not decoded.
"""

from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import msgspec

from serinus.core.errors import Corrupt

MANIFEST = "manifest.json"


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """Where a data set comes from."""

    source: str = ""
    """Name of the archive."""
    source_sha256: str = ""
    seed: int = 0
    parent: str = ""
    """The data set whose pairs these are, in other splits."""
    left_out: str = ""
    """The disaster that is kept for testing."""


class BrowsedPair(msgspec.Struct, frozen=True, kw_only=True):
    """One pair, as it is shown."""

    key: str
    disaster: str
    split: str
    sha256_pre: str
    """Names the picture: `images/<sha256>.png`."""
    sha256_post: str
    width: int
    """Pixels."""
    height: int
    boxes: tuple[tuple[float, float, float, float], ...]
    """x1, y1, x2, y2 in pixels of the picture."""
    classes: tuple[int, ...]
    """Class id per box."""


class Wanted(NamedTuple):
    """Which pairs are asked for; what is empty does not matter."""

    split: str = ""
    disaster: str = ""
    label: int | None = None
    """Only pairs with a building of this class."""


class Page(NamedTuple):
    pairs: tuple[BrowsedPair, ...]
    total: int
    """All that are as wanted."""


class _Raw(msgspec.Struct, frozen=True, kw_only=True):
    pairs: tuple[msgspec.Raw, ...] = ()


class _Sorted(msgspec.Struct, frozen=True, kw_only=True):
    split: str
    disaster: str
    classes: tuple[int, ...]


def head_of(dataset: Path) -> Head:
    """The head of the data set in this folder. Raises Corrupt."""
    path = dataset / MANIFEST
    try:
        return _head(path, path.stat().st_mtime_ns)
    except (OSError, msgspec.MsgspecError) as error:
        raise _unreadable(path, error) from error


@lru_cache(maxsize=256)
def _head(path: Path, _changed: int) -> Head:
    return msgspec.json.decode(path.read_bytes(), type=Head)


def by_archive(datasets_dir: Path) -> dict[str, str]:
    """sha256 of an archive -> the newest data set that was made of it. What cannot be read is left out."""
    manifests = sorted(datasets_dir.glob(f"ds-*/{MANIFEST}"), key=lambda path: path.stat().st_mtime)
    found = {}
    for manifest in manifests:
        with suppress(Corrupt):
            head = head_of(manifest.parent)
            if head.source_sha256 and not head.parent:
                found[head.source_sha256] = manifest.parent.name
    return found


def pairs_of(dataset: Path, wanted: Wanted, offset: int, most: int) -> Page:
    """At most `most` pairs from the `offset`-th on, in the order of their keys. Raises Corrupt."""
    path = dataset / MANIFEST
    try:
        found = [raw for raw in msgspec.json.decode(path.read_bytes(), type=_Raw).pairs if _is(raw, wanted)]
        shown = tuple(msgspec.json.decode(raw, type=BrowsedPair) for raw in found[offset : offset + most])
    except (OSError, msgspec.MsgspecError) as error:
        raise _unreadable(path, error) from error
    return Page(shown, len(found))


def _is(raw: msgspec.Raw, wanted: Wanted) -> bool:
    if wanted == Wanted():
        return True
    pair = msgspec.json.decode(raw, type=_Sorted)
    return (
        wanted.split in ("", pair.split)
        and wanted.disaster in ("", pair.disaster)
        and (wanted.label is None or wanted.label in pair.classes)
    )


def _unreadable(path: Path, error: Exception) -> Corrupt:
    return Corrupt(f"{path} cannot be read: {error}.", remedy="Import the archive again.")
