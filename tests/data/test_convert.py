"""From polygons to boxes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serinus.artifact.manifest import Contract
from serinus.data.convert import UnparsableLabel, convert, parse_label
from serinus.data.report import IssueCode
from serinus.data.xbd import CLASSES
from tests.data.archives import building, label, rectangle


def converted(*features, width=100, height=80):
    return convert(parse_label(label(*features)), width=width, height=height)


def one(wkt, **options):
    return converted(building(wkt), **options)


def test_the_classes_are_the_contracts():
    assert tuple(str(subtype) for subtype in CLASSES) == Contract().classes


def test_each_subtype_has_its_class():
    found = converted(*(building(rectangle(10, 10, 20, 20), str(subtype)) for subtype in CLASSES))
    assert found.classes == (0, 1, 2, 3)
    assert set(found.boxes) == {(10, 10, 20, 20)}
    assert not found.oddities


def test_the_box_is_that_of_the_polygon():
    found = one("POLYGON ((20 10, 40 15.5, 35 30.25, 12.125 18, 20 10))")
    assert found.boxes == ((12.125, 10, 40, 30.25),)


@pytest.mark.parametrize(
    ("subtype", "code"),
    [
        ("un-classified", IssueCode.UN_CLASSIFIED),
        ("ruined", IssueCode.UNKNOWN_SUBTYPE),
        (None, IssueCode.UNKNOWN_SUBTYPE),
    ],
)
def test_what_has_no_class_is_left_out(subtype, code):
    found = converted(building(rectangle(10, 10, 20, 20), subtype))
    assert found.boxes == ()
    assert found.oddities == {code: 1}


def test_what_is_no_building_is_passed_over():
    found = converted(building(rectangle(10, 10, 20, 20), kind="road"))
    assert (found.boxes, dict(found.oddities)) == ((), {})


def test_clipping_is_of_the_polygon_not_of_its_vertices():
    # A triangle whose tip is outside: clamped vertices would give y from 10 to 50.
    found = one("POLYGON ((60 10, 140 50, 60 50, 60 10))")
    assert found.boxes == ((60, 10, 100, 50),)
    diamond = one("POLYGON ((-20 40, 10 10, 40 40, 10 70, -20 40))")
    assert diamond.boxes == ((0, 10, 40, 70),)
    corner = one("POLYGON ((-30 10, 10 -30, 30 -10, -10 30, -30 10))")
    assert corner.boxes == ((0, 0, 20, 20),)
    assert corner.oddities == {IssueCode.POLYGON_CLIPPED: 1}


def test_what_lies_outside_is_left_out():
    assert one(rectangle(200, 10, 220, 30)).oddities == {IssueCode.POLYGON_OUTSIDE: 1}
    assert one(rectangle(100, 10, 120, 30)).oddities == {IssueCode.POLYGON_OUTSIDE: 1}


@pytest.mark.parametrize(
    ("wkt", "kept"),
    [
        (rectangle(10, 10, 14, 14), True),
        (rectangle(10, 10, 13.9, 14), False),
        (rectangle(10, 10, 13, 40), True),
        (rectangle(10, 10, 12.9, 60), False),
        (rectangle(98, 10, 140, 60), False),
    ],
)
def test_tiny_buildings_are_left_out(wkt, kept):
    found = one(wkt)
    assert bool(found.boxes) is kept
    assert (IssueCode.POLYGON_TINY in found.oddities) is not kept


def test_the_area_counts_not_only_the_box():
    assert one("POLYGON ((10 10, 17 17, 17.5 17, 10 10))").oddities == {IssueCode.POLYGON_TINY: 1}


def test_holes_do_not_change_the_box():
    found = one("POLYGON ((10 10, 40 10, 40 40, 10 40, 10 10), (20 20, 30 20, 30 30, 20 30, 20 20))")
    assert found.boxes == ((10, 10, 40, 40),)
    assert found.oddities == {IssueCode.POLYGON_HOLES: 1}


def test_several_parts_are_one_building():
    found = one("MULTIPOLYGON (((10 10, 20 10, 20 20, 10 20, 10 10)), ((30 30, 40 30, 40 40, 30 30)))")
    assert found.boxes == ((10, 10, 40, 40),)
    assert found.oddities == {IssueCode.POLYGON_MULTI: 1}


def test_a_bow_tie_is_repaired():
    found = one("POLYGON ((10 10, 40 40, 40 10, 10 40, 10 10))")
    assert found.boxes == ((10, 10, 40, 40),)
    assert found.oddities == {IssueCode.POLYGON_INVALID: 1}


@pytest.mark.parametrize(
    "wkt",
    [
        "",
        "hello",
        "POLYGON EMPTY",
        "POLYGON ((1 1, 2 2",
        "POLYGON ((1 1, 2 2, 1 1))",
        "POLYGON ((nan nan, 1 1, 2 2, nan nan))",
        "POLYGON ((inf 0, 1 1, 2 2, inf 0))",
        rectangle(-1e308, -1e308, 1e308, 1e308).replace("))", ", nan 1))"),
        "POINT (1 1)",
        "LINESTRING (1 1, 20 20)",
        "GEOMETRYCOLLECTION (" * 50_000,
        "POLYGON " + "(" * 50_000,
    ],
)
def test_what_is_no_polygon_is_left_out(wkt):
    found = converted(building(wkt), building(rectangle(10, 10, 20, 20)))
    assert found.boxes == ((10, 10, 20, 20),)
    assert sum(found.oddities.values()) >= 1


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"features": {}}',
        b'{"features": {"xy": [{"wkt": 3}]}}',
        b'{"features": {"xy": 1}}',
        b"\xff\xfe{}",
        b'{"features": {"xy": []}, "metadata": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"deep": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001,
    ],
)
def test_labels_that_cannot_be_read(data):
    with pytest.raises(UnparsableLabel):
        parse_label(data)


def test_a_byte_order_mark_does_no_harm():
    assert parse_label(b"\xef\xbb\xbf" + label()).features.xy == ()


corner = st.floats(-150, 250) | st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(st.tuples(corner, corner), min_size=3, max_size=8))
def test_boxes_lie_in_the_picture_and_are_no_smaller_than_promised(points):
    ring = ", ".join(f"{x} {y}" for x, y in [*points, points[0]])
    for x1, y1, x2, y2 in one(f"POLYGON (({ring}))").boxes:
        assert 0 <= x1 < x2 <= 100
        assert 0 <= y1 < y2 <= 80
        assert min(x2 - x1, y2 - y1) >= 2.99
