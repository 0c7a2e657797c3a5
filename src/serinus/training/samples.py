"""Pairs of a data set as the network wants them, and batches with their targets."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from serinus.data.dataset import Dataset, Pair, load_pair
from serinus.imagery.stack import Fitted, fit
from serinus.training.augment import augment
from serinus.training.loss import Wanted
from serinus.training.network import STRIDE
from serinus.training.targets import targets

_CACHE_BYTES = 1 << 30
_MIN_AREA = 16.0
_MIN_SIDE = 3.0
_OVERLAP = 8
"""Neighbouring tiles share an eighth of their side, at least."""
_LEFT = 0.3
"""Share of a building that must be in a tile."""


class Sample(NamedTuple):
    """One pair, fitted, with its true buildings in original pixels."""

    fitted: Fitted
    boxes: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]


class View(NamedTuple):
    """What the network sees of a sample: no padding, boxes in the pixels of `image`."""

    image: npt.NDArray[np.uint8]
    """[H, W, 6]"""
    boxes: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]


class Window(NamedTuple):
    """A tile of a view: its upper left corner and side, in the view's pixels."""

    x: int
    y: int
    side: int


class Samples:
    """Reads each pair once and keeps it while there is room; pairs beyond that are read each time."""

    def __init__(
        self, dataset: Dataset, pairs: Sequence[Pair], size: int, stride: int = STRIDE, *, keep: bool = True
    ) -> None:
        self._stride = stride
        self._dataset = dataset
        self._pairs = pairs
        self.size = size
        self._kept: dict[int, Sample] = {}
        self._room = _CACHE_BYTES if keep else 0

    def __len__(self) -> int:
        return len(self._pairs)

    def sample(self, index: int) -> Sample:
        """Raises Corrupt when a picture is not what its hash says."""
        kept = self._kept.get(index)
        if kept is not None:
            return kept
        pre, post, boxes, labels = load_pair(self._dataset, self._pairs[index])
        sample = Sample(fit(pre, post, size=self.size, stride=self._stride), boxes, labels)
        if sample.fitted.image.nbytes <= self._room:
            self._room -= sample.fitted.image.nbytes
            self._kept[index] = sample
        return sample


def view(sample: Sample) -> View:
    """The sample at training size; buildings too small to be learned there are left out (see domain.md)."""
    width, height = sample.fitted.size
    columns, rows = (max(1, round(side * sample.fitted.scale)) for side in (width, height))
    ratio = np.array([columns / width, rows / height] * 2, np.float32)
    boxes = sample.boxes * ratio
    sides = boxes[:, 2:] - boxes[:, :2]
    learnable = (sides.prod(1) >= _MIN_AREA) & (sides.min(1, initial=np.inf) >= _MIN_SIDE)
    return View(sample.fitted.image[0, :rows, :columns], boxes[learnable], sample.labels[learnable])


def windows(pair: Pair, size: int, side: int) -> tuple[Window | None, ...]:
    """Tiles of `side` that cover the pair at training size and overlap; (None,) where it is small enough."""
    scale = min(1.0, size / max(pair.width, pair.height))
    width, height = (max(1, round(length * scale)) for length in (pair.width, pair.height))
    if max(width, height) <= side:
        return (None,)
    return tuple(Window(x, y, side) for y in _starts(height, side) for x in _starts(width, side))


def _starts(length: int, side: int) -> list[int]:
    if length <= side:
        return [0]
    count = -(-(length - side) // (side - side // _OVERLAP)) + 1
    return [round(start) for start in np.linspace(0, length - side, count)]


def cut(seen: View, window: Window, rng: np.random.Generator) -> View:
    """The tile, moved a little by chance so that no building is always cut; pre and post alike.

    Buildings are clipped; one of which too little is left to tell what it is stays out.
    """
    height, width = seen.image.shape[:2]
    sway = window.side // _OVERLAP // 2
    x, y = (
        int(np.clip(start + rng.integers(-sway, sway + 1), 0, max(0, length - window.side)))
        for start, length in ((window.x, width), (window.y, height))
    )
    limits = np.array([min(window.side, width - x), min(window.side, height - y)] * 2, np.float32)
    boxes = np.clip(seen.boxes - np.array([x, y, x, y], np.float32), 0, limits)
    whole, left = (_areas(some) for some in (seen.boxes, boxes))
    stays = (left >= _LEFT * whole) & (left >= _MIN_AREA)
    stays &= (boxes[:, 2:] - boxes[:, :2]).min(1, initial=np.inf) >= _MIN_SIDE
    image = seen.image[y : y + window.side, x : x + window.side]
    return View(image, boxes[stays], seen.labels[stays])


def _areas(boxes: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    areas: npt.NDArray[np.float32] = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    return areas


def batch(views: Sequence[View], rng: np.random.Generator) -> tuple[Tensor, Wanted]:
    """Augmented `views` padded to one size: float32 [N, 6, H, W] in [0, 1], and what is wanted."""
    changed = [augment(v.image, v.boxes, rng) for v in views]
    height, width = (-(-max(image.shape[axis] for image, _ in changed) // STRIDE) * STRIDE for axis in (0, 1))
    pixels = np.zeros((len(views), height, width, changed[0][0].shape[2]), np.uint8)
    wanted = []
    for row, (image, boxes), seen in zip(pixels, changed, views, strict=True):
        row[: image.shape[0], : image.shape[1]] = image
        wanted.append(targets(boxes, seen.labels, height, width))
    heat, kind, sides, weight = (torch.from_numpy(np.stack(part)) for part in zip(*wanted, strict=True))
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255.0
    return images, Wanted(heat=heat, kind=kind, sides=sides, weight=weight)


def class_weights(pairs: Sequence[Pair], classes: int) -> npt.NDArray[np.float32]:
    """What a building of each class counts: the root of how rare it is, between 1/2 and 3."""
    counts = np.bincount([c for pair in pairs for c in pair.classes], minlength=classes).astype(np.float64)
    rarity = counts.sum() / (classes * np.maximum(counts, 1.0))
    return np.asarray(np.clip(np.sqrt(rarity), 0.5, 3.0), np.float32)
