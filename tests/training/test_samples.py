import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serinus.data.dataset import Dataset
from serinus.imagery.stack import fit
from serinus.training.augment import augment, mirror, quarter_turn
from serinus.training.compact import training_size
from serinus.training.network import CELL
from serinus.training.samples import Sample, Samples, View, batch, class_weights, view
from serinus.training.targets import targets


def _marked(height: int, width: int, boxes: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """A picture whose boxes are painted, so that one can see where they went."""
    image = np.zeros((height, width, 6), np.uint8)
    for number, (x1, y1, x2, y2) in enumerate(boxes):
        image[y1:y2, x1:x2] = 100 + number
    return image, np.array(boxes, np.float32)


def _assert_painted(image: np.ndarray, boxes: np.ndarray) -> None:
    for number, (x1, y1, x2, y2) in enumerate(boxes.astype(int)):
        rows, columns = np.nonzero(image[..., 0] == 100 + number)
        assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == (x1, y1, x2, y2)


@pytest.mark.parametrize("change", [mirror, quarter_turn])
def test_boxes_follow_their_pixels(change) -> None:
    image, boxes = _marked(30, 40, [[2, 3, 10, 8], [20, 15, 39, 29]])
    _assert_painted(*change(image, boxes))


@given(seed=st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_pre_and_post_get_the_same_change(seed: int) -> None:
    image, boxes = _marked(32, 48, [[4, 6, 20, 12]])
    changed, moved = augment(image, boxes, np.random.default_rng(seed))
    np.testing.assert_array_equal(changed[..., :3], changed[..., 3:])
    assert changed.shape[:2] in ((32, 48), (48, 32))
    x1, y1, x2, y2 = moved[0].astype(int)
    inside = changed[y1:y2, x1:x2, 0]
    assert (inside == inside[0, 0]).all()
    assert (changed[..., 0] == inside[0, 0]).sum() == inside.size
    again, _ = augment(image, boxes, np.random.default_rng(seed))
    np.testing.assert_array_equal(changed, again)


def test_targets_put_one_peak_into_each_building() -> None:
    boxes = np.array([[10, 20, 40, 44], [60, 8, 74, 30]], np.float32)
    wanted = targets(boxes, np.array([3, 1]), 64, 96)
    assert wanted.heat.shape == (16, 24)
    peaks = np.argwhere(wanted.heat == 1.0)
    assert sorted(map(tuple, peaks.tolist())) == [(4, 16), (8, 6)]
    for y, x in peaks:
        number = 0 if x == 6 else 1
        assert wanted.kind[y, x] == (3, 1)[number]
        left, top, right, bottom = wanted.sides[:, y, x] * CELL
        centre_x, centre_y = (x + 0.5) * CELL, (y + 0.5) * CELL
        found = [centre_x - left, centre_y - top, centre_x + right, centre_y + bottom]
        np.testing.assert_allclose(found, boxes[number], atol=1e-4)
    assert wanted.heat[0, 0] < 0.01
    assert wanted.weight[0, 0] == 0


@given(
    corners=st.lists(st.tuples(st.integers(0, 90), st.integers(0, 60), st.integers(3, 40)), max_size=8),
)
@settings(max_examples=60, deadline=None)
def test_targets_are_finite_and_bounded(corners: list[tuple[int, int, int]]) -> None:
    boxes = np.array([[x, y, min(x + s, 96), min(y + s, 64)] for x, y, s in corners], np.float32)
    wanted = targets(boxes.reshape(-1, 4), np.zeros(len(corners), np.int64), 64, 96)
    assert ((wanted.heat >= 0) & (wanted.heat <= 1)).all()
    assert (wanted.sides[:, wanted.weight > 0] > 0).all()
    assert bool((wanted.heat == 1).any()) == bool(corners)


def test_a_view_has_no_padding_and_no_specks() -> None:
    picture = np.full((100, 200, 3), 9, np.uint8)
    boxes = np.array([[20, 20, 60, 60], [100, 50, 104, 54], [0, 0, 100, 4]], np.float32)
    sample = Sample(fit(picture, picture, size=96, stride=16), boxes, np.array([0, 1, 2]))
    seen = view(sample)
    assert seen.image.shape == (48, 96, 6)
    assert (seen.image == 9).all()
    np.testing.assert_allclose(seen.boxes, [[9.6, 9.6, 28.8, 28.8]], rtol=1e-5)
    assert seen.labels.tolist() == [0]


def test_a_batch_pads_to_one_size() -> None:
    rng = np.random.default_rng(0)
    views = [
        View(np.full((h, w, 6), 50, np.uint8), np.zeros((0, 4), np.float32), np.zeros(0, np.int64))
        for h, w in ((40, 40), (64, 20))
    ]
    images, wanted = batch(views, rng)
    assert images.shape[0] == 2
    assert images.shape[2] % 16 == images.shape[3] % 16 == 0
    assert wanted.heat.shape == (2, images.shape[2] // CELL, images.shape[3] // CELL)
    assert not wanted.heat.any()


def test_samples_are_read_once(dataset: Dataset) -> None:
    samples = Samples(dataset, dataset.pairs("val"), 96)
    assert samples.sample(0) is samples.sample(0)
    assert samples.sample(0).fitted.image.shape == (1, 96, 96, 6)


def test_rare_classes_count_more(dataset: Dataset) -> None:
    counts = np.bincount([c for p in dataset.pairs() for c in p.classes], minlength=4)
    weights = class_weights(dataset.pairs(), 4)
    assert weights[counts.argmax()] == weights.min() < 1 < weights.max() <= 3


@pytest.mark.parametrize(("img_size", "expected"), [(640, 128), (100, 112), (96, 96)])
def test_training_size_is_never_above_the_pictures(dataset: Dataset, img_size: int, expected: int) -> None:
    assert training_size(dataset.pairs(), img_size) == expected
