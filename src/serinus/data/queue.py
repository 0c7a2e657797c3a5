"""Pictures for people to label, with what models suggest: a folder in COCO's format or in xBD's layout.

Pictures may be missing, where nobody kept them: the suggestions then stand beside the request's id, and who
has the pictures adds them under the names that are given.
"""

from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

from serinus.core.errors import InvalidInput
from serinus.data.labelled import ending_of, polygon
from serinus.data.xbd import BUILDING, Feature, Features, Label, Properties, Subtype

_SET = "disagreement"


class Source(StrEnum):
    """Who suggests a box."""

    BOTH = "both"
    CURRENT = "current"
    CANARY = "canary"


class Suggestion(msgspec.Struct, frozen=True, kw_only=True):
    """A box that at least one version sees."""

    box: tuple[float, float, float, float]
    """x1, y1, x2, y2 in pixels."""
    label: int
    """Class id."""
    score: float
    source: Source
    partner: int | None = None
    """Place of the other version's box of the same building, where they name different classes."""


class Queued(msgspec.Struct, frozen=True, kw_only=True):
    """One picture to be labelled."""

    name: str
    """The request's id."""
    width: int
    height: int
    suggestions: tuple[Suggestion, ...]
    pre: bytes | None = None
    """As it was sent; None where it was not kept."""
    post: bytes | None = None


def write_coco(folder: Path, queued: Iterable[Queued], classes: tuple[str, ...]) -> int:
    """Writes `coco.json` and `images/`; gives how many pictures.

    Each annotation has a `score` and `attributes.source`: both, current or canary. A building to which the
    versions give different classes has one annotation of each. Raises InvalidInput when the folder holds
    something.
    """
    _make(folder)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, one in enumerate(queued):
        names = _pictures(folder / "images", one, number)
        images.append(
            {
                "id": number + 1,
                "file_name": f"images/{names[1]}",
                "width": one.width,
                "height": one.height,
                "pre_file_name": f"images/{names[0]}",
                "request_id": one.name,
                "kept": one.post is not None,
            }
        )
        for suggestion in one.suggestions:
            left, top, right, bottom = suggestion.box
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number + 1,
                    "category_id": suggestion.label + 1,
                    "bbox": [left, top, right - left, bottom - top],
                    "area": (right - left) * (bottom - top),
                    "iscrowd": 0,
                    "score": suggestion.score,
                    "attributes": {"source": suggestion.source},
                }
            )
    document = {
        "info": {"description": "Pictures that two versions disagree on; boxes are suggestions."},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": label + 1, "name": name} for label, name in enumerate(classes)],
    }
    (folder / "coco.json").write_bytes(msgspec.json.encode(document))
    return len(images)


def write_xbd(folder: Path, queued: Iterable[Queued], classes: tuple[str, ...]) -> int:
    """Writes `train/images/` and `train/labels/`; gives how many pictures.

    A building is one polygon; its uid begins with who sees it. Where the versions name different classes it
    is `un-classified`, which is no class until somebody decides. Raises InvalidInput when the folder holds
    something.
    """
    _make(folder)
    count = 0
    for count, one in enumerate(queued, 1):
        _pictures(folder / "train" / "images", one, count - 1)
        for half, labelled in (("pre", False), ("post", True)):
            stem = f"{_SET}_{count - 1:08d}_{half}_disaster"
            label = Label(
                features=Features(xy=tuple(_features(one, classes, labelled=labelled))),
                metadata={
                    "disaster": _SET,
                    "img_name": stem,
                    "width": one.width,
                    "height": one.height,
                    "source": one.name,
                },
            )
            path = folder / "train" / "labels" / f"{stem}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(msgspec.json.encode(label))
    return count


def _features(one: Queued, classes: tuple[str, ...], *, labelled: bool) -> Iterable[Feature]:
    for number, suggestion in enumerate(one.suggestions):
        if suggestion.partner is not None and suggestion.partner < number:
            continue  # the same building
        unsure = suggestion.partner is not None
        subtype = Subtype.UN_CLASSIFIED.value if unsure else classes[suggestion.label]
        yield Feature(
            properties=Properties(
                feature_type=BUILDING,
                subtype=subtype if labelled else None,
                uid=f"{Source.BOTH if unsure else suggestion.source}-{one.name}-{number}",
            ),
            wkt=polygon(*suggestion.box),
        )


def _make(folder: Path) -> None:
    """The folder, empty."""
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise InvalidInput(f"{folder} is not empty.", remedy="Give a new folder.")


def _pictures(folder: Path, one: Queued, number: int) -> tuple[str, str]:
    """Writes what was kept; gives the names of both pictures."""
    names = []
    for half, data in (("pre", one.pre), ("post", one.post)):
        ending = "png" if data is None else ending_of(data)
        names.append(f"{_SET}_{number:08d}_{half}_disaster.{ending}")
        if data is not None:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / names[-1]).write_bytes(data)
    return names[0], names[1]
