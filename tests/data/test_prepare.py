"""Other splits of the same pairs, and one disaster left out of training."""

import shutil
import tracemalloc

import pytest

from serinus.core.errors import InvalidInput
from serinus.data.dataset import Dataset, Split, list_datasets, load_pair
from serinus.data.importing import import_archive
from serinus.data.naming import split_of
from serinus.data.prepare import prepare, read_issues
from tests.data.archives import building, name, pack, pair, pairs, rectangle

EVENTS = ("quake", "flood", "fire")


def clock():
    return 2.0


@pytest.fixture
def datasets(tmp_path):
    return tmp_path / "datasets"


@pytest.fixture
def first(tmp_path, datasets):
    files = {}
    for event in EVENTS:
        files |= pairs(20, disaster=event) | pair(90, disaster=event, folder="test/")
        files |= pair(91, disaster=event, folder="val/")
    del files[name(3, "pre", "png")]
    return import_archive(pack(tmp_path / "a.zip", files), datasets, clock=lambda: 1.0)


def test_another_seed_is_another_version_and_the_first_one_stays(first, datasets):
    before = first.manifest
    second = prepare(first, datasets, clock=clock, seed=5)
    assert second.id != first.id
    assert [one.id for one in list_datasets(datasets)] == [first.id, second.id]
    assert type(first).open(datasets, first.id).manifest == before
    assert second.manifest.parent == first.id
    assert second.manifest.source_sha256 == before.source_sha256
    assert [one.key for one in second.pairs()] == [one.key for one in first.pairs()]
    for one in second.pairs():
        tile = int(one.key[-2:])
        asked = {90: Split.TEST, 91: Split.VAL}.get(tile)
        assert one.split is (asked or split_of(one.key, 5))
        load_pair(second, one)
    assert second.report.splits == {each: len(second.pairs(each)) for each in Split}
    assert second.report.dataset_id == second.id
    assert list(read_issues(second)) == list(read_issues(first))


def test_a_version_of_many_pairs_is_not_held_in_memory(tmp_path, datasets):
    houses = tuple(building(rectangle(x, 4, x + 4, 9)) for x in range(4, 60, 6)) * 30
    source = import_archive(pack(tmp_path / "a.zip", pairs(60, features=houses)), datasets, clock=clock)
    size = (source.path / "manifest.json").stat().st_size
    tracemalloc.start()
    try:
        held = source.manifest
        _, whole = tracemalloc.get_traced_memory()
        del held
        source = Dataset.open(datasets, source.id)
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        prepare(source, datasets, clock=clock, seed=5)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before < 2.5 * size < whole


def test_pictures_are_no_second_copy(first, datasets):
    second = prepare(first, datasets, clock=clock, seed=5)
    one = second.pairs()[0]
    assert (second.path / one.post).stat().st_ino == (first.path / one.post).stat().st_ino


def test_equal_splits_are_the_same_version(first, datasets):
    assert prepare(first, datasets, clock=clock, seed=0).id == first.id
    second = prepare(first, datasets, clock=clock, seed=5)
    assert prepare(first, datasets, clock=clock, seed=5).id == second.id
    assert prepare(second, datasets, clock=clock, seed=0).id == first.id
    assert len(list_datasets(datasets)) == 2


def test_a_disaster_left_out_is_for_testing_alone(first, datasets):
    left = prepare(first, datasets, clock=clock, leave_out="flood")
    assert {one.disaster for one in left.pairs("test")} == {"flood"}
    assert len(left.pairs("test")) == 22
    assert {one.disaster for one in left.pairs("train")} == {"quake", "fire"}
    assert {one.disaster for one in left.pairs("val")} == {"quake", "fire"}
    keys = {one.key for one in left.pairs()}
    assert not keys & {"quake_00000090", "fire_00000090"}, "what a test folder held is never trained on"
    assert {"quake_00000091", "fire_00000091"} <= {one.key for one in left.pairs("val")}
    assert left.manifest.left_out == "flood"
    assert [one.key for one in left.post_only()] == ["quake_00000003"]
    back = prepare(left, datasets, clock=clock)
    assert back.id == first.id, "nothing was lost for good"
    shutil.rmtree(first.path)
    alone = prepare(left, datasets, clock=clock)
    assert (alone.manifest.left_out, len(alone.pairs())) == ("", len(left.pairs()))
    for one in alone.pairs():
        asked = Split.TEST if one.disaster == "flood" else Split.VAL
        fixed = int(one.key[-2:]) in (90, 91)
        assert one.split is (asked if fixed else split_of(one.key, 0)), "not as it was left"


def test_leaving_out_depends_on_no_other_pair(tmp_path, first, datasets):
    small = {}
    for event in EVENTS:
        small |= pairs(10, disaster=event)
    other = import_archive(pack(tmp_path / "b.zip", small), datasets, clock=clock)
    large = {one.key: one.split for one in prepare(first, datasets, clock=clock, leave_out="fire").pairs()}
    for one in prepare(other, datasets, clock=clock, leave_out="fire").pairs():
        assert large.get(one.key, one.split) is one.split


def test_an_unknown_disaster(first, datasets):
    with pytest.raises(InvalidInput, match="no disaster 'storm'") as refused:
        prepare(first, datasets, clock=clock, leave_out="storm")
    assert "fire, flood, quake" in refused.value.remedy


def test_the_only_disaster_cannot_be_left_out(tmp_path, datasets):
    dataset = import_archive(pack(tmp_path / "b.zip", pairs(4)), datasets, clock=clock)
    with pytest.raises(InvalidInput, match="left to train on"):
        prepare(dataset, datasets, clock=clock, leave_out="quake")
