"""Pairs from live traffic as files that people and tools know: an archive in xBD's layout, with COCO in it.

What comes out can be imported like any other data set (`serinus data import`), or given to people to correct.
"""

import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from serinus.data.xbd import BUILDING, Feature, Features, Label, Properties

_ENDINGS = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpg", b"II*\0": "tif", b"MM\0*": "tif", b"RIFF": "webp"}
_DISASTER = "feedback"


class LabelledPair(msgspec.Struct, frozen=True, kw_only=True):
    """Two pictures as they were sent, and boxes on the post picture."""

    name: str
    """Where it comes from, such as the request's id; stands in the metadata."""
    pre: bytes
    post: bytes
    width: int
    height: int
    boxes: tuple[tuple[float, float, float, float], ...] = ()
    """x1, y1, x2, y2 in pixels."""
    classes: tuple[int, ...] = ()


def write_archive(
    path: Path, pairs: Iterable[LabelledPair], classes: tuple[str, ...], *, disaster: str = _DISASTER
) -> int:
    """Writes `train/images/<disaster>_<number>_{pre,post}_disaster.*`, their labels, and `coco.json`.

    Gives how many pairs. `classes`: names by id, as xBD's subtypes. The file appears whole.
    """
    unfinished = path.with_name(f".{path.name}.part")
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    try:
        with zipfile.ZipFile(unfinished, "w", zipfile.ZIP_STORED) as archive:
            for number, pair in enumerate(pairs):
                stem = f"{disaster}_{number:08d}"
                post = f"{stem}_post_disaster"
                file = f"train/images/{post}.{ending_of(pair.post)}"
                archive.writestr(f"train/images/{stem}_pre_disaster.{ending_of(pair.pre)}", pair.pre)
                archive.writestr(file, pair.post)
                for half, labelled in (("pre", False), ("post", True)):
                    label = _label(pair, classes, disaster, f"{stem}_{half}_disaster", labelled=labelled)
                    archive.writestr(
                        f"train/labels/{stem}_{half}_disaster.json",
                        msgspec.json.encode(label),
                        zipfile.ZIP_DEFLATED,
                    )
                images.append(
                    {"id": number + 1, "file_name": file, "width": pair.width, "height": pair.height}
                )
                annotations += _annotations(pair, number + 1, len(annotations))
            coco = {
                "images": images,
                "annotations": annotations,
                "categories": [{"id": label + 1, "name": name} for label, name in enumerate(classes)],
            }
            archive.writestr("coco.json", msgspec.json.encode(coco), zipfile.ZIP_DEFLATED)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return len(images)


def ending_of(data: bytes) -> str:
    """What the name of such a picture ends with."""
    return next((ending for magic, ending in _ENDINGS.items() if data.startswith(magic)), "png")


def _label(
    pair: LabelledPair, classes: tuple[str, ...], disaster: str, name: str, *, labelled: bool
) -> Label:
    features = tuple(
        Feature(
            properties=Properties(
                feature_type=BUILDING,
                subtype=classes[label] if labelled else None,
                uid=f"{pair.name}-{number}",
            ),
            wkt=polygon(*box),
        )
        for number, (box, label) in enumerate(zip(pair.boxes, pair.classes, strict=True))
    )
    return Label(
        features=Features(xy=features),
        metadata={
            "disaster": disaster,
            "img_name": name,
            "width": pair.width,
            "height": pair.height,
            "source": pair.name,
        },
    )


def polygon(left: float, top: float, right: float, bottom: float) -> str:
    """A box as WKT, in pixels."""
    corners = ((left, top), (right, top), (right, bottom), (left, bottom), (left, top))
    return "POLYGON ((" + ", ".join(f"{x:g} {y:g}" for x, y in corners) + "))"


def _annotations(pair: LabelledPair, image: int, before: int) -> list[dict[str, Any]]:
    found = []
    for number, ((left, top, right, bottom), label) in enumerate(
        zip(pair.boxes, pair.classes, strict=True), before + 1
    ):
        width, height = right - left, bottom - top
        found.append(
            {
                "id": number,
                "image_id": image,
                "category_id": label + 1,
                "bbox": [left, top, width, height],
                "area": width * height,
                "iscrowd": 0,
            }
        )
    return found
