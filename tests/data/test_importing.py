"""Whole imports from real archives: every drop and every warning, and what is stored."""

import csv
import subprocess
import sys
import textwrap
import tracemalloc
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from serinus.core.errors import InvalidInput, VolumeFull
from serinus.data.archive import ArchiveLimits
from serinus.data.dataset import Dataset, Split, list_datasets, load_image, load_pair
from serinus.data.importing import ImportRefused, import_archive
from serinus.data.naming import split_of
from serinus.data.prepare import prepare
from serinus.data.report import IssueCode, Severity, Verdict
from tests.data.archives import (
    HOUSE,
    building,
    label,
    name,
    pack,
    pack_tar,
    pair,
    pairs,
    picture,
    pixels,
    rectangle,
)
from tests.store.hard import volume


def clock():
    return 1_700_000_000.0


def imported(tmp_path, files, **options):
    archive = pack(tmp_path / "upload.zip", files)
    return import_archive(archive, tmp_path / "datasets", clock=clock, **options)


def codes(dataset):
    with dataset.issues_file.open(newline="") as file:
        return [IssueCode(row["code"]) for row in csv.DictReader(file)]


def without(files, *names):
    return {key: content for key, content in files.items() if key not in names}


# What is found


def test_a_plain_archive(tmp_path):
    seen = []
    dataset = imported(tmp_path, pairs(4), progress=lambda done, total: seen.append((done, total)))
    report = dataset.report
    assert (report.pairs_found, report.pairs_usable, report.verdict) == (4, 4, Verdict.OK)
    assert report.dataset_id == dataset.id == f"ds-{dataset.manifest.sha256[:12]}"
    assert report.per_class == {"no-damage": 4, "minor-damage": 0, "major-damage": 0, "destroyed": 0}
    assert report.per_disaster["quake"]["pairs"] == 4
    assert sum(report.splits.values()) == 4
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert dataset.manifest.created == clock()
    for found in dataset.pairs():
        assert found.split is split_of(found.key, 0)
        pre, post, boxes, classes = load_pair(dataset, found)
        tile = int(found.key.rsplit("_", 1)[1])
        assert np.array_equal(pre, pixels(2 * tile))
        assert np.array_equal(post, pixels(2 * tile + 1))
        assert boxes.tolist() == [[10, 10, 30, 26]]
        assert boxes.dtype == np.float32
        assert classes.tolist() == [0]
        assert classes.dtype == np.int64


def test_a_post_without_buildings_is_a_true_negative(tmp_path):
    dataset = imported(tmp_path, pair(features=()))
    _, _, boxes, classes = load_pair(dataset, dataset.pairs()[0])
    assert boxes.shape == (0, 4)
    assert classes.shape == (0,)


def test_pre_labels_are_never_used(tmp_path):
    files = pair(features=()) | {name(1, "pre", "json"): label(HOUSE, HOUSE)}
    assert imported(tmp_path, files).pairs()[0].boxes == ()


def test_junk_is_counted_silently(tmp_path):
    junk = {
        "__MACOSX/train/images/._quake_00000001_pre_disaster.png": b"junk",
        "train/images/._quake_00000001_post_disaster.png": b"junk",
        "train/.DS_Store": b"junk",
        "train/targets/quake_00000001_post_disaster_target.png": b"junk",
        "README": b"hello",
    }
    dataset = imported(tmp_path, pair() | junk)
    assert dataset.report.ignored == {"system": 3, "targets": 1, "other": 1}
    assert set(codes(dataset)) == {IssueCode.RARE_CLASS, IssueCode.SINGLE_DISASTER}


def test_nested_roots_need_no_word(tmp_path):
    assert imported(tmp_path, pair(folder="a/b/train/")).report.pairs_usable == 1


# Splits


def test_explicit_folders_are_honoured_and_train_is_split(tmp_path):
    files = pairs(40) | pair(100, folder="test/") | pair(101, folder="hold/") | pair(102, folder="val/")
    found = {one.key: one.split for one in imported(tmp_path, files | pair(103, folder="tier3/")).pairs()}
    assert found["quake_00000100"] is Split.TEST
    assert found["quake_00000101"] is Split.TEST
    assert found["quake_00000102"] is Split.VAL
    assert found["quake_00000103"] is split_of("quake_00000103", 0)
    assert {split for key, split in found.items() if key < "quake_00000100"} == set(Split)


def test_what_lies_in_test_as_well_is_never_trained_on(tmp_path):
    files = pair(1) | pair(1, folder="test/") | pair(2)
    dataset = imported(tmp_path, files)
    assert dataset.pairs()[0].split is Split.TEST
    assert codes(dataset).count(IssueCode.DUPLICATE) == 4


def test_the_split_of_a_tile_is_the_same_in_another_archive(tmp_path):
    first = {one.key: one.split for one in imported(tmp_path, pairs(12)).pairs()}
    second = {one.key: one.split for one in imported(tmp_path, pairs(20)).pairs()}
    assert first.items() <= second.items()


def test_another_seed_splits_otherwise(tmp_path):
    first = [one.split for one in imported(tmp_path, pairs(20)).pairs()]
    second = [one.split for one in imported(tmp_path, pairs(20), seed=1).pairs()]
    assert first != second


# The same picture under two names


@pytest.mark.parametrize("seed", range(4))
def test_pairs_that_show_the_same_picture_share_a_split(tmp_path, seed):
    """A model would be tested on what it has learned."""
    twins = {new: GOOD[old] for tile in range(20) for new, old in renamed(tile, tile + 500).items()}
    dataset = imported(tmp_path, GOOD | twins, seed=seed)
    assert dataset.report.pairs_usable == 40
    splits = {one.key: one.split for one in dataset.pairs()}
    apart = [
        tile for tile in range(20) if split_of(key_of(tile), seed) is not split_of(key_of(tile + 500), seed)
    ]
    assert apart, "by their names alone they would be torn apart"
    for tile in range(20):
        assert splits[key_of(tile + 500)] is splits[key_of(tile)] is split_of(key_of(tile), seed)
    again = prepare(dataset, tmp_path / "datasets", clock=clock, seed=seed + 1)
    splits = {one.key: one.split for one in again.pairs()}
    assert all(splits[key_of(tile + 500)] is splits[key_of(tile)] for tile in range(20))
    told = [one for one in dataset.report.issues if one.code is IssueCode.SAME_PICTURE]
    assert len(told) == 20 and {one.severity for one in told} == {Severity.WARN}
    assert "quake_00000500 shows the same post picture as quake_00000000" in told[0].message


def test_where_folders_tear_them_apart_it_is_said(tmp_path):
    twin = {new.replace("train/", "test/"): GOOD[old] for new, old in renamed(3, 503).items()}
    dataset = imported(tmp_path, GOOD | twin)
    assert {one.key: one.split for one in dataset.pairs()}["quake_00000503"] is Split.TEST
    (told,) = [one for one in dataset.report.issues if one.code is IssueCode.SAME_PICTURE]
    assert f"but is for test, not {split_of('quake_00000003', 0)}" in told.message


def renamed(old, new):
    """Names of a pair of another number -> names of the one that it is a copy of."""
    return {key.replace(f"{old:08d}", f"{new:08d}"): key for key in pair(old)}


def key_of(tile):
    return f"quake_{tile:08d}"


# Drops: each spoils one pair of many

GOOD = pairs(20)


def truncated():
    return picture(1)[:-200]


DROPS = {
    "post image missing": (without(GOOD, name(3, "post", "png")), IssueCode.POST_IMAGE_MISSING),
    "post label missing": (
        without(GOOD, name(3, "post", "json"), name(3, "pre", "json")),
        IssueCode.POST_LABEL_MISSING,
    ),
    "post truncated": (GOOD | {name(3, "post", "png"): truncated()}, IssueCode.IMAGE_CORRUPT),
    "pre truncated": (GOOD | {name(3, "pre", "png"): truncated()}, IssueCode.IMAGE_CORRUPT),
    "post empty": (GOOD | {name(3, "post", "png"): b""}, IssueCode.IMAGE_CORRUPT),
    "sizes differ": (GOOD | {name(3, "pre", "png"): picture(1, 60, 48)}, IssueCode.SIZE_MISMATCH),
    "label is no JSON": (GOOD | {name(3, "post", "json"): b"{"}, IssueCode.LABEL_UNPARSABLE),
    "same name, other content": (
        GOOD | {name(3, "post", "png", folder="tier3/"): picture(77)},
        IssueCode.NAME_CONFLICT,
    ),
    "same picture in two formats": (
        GOOD | {name(3, "post", "jpg"): cv2.imencode(".jpg", pixels(7))[1].tobytes()},
        IssueCode.NAME_CONFLICT,
    ),
}


@pytest.mark.parametrize("case", DROPS)
def test_a_pair_is_dropped_and_the_rest_goes_on(tmp_path, case):
    files, code = DROPS[case]
    dataset = imported(tmp_path, files)
    report = dataset.report
    assert (report.pairs_found, report.pairs_usable, report.verdict) == (20, 19, Verdict.OK)
    assert "quake_00000003" not in {one.key for one in dataset.pairs()}
    found = [one for one in report.issues if one.code is code]
    assert len(found) == 1
    assert "00000003" in found[0].path
    assert found[0].message
    assert found[0].fix


def test_a_picture_over_the_limit_of_pixels_is_dropped(tmp_path):
    files = GOOD | {name(3, when, "png"): picture(1, 200, 200) for when in ("pre", "post")}
    dataset = imported(tmp_path, files, limits=ArchiveLimits(max_pixels=64 * 48))
    assert (dataset.report.pairs_usable, codes(dataset)[0]) == (19, IssueCode.IMAGE_TOO_LARGE)


def test_a_label_larger_than_any_is_dropped_unread(tmp_path):
    """JSON takes many times its size when it is read."""
    noise = np.random.default_rng(0).bytes(8_500_000).hex()
    huge = label(HOUSE)[:-1] + f', "more": "{noise}"}}'.encode()
    dataset = imported(tmp_path, GOOD | {name(3, "post", "json"): huge})
    (told,) = [one for one in dataset.report.issues if one.code is IssueCode.LABEL_UNPARSABLE]
    assert dataset.report.pairs_usable == 19
    assert "17 MB; 16 MB are the limit" in told.message


def test_labels_only_for_pre_are_named(tmp_path):
    dataset = imported(tmp_path, without(GOOD, name(3, "post", "json")))
    assert {IssueCode.POST_LABEL_MISSING, IssueCode.LABEL_ONLY_PRE} <= set(codes(dataset))


def test_a_member_damaged_inside_the_archive(tmp_path):
    archive = tmp_path / "upload.zip"
    with zipfile.ZipFile(archive, "w") as target:
        for key, content in GOOD.items():
            target.writestr(key, content)
    data = bytearray(archive.read_bytes())
    data[data.index(GOOD[name(3, "post", "png")]) + 500] ^= 0xFF
    archive.write_bytes(data)
    dataset = import_archive(archive, tmp_path / "datasets", clock=clock)
    assert codes(dataset)[0] is IssueCode.IMAGE_CORRUPT
    assert dataset.report.pairs_usable == 19


def test_pictures_of_dropped_pairs_are_not_kept(tmp_path):
    dataset = imported(tmp_path, GOOD | {name(3, "pre", "png"): truncated()})
    kept = {path.name for path in (dataset.path / "images").iterdir()}
    assert kept == {Path(stored).name for one in dataset.pairs() for stored in (one.pre, one.post)}


# Warnings: the pair stays


def houses(*odd):
    return pair(features=(HOUSE, *odd))


WARNINGS = {
    "un-classified": (houses(building(rectangle(1, 1, 9, 9), "un-classified")), IssueCode.UN_CLASSIFIED),
    "unknown subtype": (houses(building(rectangle(1, 1, 9, 9), "gone")), IssueCode.UNKNOWN_SUBTYPE),
    "clipped": (houses(building(rectangle(50, 30, 90, 45))), IssueCode.POLYGON_CLIPPED),
    "outside": (houses(building(rectangle(70, 30, 90, 45))), IssueCode.POLYGON_OUTSIDE),
    "tiny": (houses(building(rectangle(50, 30, 52, 45))), IssueCode.POLYGON_TINY),
    "invalid": (houses(building("POLYGON ((1 1")), IssueCode.POLYGON_INVALID),
    "crossing itself": (
        houses(building("POLYGON ((40 20, 60 40, 60 20, 40 40, 40 20))")),
        IssueCode.POLYGON_INVALID,
    ),
    "with a hole": (
        houses(
            building("POLYGON ((40 20, 60 20, 60 40, 40 40, 40 20), (45 25, 55 25, 55 35, 45 35, 45 25))")
        ),
        IssueCode.POLYGON_HOLES,
    ),
    "of several parts": (
        houses(
            building(
                "MULTIPOLYGON (((40 20, 48 20, 48 40, 40 20)), ((50 20, 60 20, 60 40, 50 40, 50 20)))",
                "destroyed",
            )
        ),
        IssueCode.POLYGON_MULTI,
    ),
    "metadata size": (
        pair() | {name(1, "post", "json"): label(HOUSE, width=1024, height=1024)},
        IssueCode.METADATA_SIZE,
    ),
    "identical copy": (pair() | {name(1, "pre", "png", folder="copy/"): picture(2)}, IssueCode.DUPLICATE),
    "mixed case": (
        {key.replace("quake", "Quake"): content for key, content in pair().items()},
        IssueCode.MIXED_CASE,
    ),
    "jpg": (
        without(pair(), name(1, "pre", "png"))
        | {name(1, "pre", "jpg"): cv2.imencode(".jpg", pixels(2))[1].tobytes()},
        IssueCode.NOT_PNG,
    ),
    "tif": (
        without(pair(), name(1, "pre", "png"))
        | {name(1, "pre", "tif"): cv2.imencode(".tif", pixels(2))[1].tobytes()},
        IssueCode.NOT_PNG,
    ),
    "rare class": (pair(), IssueCode.RARE_CLASS),
    "a single disaster": (pair(), IssueCode.SINGLE_DISASTER),
}


@pytest.mark.parametrize("case", WARNINGS)
def test_a_warning_keeps_the_pair(tmp_path, case):
    files, code = WARNINGS[case]
    dataset = imported(tmp_path, files)
    assert dataset.report.pairs_usable == 1
    assert (10, 10, 30, 26) in dataset.pairs()[0].boxes
    found = [one for one in dataset.report.issues if one.code is code]
    assert found
    assert all(one.severity is Severity.WARN for one in found)


@pytest.mark.parametrize("odd", [[], {}, "64", None, 1e308, True, [[64]]])
def test_metadata_may_say_anything(tmp_path, odd):
    dataset = imported(tmp_path, pair() | {name(1, "post", "json"): label(HOUSE, width=odd, height=odd)})
    assert dataset.report.pairs_usable == 1
    assert (IssueCode.METADATA_SIZE in codes(dataset)) is (odd is not None)


def test_a_pair_without_its_pre_image_is_kept_for_post_only_models(tmp_path):
    names = [name(tile, "pre", "png") for tile in (3, 4, 5)]
    dataset = imported(tmp_path, without(GOOD, *names))
    report = dataset.report
    assert (report.pairs_found, report.pairs_usable, report.pairs_post_only) == (20, 17, 3)
    assert report.verdict is Verdict.OK, "nothing was dropped"
    assert [one.key for one in dataset.post_only()] == [f"quake_0000000{tile}" for tile in (3, 4, 5)]
    assert not {one.key for one in dataset.post_only()} & {one.key for one in dataset.pairs()}
    one = dataset.post_only()[0]
    assert (one.pre, one.sha256_pre, one.boxes) == ("", "", ((10, 10, 30, 26),))
    assert np.array_equal(load_image(dataset.path / one.post, one.sha256_post, 10_000), pixels(7))
    assert sum(len(dataset.post_only(split)) for split in Split) == 3
    found = [each for each in report.issues if each.code is IssueCode.PRE_IMAGE_MISSING]
    assert [each.severity for each in found] == [Severity.WARN] * 3


def test_plenty_of_everything_needs_no_warning(tmp_path):
    every = tuple(
        building(rectangle(5 + 8 * column, 5 + 12 * row, 11 + 8 * column, 13 + 12 * row), subtype)
        for row in range(3)
        for column, subtype in enumerate(["no-damage", "minor-damage", "major-damage", "destroyed"])
    )
    files = pairs(4, features=every) | pairs(4, features=every, disaster="flood")
    report = imported(tmp_path, files).report
    assert report.issues == ()
    assert report.issues_total == 0
    assert report.per_class == dict.fromkeys(report.per_class, 24)


# Verdicts


def test_losing_a_tenth_is_allowed_and_more_needs_confirmation(tmp_path):
    tenth = without(pairs(10), name(1, "post", "png"))
    assert imported(tmp_path, tenth).report.verdict is Verdict.OK
    more = without(tenth, name(2, "post", "png"))
    with pytest.raises(
        ImportRefused, match=r"2 of 10 pairs cannot be used: 2 have no post image\. First, .*: quake_00000001"
    ) as refused:
        imported(tmp_path, more)
    assert refused.value.report.verdict is Verdict.NEEDS_CONFIRMATION
    assert refused.value.report.dataset_id == "", "nothing was stored"
    assert refused.value.remedy
    assert len(list_datasets(tmp_path / "datasets")) == 1
    confirmed = imported(tmp_path, more, confirm=True)
    assert confirmed.report.verdict is Verdict.NEEDS_CONFIRMATION
    assert confirmed.report.pairs_usable == 8


HALVES = {
    "no pair": ({"notes.txt": b"hello"}, "no file is named", "A pair needs"),
    "no post image": (
        without(pairs(3), *(name(tile, "post", "png") for tile in range(3))),
        "of 3 found, 3 have no post image",
        "Pack images/ and labels/ into one archive",
    ),
    "no image": (
        {key: content for key, content in pairs(3).items() if key.endswith("json")},
        "of 3 found, 3 have no post image",
        "Pack images/ and labels/ into one archive",
    ),
    "no label": (
        {key: content for key, content in pairs(3).items() if key.endswith("png")},
        "of 3 found, 3 have no post label",
        "Pack images/ and labels/ into one archive",
    ),
    "no pre image": (
        without(pairs(3), *(name(tile, "pre", "png") for tile in range(3))),
        "of 3 found, 3 have no pre image",
        "Add the pictures from before the disaster",
    ),
    "pre alone": (
        {key: content for key, content in pairs(3).items() if "_pre_" in key},
        "of 3 found, 3 have no post image",
        "Pack images/ and labels/ into one archive",
    ),
    "one of each": (
        without(pairs(2), name(0, "pre", "png"), name(1, "post", "json")),
        "of 2 found, 1 has no post label, 1 has no pre image. First, "
        "'train/images/quake_00000001_pre_disaster.png': quake_00000001 has no post label",
        "Add the label of the post image",
    ),
}


@pytest.mark.parametrize("confirm", [False, True])
@pytest.mark.parametrize("case", HALVES)
def test_nothing_usable_is_refused_whoever_confirms(tmp_path, case, confirm):
    files, words, remedy = HALVES[case]
    with pytest.raises(ImportRefused, match=words) as refused:
        imported(tmp_path, files, confirm=confirm)
    assert remedy in refused.value.remedy
    assert refused.value.report.verdict is Verdict.UNUSABLE
    assert refused.value.report.dataset_id == ""
    assert list((tmp_path / "datasets").iterdir()) == []


def test_many_issues_are_all_in_the_csv_and_200_in_the_report(tmp_path):
    odd = building(rectangle(1, 1, 2, 2))
    gone = building(rectangle(1, 1, 9, 9), "gone")
    dataset = imported(tmp_path, pairs(105, features=(HOUSE, odd, gone)))
    assert len(dataset.report.issues) == 200
    assert dataset.report.issues_total == len(codes(dataset)) == 210 + 3 + 1


def test_a_refused_archive_leaves_nothing(tmp_path):
    with pytest.raises(InvalidInput):
        imported(tmp_path, pair() | {"../../evil": b"x"})
    assert list((tmp_path / "datasets").iterdir()) == []


@pytest.mark.parametrize("packed", ["a.zip", "a.tar.zst"])
def test_a_full_volume_is_said_and_nothing_stays(tmp_path, packed):
    packer = pack if packed.endswith("zip") else pack_tar
    archive = packer(tmp_path / packed, pairs(200))
    with volume(tmp_path / "volume", 1) as folder:
        with pytest.raises(VolumeFull, match="No space is left") as refused:
            import_archive(archive, folder / "datasets", clock=clock)
        assert refused.value.remedy
        assert list((folder / "datasets").iterdir()) == []


def test_names_are_never_paths(tmp_path):
    hostile = pair(disaster="~", folder="") | pair(2, disaster="$(touch x)", folder="ab:c|d/")
    dataset = imported(tmp_path, hostile)
    assert {path.name for path in dataset.path.iterdir()} == {
        "images",
        "issues.csv",
        "manifest.json",
        "report.json",
    }
    assert all(len(path.stem) == 64 for path in (dataset.path / "images").iterdir())


# Identity and crashes


def test_equal_content_gives_one_data_set(tmp_path):
    first = imported(tmp_path, pairs(3))
    other_order = dict(reversed(list(pairs(3, folder="x/train/").items())))
    second = imported(tmp_path, other_order)
    assert first.id == second.id
    assert len(list_datasets(tmp_path / "datasets")) == 1
    assert imported(tmp_path, pairs(4)).id != first.id


def test_an_archive_that_was_imported_before_is_recognised_by_its_hash(tmp_path):
    archive = pack(tmp_path / "upload.zip", pairs(10))
    worked = []

    def again(**options):
        worked.clear()
        return import_archive(
            archive, tmp_path / "datasets", clock=clock, progress=lambda *at: worked.append(at), **options
        )

    first = again()
    assert worked
    assert again().id == first.id and not worked
    assert again(seed=5).id != first.id and worked, "another split is another version"
    again(limits=ArchiveLimits(max_pixels=64 * 48))
    assert worked, "other limits may keep other pairs"


def test_what_was_confirmed_once_is_asked_again(tmp_path):
    archive = pack(tmp_path / "upload.zip", without(pairs(4), name(1, "post", "png")))
    datasets = tmp_path / "datasets"
    first = import_archive(archive, datasets, clock=clock, confirm=True)
    with pytest.raises(ImportRefused):
        import_archive(archive, datasets, clock=clock)
    assert import_archive(archive, datasets, clock=clock, confirm=True).id == first.id


def test_equal_pixels_are_equal_whatever_packed_them(tmp_path):
    tif = without(pair(), name(1, "post", "png")) | {
        name(1, "post", "tif"): cv2.imencode(".tif", cv2.cvtColor(pixels(3), cv2.COLOR_RGB2BGR))[1].tobytes()
    }
    assert imported(tmp_path, pair()).id == imported(tmp_path, tif).id


def test_an_import_that_is_killed_leaves_nothing_visible_and_the_next_sweeps(tmp_path):
    archive = pack(tmp_path / "upload.zip", pairs(3))
    script = textwrap.dedent("""
        import os, pathlib, signal, sys
        from serinus.data.importing import import_archive

        def die(done, total):
            if done == 2:
                os.kill(os.getpid(), signal.SIGKILL)

        import_archive(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), clock=lambda: 1.0, progress=die)
    """)
    datasets = tmp_path / "datasets"
    killed = subprocess.run(
        [sys.executable, "-c", script, str(archive), str(datasets)], timeout=60, check=False
    )
    assert killed.returncode == -9
    assert list_datasets(datasets) == []
    assert len(list(datasets.iterdir())) == 1
    dataset = import_archive(archive, datasets, clock=clock)
    assert [path.name for path in datasets.iterdir()] == [dataset.id]


def test_two_imports_at_once_end_in_one_data_set(tmp_path):
    archive = pack(tmp_path / "upload.zip", pairs(3))
    datasets = tmp_path / "datasets"
    inner = []

    def again(done, total):
        if done == 2 and not inner:
            inner.append(import_archive(archive, datasets, clock=clock))

    outer = import_archive(archive, datasets, clock=clock, progress=again)
    assert outer.id == inner[0].id
    assert [path.name for path in datasets.iterdir()] == [outer.id]
    assert load_pair(Dataset.open(datasets, outer.id), outer.pairs()[0])[0].shape == (48, 64, 3)


def test_one_member_at_a_time_is_in_memory(tmp_path):
    files = {}
    for tile in range(20):
        files |= pair(tile) | {name(tile, when, "png"): picture(tile, 256, 256) for when in ("pre", "post")}
    archive = pack(tmp_path / "upload.zip", files)
    del files
    tracemalloc.start()
    try:
        import_archive(archive, tmp_path / "datasets", clock=clock)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert archive.stat().st_size > 4_000_000
    assert peak < 2_500_000
