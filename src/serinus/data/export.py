"""A data set for other tools: COCO's JSON beside pictures, or the layout that YOLO trainers read.

A sample has six channels here: pre and post. COCO has no word for that: its image is the post picture, and
`pre_file_name` stands beside `file_name`. For YOLO a sample is one TIFF of six pages in the order of the
one stacking function (pre red, green, blue, post red, green, blue), which Ultralytics reads as six channels
when `data.yaml` says `channels: 6`.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np

from serinus.core.errors import InvalidInput
from serinus.data.dataset import Dataset, Pair, Split, load_pair
from serinus.data.xbd import CLASSES
from serinus.imagery.stack import stack6

Progress = Callable[[int, int], object]
"""Called with (pairs done, pairs in all)."""


class Format(StrEnum):
    COCO = "coco"
    YOLO = "yolo"


def export(dataset: Dataset, out: Path, format: str, progress: Progress | None = None) -> int:
    """Writes `dataset` into the new or empty folder `out`; gives how many pairs.

    Raises InvalidInput when the folder holds something, Corrupt for a damaged picture.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InvalidInput(f"{out} is not an empty folder.", remedy="Give a new folder.")
    out.mkdir(parents=True, exist_ok=True)
    write = _coco if Format(format) is Format.COCO else _yolo
    done, total = 0, len(dataset.pairs())
    for done, _ in enumerate(write(dataset, out), 1):
        if progress:
            progress(done, total)
    return done


def file_stem(pair: Pair) -> str:
    """A file name for a pair: its key holds what strangers typed."""
    plain = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in pair.key)
    return f"{plain[:80].lstrip('.') or 'pair'}_{hashlib.sha256(pair.key.encode()).hexdigest()[:8]}"


def _coco(dataset: Dataset, out: Path) -> Iterator[Pair]:
    (out / "annotations").mkdir()
    categories = [{"id": label + 1, "name": str(name)} for label, name in enumerate(CLASSES)]
    for split in Split:
        (out / "images" / split).mkdir(parents=True)
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for number, pair in enumerate(dataset.pairs(split), 1):
            names = [f"{split}/{file_stem(pair)}_{half}.png" for half in ("pre", "post")]
            for name, stored in zip(names, (pair.pre, pair.post), strict=True):
                _link(dataset.path / stored, out / "images" / name)
            images.append(
                {
                    "id": number,
                    "file_name": names[1],
                    "pre_file_name": names[0],
                    "width": pair.width,
                    "height": pair.height,
                    "disaster": pair.disaster,
                    "key": pair.key,
                }
            )
            annotations += _annotations(pair, number, len(annotations))
            yield pair
        document = {
            "info": {"description": f"{dataset.id}, {split}", "version": dataset.manifest.sha256},
            "images": images,
            "annotations": annotations,
            "categories": categories,
        }
        (out / "annotations" / f"instances_{split}.json").write_bytes(msgspec.json.encode(document))


def _annotations(pair: Pair, image: int, before: int) -> list[dict[str, Any]]:
    return [
        {
            "id": number,
            "image_id": image,
            "category_id": label + 1,
            "bbox": [x1, y1, round(x2 - x1, 3), round(y2 - y1, 3)],
            "area": round((x2 - x1) * (y2 - y1), 3),
            "iscrowd": 0,
        }
        for number, ((x1, y1, x2, y2), label) in enumerate(
            zip(pair.boxes, pair.classes, strict=True), before + 1
        )
    ]


def _yolo(dataset: Dataset, out: Path) -> Iterator[Pair]:
    for split in Split:
        (out / "images" / split).mkdir(parents=True)
        (out / "labels" / split).mkdir(parents=True)
        for pair in dataset.pairs(split):
            pre, post, boxes, classes = load_pair(dataset, pair)
            channels = [np.ascontiguousarray(each) for each in np.moveaxis(stack6(pre, post), 2, 0)]
            stem = file_stem(pair)
            _, encoded = cv2.imencodemulti(".tiff", channels, [cv2.IMWRITE_TIFF_COMPRESSION, 8])
            (out / "images" / split / f"{stem}.tiff").write_bytes(encoded.tobytes())
            centres, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
            rows = np.hstack((centres, sides)) / np.array([pair.width, pair.height] * 2)
            lines = [
                f"{label} {' '.join(f'{value:.6f}' for value in row)}\n"
                for label, row in zip(classes.tolist(), rows.tolist(), strict=True)
            ]
            (out / "labels" / split / f"{stem}.txt").write_text("".join(lines))
            yield pair
    names = "".join(f"  {label}: {name}\n" for label, name in enumerate(CLASSES))
    (out / "data.yaml").write_text(
        f"# {dataset.id}; six channels: pre red, green, blue, post red, green, blue\n"
        f"train: images/train\nval: images/val\ntest: images/test\nchannels: 6\nnames:\n{names}"
    )


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another volume
        shutil.copyfile(source, target)
