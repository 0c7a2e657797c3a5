"""Exports, read back as other tools read them."""

import json

import cv2
import numpy as np
import pytest
from hotcoco import COCO
from ruamel.yaml import YAML

from serinus.core.errors import InvalidInput
from serinus.data.dataset import Split, load_pair
from serinus.data.export import export, file_stem
from serinus.data.importing import import_archive
from serinus.imagery.stack import stack6
from tests.data.archives import HEIGHT, HOUSE, WIDTH, building, pack, pair, pairs, rectangle


@pytest.fixture
def dataset(tmp_path):
    ruin = building(rectangle(40.5, 20, 60, 44), "destroyed")
    files = pairs(12, features=(HOUSE, ruin)) | pair(50, features=(), folder="val/")
    return import_archive(pack(tmp_path / "a.zip", files), tmp_path / "datasets", clock=lambda: 1.0)


def test_coco(tmp_path, dataset):
    assert export(dataset, tmp_path / "out", "coco") == 13
    for split in Split:
        coco = COCO(str(tmp_path / "out" / "annotations" / f"instances_{split}.json"))
        images = coco.load_imgs(coco.get_img_ids())
        by_key = {one.key: one for one in dataset.pairs(split)}
        assert {image["key"] for image in images} == set(by_key)
        for image in images:
            pre, post, boxes, classes = load_pair(dataset, by_key[image["key"]])
            for name, wanted in ((image["file_name"], post), (image["pre_file_name"], pre)):
                picture = cv2.imread(str(tmp_path / "out" / "images" / name), cv2.IMREAD_COLOR_RGB)
                assert np.array_equal(picture, wanted)
            found = coco.load_anns(coco.get_ann_ids(img_ids=[image["id"]]))
            assert [each["category_id"] - 1 for each in found] == classes.tolist()
            edges = [[x, y, x + w, y + h] for x, y, w, h in (each["bbox"] for each in found)]
            assert np.allclose(np.reshape(edges, (-1, 4)), boxes)


def test_yolo_reads_six_channels_in_the_order_of_the_one_stacking_function(tmp_path, dataset):
    told = []
    export(dataset, tmp_path / "out", "yolo", lambda done, total: told.append((done, total)))
    assert told[-1] == (13, 13)
    settings = YAML(typ="safe").load(tmp_path / "out" / "data.yaml")
    assert settings["channels"] == 6
    assert list(settings["names"].values()) == ["no-damage", "minor-damage", "major-damage", "destroyed"]
    for split in Split:
        for one in dataset.pairs(split):
            pre, post, boxes, classes = load_pair(dataset, one)
            data = np.fromfile(tmp_path / "out" / settings[split] / f"{file_stem(one)}.tiff", np.uint8)
            whole, pages = cv2.imdecodemulti(data, cv2.IMREAD_UNCHANGED)  # as Ultralytics reads it
            assert whole
            assert np.array_equal(np.stack(pages, 2), stack6(pre, post))
            text = (tmp_path / "out" / "labels" / split / f"{file_stem(one)}.txt").read_text()
            rows = np.array([line.split() for line in text.splitlines()], float).reshape(-1, 5)
            assert rows[:, 0].tolist() == classes.tolist()
            size = np.array([WIDTH, HEIGHT])
            corners = np.hstack((rows[:, 1:3] - rows[:, 3:] / 2, rows[:, 1:3] + rows[:, 3:] / 2))
            assert np.allclose(corners * np.tile(size, 2), boxes, atol=1e-3)


@pytest.mark.parametrize("format", ["coco", "yolo"])
def test_nothing_is_written_over_and_names_are_never_paths(tmp_path, format):
    hostile = pair(disaster="~") | pair(2, disaster="$(touch x)") | pair(3, disaster=".hidden")
    dataset = import_archive(pack(tmp_path / "a.zip", hostile), tmp_path / "datasets", clock=lambda: 1.0)
    out = tmp_path / "out"
    assert export(dataset, out, format) == 3
    names = [path.name for path in (out / "images").rglob("*") if path.is_file()]
    assert all(name[0].isalnum() or name[0] in "_-" for name in names)
    with pytest.raises(InvalidInput, match="empty folder"):
        export(dataset, out, format)


def test_a_label_file_of_coco_names_its_version(tmp_path, dataset):
    export(dataset, tmp_path / "out", "coco")
    document = json.loads((tmp_path / "out" / "annotations" / "instances_test.json").read_bytes())
    assert document["info"]["version"] == dataset.manifest.sha256
