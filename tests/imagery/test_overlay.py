"""The picture for people: legend outside, boxes where they belong."""

import numpy as np
import pytest

from serinus.artifact.manifest import Contract
from serinus.imagery.decode import decode
from serinus.imagery.overlay import COLOURS, MIN_SIDE, colour_of, overlay, preview

CLASSES = Contract().classes


def drawn(post, rows, **options):
    detections = np.array(rows, np.float32).reshape(-1, 6)
    return decode(overlay(post, detections, CLASSES, **options), max_pixels=10_000_000)


def grey(height, width):
    return np.full((height, width, 3), 120, np.uint8)


def test_the_legend_is_below_the_picture_and_the_picture_is_untouched():
    image = drawn(grey(600, 700), [])
    assert image.shape[1] == 700
    assert image.shape[0] > 600
    assert (image[:600] == 120).all()


def test_boxes_are_drawn_in_their_class_colours():
    for label in range(4):
        image = drawn(grey(600, 600), [[200, 200, 300, 300, 0.9, label]])
        assert (image[250, 199:203] == colour_of(label)).all(axis=1).any()
        assert (image[:600] != 120).any()
        assert (image[230:270, 230:270] == 120).all()


def test_small_pictures_are_enlarged_with_their_boxes():
    image = drawn(grey(100, 128), [[10, 20, 60, 70, 0.9, 0]])
    factor = MIN_SIDE // 128
    assert image.shape[1] == 128 * factor
    assert (image[45 * factor, 10 * factor - 2 : 10 * factor + 3] == colour_of(0)).all(axis=1).any()


def test_unused_rows_are_not_drawn():
    assert np.array_equal(drawn(grey(600, 600), [[1, 1, 9, 9, 0.0, 3]]), drawn(grey(600, 600), []))


def test_counts_change_the_legend():
    one = drawn(grey(600, 600), [[100, 100, 150, 150, 0.9, 0]])
    two = drawn(grey(600, 600), [[100, 100, 150, 150, 0.9, 0], [300, 300, 350, 350, 0.9, 0]])
    assert not np.array_equal(one[600:], two[600:])


def test_marks_at_the_edge_stay_inside():
    image = drawn(grey(600, 600), [[0, 0, 30, 30, 0.9, 3], [580, 590, 600, 600, 0.9, 2]])
    assert image.shape[1] == 600


@pytest.mark.parametrize("shape", [(1, 1), (3, 900), (900, 3), (2000, 2000)])
def test_any_shape_gets_a_readable_legend(shape):
    image = drawn(grey(*shape), [])
    assert image.shape[1] >= 384


def test_jpeg_on_request_and_nothing_else():
    data = overlay(grey(600, 600), np.zeros((0, 6), np.float32), CLASSES, format="jpeg")
    assert data.startswith(b"\xff\xd8")
    with pytest.raises(ValueError, match="gif"):
        overlay(grey(600, 600), np.zeros((0, 6), np.float32), CLASSES, format="gif")


def test_the_post_image_is_not_changed():
    post = grey(600, 600)
    drawn(post, [[100, 100, 150, 150, 0.9, 1]])
    assert (post == 120).all()


def test_colours_of_the_classes_differ_in_lightness_too():
    light = [0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b in COLOURS[1:4]]
    assert light[0] - light[1] > 30
    assert light[1] - light[2] > 30


def test_a_preview_is_small_and_its_boxes_lie_where_they_were() -> None:
    post = np.zeros((600, 1200, 3), np.uint8)
    found = np.array([[600, 300, 900, 450, 0.9, 0]], np.float32)
    drawn = decode(preview(post, found, ("no-damage",), longest=300), max_pixels=10**6)
    small = decode(
        preview(np.zeros((150, 300, 3), np.uint8), found / [4, 4, 4, 4, 1, 1], ("no-damage",)),
        max_pixels=10**6,
    )
    assert drawn.shape == small.shape
    assert np.abs(drawn.astype(int) - small).max() < 40
