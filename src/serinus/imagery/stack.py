"""The one stacking of a pair that training and serving share, and the way back to original pixels."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from serinus.core.errors import InvalidInput
from serinus.imagery.raster import cv2


class Fitted(NamedTuple):
    """A stacked pair made fit for the network."""

    image: NDArray[np.uint8]
    """[1, H', W', 6], H' and W' multiples of the stride."""
    scale: float
    """Network pixels per original pixel, at most 1."""
    size: tuple[int, int]
    """(width, height) of the original, in pixels."""


def check_pair(pre: NDArray[np.uint8], post: NDArray[np.uint8]) -> None:
    """Raises InvalidInput when the two (RGB uint8 [H, W, 3]) differ in size."""
    if pre.shape != post.shape:
        raise InvalidInput(
            f"The pre picture has {pre.shape[1]} x {pre.shape[0]} pixels and the post picture "
            f"{post.shape[1]} x {post.shape[0]}; a pair must have one size.",
            remedy="Crop or scale the two to the same area.",
        )


def stack6(pre: NDArray[np.uint8], post: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """pre and post (RGB uint8 [H, W, 3]) -> uint8 [H, W, 6]: pre_r, pre_g, pre_b, post_r, post_g, post_b.

    The order is that of `Contract.channels`. Raises InvalidInput when the two differ in size.
    """
    check_pair(pre, post)
    return np.asarray(cv2.merge([pre, post]), np.uint8)


def fit(pre: NDArray[np.uint8], post: NDArray[np.uint8], *, size: int, stride: int) -> Fitted:
    """The pair (RGB uint8 [H, W, 3] each) scaled to a longest side of `size` at most, stacked, padded.

    Smaller pictures are not scaled up. The padding is 0, at right and bottom, so boxes need no offset. Raises
    InvalidInput when the two differ in size.
    """
    check_pair(pre, post)
    height, width = pre.shape[:2]
    scale = min(1.0, size / max(height, width))
    # Scaled before they are stacked: a sixth of the bytes move, or fewer.
    stacked = stack6(_scaled(pre, scale), _scaled(post, scale))
    return Fitted(_padded(stacked, stride), scale, (width, height))


def fit_stacked(stacked: NDArray[np.uint8], *, size: int, stride: int) -> Fitted:
    """What `fit` gives, of a pair that is stacked already: uint8 [H, W, 6]."""
    height, width = stacked.shape[:2]
    if max(height, width) > size:  # OpenCV scales at most four channels at once
        return fit(stacked[..., :3], stacked[..., 3:], size=size, stride=stride)
    return Fitted(_padded(stacked, stride), 1.0, (width, height))


def to_original(detections: NDArray[np.float32], fitted: Fitted) -> NDArray[np.float32]:
    """Boxes of `detections` (float32 [K, 6]: x1, y1, x2, y2, confidence, class) back in original pixels.

    They are clipped to the picture. Sides that rounding changed are scaled by their own ratio.
    """
    width, height = fitted.size
    across = max(1, round(width * fitted.scale)) / width
    down = max(1, round(height * fitted.scale)) / height
    boxes = detections.astype(np.float32, copy=True)
    boxes[:, [0, 2]] = np.clip(boxes[:, [0, 2]] / across, 0, width)
    boxes[:, [1, 3]] = np.clip(boxes[:, [1, 3]] / down, 0, height)
    return boxes


def _scaled(picture: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    if scale == 1:
        return picture
    height, width = picture.shape[:2]
    small = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(picture, small, interpolation=cv2.INTER_AREA), np.uint8)


def _padded(stacked: NDArray[np.uint8], stride: int) -> NDArray[np.uint8]:
    """[1, H', W', 6]."""
    below, right = -stacked.shape[0] % stride, -stacked.shape[1] % stride
    if below or right:
        stacked = np.pad(stacked, ((0, below), (0, right), (0, 0)))
    return stacked[None]
