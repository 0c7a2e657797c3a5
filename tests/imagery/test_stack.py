"""Stacking and fitting, and the way back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serinus.artifact.manifest import Contract
from serinus.core.errors import InvalidInput
from serinus.imagery.stack import fit, fit_stacked, stack6, to_original


def black(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((height, width, 3), np.uint8), np.zeros((height, width, 3), np.uint8)


def test_the_order_is_the_contracts():
    pre = np.zeros((2, 3, 3), np.uint8)
    pre[:] = (1, 2, 3)
    post = np.zeros((2, 3, 3), np.uint8)
    post[:] = (4, 5, 6)
    stacked = stack6(pre, post)
    assert stacked.shape == (2, 3, len(Contract().channels))
    values = {"pre_r": 1, "pre_g": 2, "pre_b": 3, "post_r": 4, "post_g": 5, "post_b": 6}
    assert stacked[0, 0].tolist() == [values[name] for name in Contract().channels]


def test_a_pair_of_two_sizes_is_refused():
    with pytest.raises(InvalidInput, match="5 x 4"):
        stack6(np.zeros((4, 5, 3), np.uint8), np.zeros((5, 4, 3), np.uint8))


def test_small_pictures_are_padded_right_and_below_and_not_scaled():
    image = np.full((20, 30, 3), 7, np.uint8)
    fitted = fit(image, image, size=64, stride=16)
    assert fitted.image.shape == (1, 32, 32, 6)
    assert fitted.scale == 1
    assert fitted.size == (30, 20)
    assert (fitted.image[0, :20, :30] == 7).all()
    assert not fitted.image[0, 20:].any()
    assert not fitted.image[0, :, 30:].any()


def test_large_pictures_are_scaled_down_to_the_size():
    fitted = fit(*black(500, 1000), size=256, stride=16)
    assert fitted.image.shape == (1, 128, 256, 6)
    assert fitted.scale == pytest.approx(0.256)


sides = st.integers(1, 700)
sizes = st.sampled_from([32, 64, 250, 256, 640])


@given(sides, sides, sizes, st.sampled_from([8, 16, 32]))
def test_fitted_pictures_suit_the_network(height, width, size, stride):
    fitted = fit(*black(height, width), size=size, stride=stride)
    _, rows, columns, channels = fitted.image.shape
    assert rows % stride == columns % stride == 0
    assert max(rows, columns) < size + stride
    assert channels == 6
    assert fitted.scale <= 1


@given(sides, sides, sizes, st.integers(0, 9))
def test_a_pair_that_came_stacked_becomes_the_same(height, width, size, seed):
    pre, post = np.random.default_rng(seed).integers(0, 256, (2, height, width, 3), np.uint8)
    fitted = fit(pre, post, size=size, stride=16)
    other = fit_stacked(stack6(pre, post), size=size, stride=16)
    assert (other.image == fitted.image).all()
    assert (other.scale, other.size) == (fitted.scale, fitted.size)


@given(sides, sides, sizes, st.lists(st.tuples(*[st.floats(0, 1, width=32)] * 4), max_size=5))
def test_boxes_come_back_to_the_pixels_they_were_in(height, width, size, shares):
    fitted = fit(*black(height, width), size=size, stride=16)
    small_width, small_height = (max(1, round(side * fitted.scale)) for side in (width, height))
    original = np.array(
        [
            (min(a, c) * width, min(b, d) * height, max(a, c) * width, max(b, d) * height, 0.5, 2)
            for a, b, c, d in shares
        ],
        np.float32,
    ).reshape(-1, 6)
    ratio = np.array([small_width / width, small_height / height] * 2 + [1, 1], np.float32)
    found = to_original(original * ratio, fitted)
    assert found.dtype == np.float32
    assert np.allclose(found, original, atol=1e-2, rtol=1e-4)


def test_boxes_in_the_padding_are_clipped_to_the_picture_and_the_input_is_kept():
    fitted = fit(*black(20, 30), size=64, stride=16)
    detections = np.array([[-5, -5, 32, 32, 0.9, 1]], np.float32)
    found = to_original(detections, fitted)
    assert found[0].tolist() == pytest.approx([0, 0, 30, 20, 0.9, 1])
    assert detections[0, 0] == -5


def test_scaling_keeps_the_channels_apart():
    pre, post = black(300, 300)
    pre[:], post[:] = (10, 20, 30), (40, 50, 60)
    fitted = fit(pre, post, size=64, stride=16)
    assert fitted.image.shape == (1, 64, 64, 6)
    assert fitted.image[0, 30, 30].tolist() == [10, 20, 30, 40, 50, 60]
