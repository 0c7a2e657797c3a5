"""What a member is by its name, and which split its pair falls into."""

import hashlib
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serinus.data.dataset import Split
from serinus.data.naming import Ignored, Kind, Part, When, classify, split_of


def test_a_plain_xbd_name():
    part = classify("train/images/guatemala-volcano_00000003_pre_disaster.png")
    assert part == Part(
        "guatemala-volcano_00000003", "guatemala-volcano", When.PRE, Kind.IMAGE, "png", None, False
    )


def test_a_label_in_a_nested_root():
    part = classify("x/y/test/labels/a_b_1_post_disaster.json")
    assert isinstance(part, Part)
    assert (part.key, part.when, part.kind, part.split) == ("a_b_1", When.POST, Kind.LABEL, Split.TEST)


def test_case_does_not_matter_and_is_noted():
    part = classify("IMAGES/Quake_00000001_POST_Disaster.PNG")
    assert isinstance(part, Part)
    assert part.key == "quake_00000001"
    assert part.mixed_case


@pytest.mark.parametrize(
    ("folder", "split"),
    [
        ("train", None),
        ("tier3", None),
        ("", None),
        ("test", Split.TEST),
        ("hold", Split.TEST),
        ("Hold", Split.TEST),
        ("val", Split.VAL),
        ("test/xview/train", None),
        ("Test/tier3", None),
        ("train/hold", Split.TEST),
        ("images/val", Split.VAL),
    ],
)
def test_folders_say_what_a_pair_is_for(folder, split):
    part = classify(f"{folder}/images/q_1_pre_disaster.png")
    assert isinstance(part, Part)
    assert part.split is split


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("__MACOSX/train/images/q_1_pre_disaster.png", Ignored.SYSTEM),
        ("train/images/._q_1_pre_disaster.png", Ignored.SYSTEM),
        ("train/labels/._q_1_post_disaster.json", Ignored.SYSTEM),
        (".DS_Store", Ignored.SYSTEM),
        ("train/targets/q_1_pre_disaster_target.png", Ignored.TARGETS),
        ("train/targets/q_1_pre_disaster.png", Ignored.TARGETS),
        ("README.md", Ignored.OTHER),
        ("q_1_pre_disaster.exe", Ignored.OTHER),
        ("q_1_during_disaster.png", Ignored.OTHER),
        ("q_1_pre_disaster.png.png", Ignored.OTHER),
    ],
)
def test_what_is_passed_over(name, kind):
    assert classify(name) is kind


def test_the_split_is_the_documented_hash():
    for key in ("a_1", "b_2", "c_3"):
        place = int(hashlib.sha256(f"5|{key}".encode()).hexdigest(), 16) % 100
        expected = Split.TRAIN if place < 70 else Split.VAL if place < 85 else Split.TEST
        assert split_of(key, 5) is expected


def test_the_split_is_about_70_15_15():
    counts = Counter(split_of(f"quake_{tile:08d}", 0) for tile in range(4000))
    assert abs(counts[Split.TRAIN] - 2800) < 150
    assert abs(counts[Split.VAL] - 600) < 120
    assert abs(counts[Split.TEST] - 600) < 120


@given(st.lists(st.integers(0, 10**8), unique=True, max_size=30), st.integers(0, 100))
def test_a_tiles_split_does_not_depend_on_the_other_tiles_or_their_order(tiles, seed):
    keys = [f"q_{tile}" for tile in tiles]
    forward = {key: split_of(key, seed) for key in keys}
    assert {key: split_of(key, seed) for key in reversed(keys)} == forward


@given(st.text(max_size=60))
def test_any_name_is_something(name):
    assert isinstance(classify(name), Part | Ignored)
