"""Labelling queues: COCO and xBD, with pictures and without."""

import json
from pathlib import Path

import msgspec
import pytest

from serinus.core.errors import InvalidInput
from serinus.data.queue import Queued, Source, Suggestion, write_coco, write_xbd
from serinus.data.xbd import CLASSES, Label

NAMES = tuple(CLASSES)
BOX = (10.0, 20.0, 40.0, 60.0)


def suggestion(source: Source, label: int, partner: int | None = None) -> Suggestion:
    return Suggestion(box=BOX, label=label, score=0.5, source=source, partner=partner)


QUEUED = (
    Queued(
        name="r-1",
        width=64,
        height=64,
        suggestions=(
            suggestion(Source.BOTH, 0),
            suggestion(Source.CURRENT, 1, 2),
            suggestion(Source.CANARY, 3, 1),
            suggestion(Source.CANARY, 2),
        ),
        pre=b"\x89PNG pre",
        post=b"\xff\xd8\xff post",
    ),
    Queued(name="r-2", width=64, height=64, suggestions=()),
)


def test_coco_has_every_box_with_its_source(tmp_path: Path) -> None:
    assert write_coco(tmp_path / "out", QUEUED, NAMES) == 2
    document = json.loads((tmp_path / "out" / "coco.json").read_bytes())
    first, second = document["images"]
    assert (tmp_path / "out" / first["file_name"]).read_bytes() == b"\xff\xd8\xff post"
    assert (tmp_path / "out" / first["pre_file_name"]).read_bytes() == b"\x89PNG pre"
    assert (second["request_id"], second["kept"]) == ("r-2", False)
    assert [(one["category_id"], one["attributes"]["source"]) for one in document["annotations"]] == [
        (1, "both"),
        (2, "current"),
        (4, "canary"),
        (3, "canary"),
    ]
    assert document["annotations"][0]["bbox"] == [10.0, 20.0, 30.0, 40.0]


def test_in_xbd_a_building_is_one_polygon_and_a_dispute_has_no_class(tmp_path: Path) -> None:
    assert write_xbd(tmp_path / "out", QUEUED, NAMES) == 2
    labels = tmp_path / "out" / "train" / "labels"
    post = msgspec.json.decode((labels / "disagreement_00000000_post_disaster.json").read_bytes(), type=Label)
    assert [(one.properties.subtype, one.properties.uid) for one in post.features.xy] == [
        ("no-damage", "both-r-1-0"),
        ("un-classified", "both-r-1-1"),
        ("major-damage", "canary-r-1-3"),
    ]
    assert post.metadata["source"] == "r-1"
    assert {path.name for path in (tmp_path / "out" / "train" / "images").iterdir()} == {
        "disagreement_00000000_pre_disaster.png",
        "disagreement_00000000_post_disaster.jpg",
    }
    assert len(list(labels.iterdir())) == 4


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("work")
    for write in (write_coco, write_xbd):
        with pytest.raises(InvalidInput):
            write(tmp_path, QUEUED, NAMES)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
