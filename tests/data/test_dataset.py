"""Opening, listing and reading data sets; golden sets; the report's CSV."""

import csv
import io

import msgspec
import numpy as np
import pytest

from serinus.core.errors import Corrupt, InvalidInput, NotFound
from serinus.data.dataset import Dataset, Split, dataset_id, list_datasets, load_image, load_pair
from serinus.data.golden import GOLDEN, GoldenIndex, export_golden
from serinus.data.importing import import_archive
from serinus.data.report import IssueCode, issue, issues_csv
from tests.data.archives import pack, pairs


@pytest.fixture
def datasets(tmp_path):
    return tmp_path / "datasets"


@pytest.fixture
def dataset(tmp_path, datasets):
    return import_archive(pack(tmp_path / "a.zip", pairs(12)), datasets, clock=lambda: 10.0)


def test_open_gives_what_was_imported(datasets, dataset):
    again = Dataset.open(datasets, dataset.id)
    assert again == dataset
    assert again.report == dataset.report


@pytest.mark.parametrize("name", ["ds-000000000000", "..", "", "../datasets", "/etc", "ds-1\0"])
def test_an_unknown_or_strange_id(datasets, dataset, name):
    with pytest.raises(NotFound):
        Dataset.open(datasets, name)


def test_pairs_by_split(dataset):
    assert dataset.pairs() == dataset.pairs(None)
    by_split = [dataset.pairs(split) for split in Split]
    assert sum(map(len, by_split)) == 12
    assert all(pair.split is split for split, found in zip(Split, by_split, strict=True) for pair in found)
    with pytest.raises(ValueError, match="nonsense"):
        dataset.pairs("nonsense")


def test_the_list_is_newest_last(tmp_path, datasets, dataset):
    older = import_archive(pack(tmp_path / "b.zip", pairs(2)), datasets, clock=lambda: 5.0)
    newer = import_archive(pack(tmp_path / "c.zip", pairs(3)), datasets, clock=lambda: 20.0)
    assert [one.id for one in list_datasets(datasets)] == [older.id, dataset.id, newer.id]
    assert list_datasets(tmp_path / "nowhere") == []


def test_a_damaged_one_keeps_nobody_from_the_others(tmp_path, datasets, dataset, caplog):
    other = import_archive(pack(tmp_path / "b.zip", pairs(2)), datasets, clock=lambda: 5.0)
    (other.path / "manifest.json").chmod(0o644)
    (other.path / "manifest.json").write_text('{"id": ')
    assert [one.id for one in list_datasets(datasets)] == [dataset.id]
    assert other.id in caplog.text


def test_a_changed_picture_is_noticed(dataset):
    pair = dataset.pairs()[0]
    path = dataset.path / pair.post
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(Corrupt, match=path.name):
        load_pair(dataset, pair)
    path.unlink()
    with pytest.raises(Corrupt, match="missing"):
        load_pair(dataset, pair)


def test_a_manifest_that_cannot_be_read_is_named(datasets, dataset):
    (dataset.path / "manifest.json").write_bytes(b"{")
    with pytest.raises(Corrupt, match=r"manifest\.json"):
        Dataset.open(datasets, dataset.id)


def test_bytes_that_were_read_once_are_not_read_again(dataset):
    data = (dataset.path / "manifest.json").read_bytes()
    held = Dataset(dataset.path, data=data)
    (dataset.path / "manifest.json").write_bytes(b"another one")
    assert dataset_id(held.content()) == dataset.id
    assert held.head.source == "a.zip"
    assert [pair.key for pair in held.each_pair()] == [pair.key for pair in held.manifest.pairs]
    assert len(held.pairs()) == 12


def test_a_golden_set_holds_the_same_pictures_and_answers(tmp_path, dataset):
    out = tmp_path / "golden"
    index = export_golden(dataset, out, split=None, limit=5)
    assert index == msgspec.json.decode((out / GOLDEN).read_bytes(), type=GoldenIndex)
    assert index.dataset == dataset.id
    for entry, pair in zip(index.pairs, dataset.pairs()[:5], strict=True):
        pre, post, boxes, classes = load_pair(dataset, pair)
        assert (entry.key, entry.sha256) == (pair.key, pair.sha256_post)
        assert np.array_equal(load_image(out / entry.pre, entry.sha256_pre, pre.size), pre)
        assert np.array_equal(load_image(out / entry.post, entry.sha256, post.size), post)
        assert np.array_equal(np.array(entry.boxes, np.float32), boxes)
        assert list(entry.classes) == classes.tolist()


def test_a_golden_set_is_of_one_split_if_asked(tmp_path, dataset):
    index = export_golden(dataset, tmp_path / "golden", split=Split.TRAIN)
    assert [entry.key for entry in index.pairs] == [pair.key for pair in dataset.pairs(Split.TRAIN)]


def test_an_empty_split_makes_no_golden_set(tmp_path, datasets):
    small = import_archive(pack(tmp_path / "s.zip", pairs(1, folder="test/")), datasets, clock=lambda: 1.0)
    with pytest.raises(InvalidInput, match="no pairs"):
        export_golden(small, tmp_path / "golden", split=Split.TRAIN)
    assert not (tmp_path / "golden").exists()


def test_a_folder_with_something_in_it_is_not_overwritten(tmp_path, dataset):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InvalidInput, match="not empty"):
        export_golden(dataset, tmp_path, split=None)


def test_the_csv_of_issues_is_a_table_without_formulas():
    issues = [
        issue(IssueCode.NOT_PNG, "=cmd|' /C calc'!A0", 'a "quoted", message\nin two lines'),
        issue(IssueCode.POST_IMAGE_MISSING, "train/x.png", "words"),
    ]
    rows = list(csv.DictReader(io.StringIO(issues_csv(issues))))
    assert rows[0]["path"].startswith("'=")
    assert rows[0]["message"] == issues[0].message
    assert rows[1] == {
        "code": "post_image_missing",
        "severity": "drop",
        "path": "train/x.png",
        "message": "words",
        "fix": issues[1].fix,
    }


def test_names_with_control_characters_stay_one_line_of_the_csv():
    """A carriage return in a name was the end of a row."""
    issues = [
        issue(IssueCode.NOT_PNG, f"qu{mark}ake_1_pre_disaster.jpg", "words") for mark in "\r\x1b\x0b\u202e"
    ]
    rows = list(csv.DictReader(io.StringIO(issues_csv(issues), newline="")))
    assert [row["code"] for row in rows] == ["not_png"] * 4
    assert rows[0]["path"] == r"qu\rake_1_pre_disaster.jpg"


def test_every_code_has_a_severity_and_a_fix():
    for code in IssueCode:
        assert issue(code, "", "").fix


def test_a_manifest_that_is_given_is_the_one_that_counts(tmp_path):
    dataset = import_archive(pack(tmp_path / "a.zip", pairs(4)), tmp_path / "datasets", clock=lambda: 1.0)
    assert [one.key for one in dataset.each_pair()] == [one.key for one in dataset.pairs()]
    assert (dataset.head.source, dataset.head.sha256) == ("a.zip", dataset.manifest.sha256)
    given = msgspec.structs.replace(dataset.manifest, pairs=dataset.pairs()[:1], source="b.zip")
    changed = Dataset(dataset.path, given)
    assert len(changed.pairs()) == len(list(changed.each_pair())) == 1
    assert changed.head.source == "b.zip"
