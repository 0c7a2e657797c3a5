"""What a member of an archive is, by its name alone."""

import hashlib
import re
from enum import StrEnum
from typing import NamedTuple

from serinus.data.dataset import Split

_NAME = re.compile(
    r"(?P<disaster>[^/]{1,100})_(?P<tile>\d{1,12})_(?P<when>pre|post)_disaster\.(?P<suffix>png|jpe?g|tiff?|webp|json)",
    re.IGNORECASE,
)
_SYSTEM = {"__macosx", ".ds_store", "thumbs.db", "desktop.ini"}
_FOLDERS = {
    "test": Split.TEST,
    "hold": Split.TEST,
    "val": Split.VAL,
    "valid": Split.VAL,
    "validation": Split.VAL,
    "train": None,
    "tier3": None,
}
"""Folders that say what a pair is for, the innermost one: somebody's archive may lie in a folder `test`.
`train` and `tier3` say only that it may be trained on.
"""


class When(StrEnum):
    PRE = "pre"
    POST = "post"


class Kind(StrEnum):
    IMAGE = "image"
    LABEL = "label"


class Ignored(StrEnum):
    SYSTEM = "system"
    TARGETS = "targets"
    OTHER = "other"


class Part(NamedTuple):
    """A picture or a label file of a pair."""

    key: str
    """`<disaster>_<tile>`, lower case."""
    disaster: str
    when: When
    kind: Kind
    suffix: str
    split: Split | None
    """What its folder asks for."""
    mixed_case: bool


def classify(name: str) -> Part | Ignored:
    """`name`: a member's name with / between folders."""
    *folders, base = name.split("/")
    lower = [folder.lower() for folder in folders]
    if base.startswith("._") or base.lower() in _SYSTEM or _SYSTEM.intersection(lower):
        return Ignored.SYSTEM
    if "targets" in lower:
        return Ignored.TARGETS
    match = _NAME.fullmatch(base)
    if match is None:
        return Ignored.OTHER
    suffix = match["suffix"].lower()
    disaster = match["disaster"].lower()
    return Part(
        key=f"{disaster}_{match['tile']}",
        disaster=disaster,
        when=When(match["when"].lower()),
        kind=Kind.LABEL if suffix == "json" else Kind.IMAGE,
        suffix=suffix,
        split=next((_FOLDERS[folder] for folder in reversed(lower) if folder in _FOLDERS), None),
        mixed_case=base != base.lower(),
    )


def split_of(key: str, seed: int) -> Split:
    """70 / 15 / 15 by hash: sha256(seed|key) mod 100. A tile's split never depends on the other tiles."""
    place = int(hashlib.sha256(f"{seed}|{key}".encode()).hexdigest(), 16) % 100
    if place < 70:
        return Split.TRAIN
    return Split.VAL if place < 85 else Split.TEST
