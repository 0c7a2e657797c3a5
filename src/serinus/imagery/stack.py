"""The one stacking of a pair that training and serving share, and the way back to original pixels."""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from serinus.core.errors import InvalidInput


class Fitted(NamedTuple):
    """A stacked pair made fit for the network."""

    image: NDArray[np.uint8]
    """[1, H', W', 6], H' and W' multiples of the stride."""
    scale: float
    """Network pixels per original pixel, at most 1."""
    size: tuple[int, int]
    """(width, height) of the original, in pixels."""


def stack6(pre: NDArray[np.uint8], post: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """pre and post (RGB uint8 [H, W, 3]) -> uint8 [H, W, 6]: pre_r, pre_g, pre_b, post_r, post_g, post_b.

    The order is that of `Contract.channels`. Raises InvalidInput when the two differ in size.
    """
    if pre.shape != post.shape:
        raise InvalidInput(
            f"The pre picture has {pre.shape[1]} x {pre.shape[0]} pixels and the post picture "
            f"{post.shape[1]} x {post.shape[0]}; a pair must have one size.",
            remedy="Crop or scale the two to the same area.",
        )
    return np.concatenate([pre, post], axis=2)


def fit(stacked: NDArray[np.uint8], *, size: int, stride: int) -> Fitted:
    """Scales `stacked` (uint8 [H, W, 6]) down to a longest side of `size` pixels and pads it to the stride.

    Smaller pictures are not scaled up. The padding is 0, at right and bottom, so boxes need no offset.
    """
    height, width = stacked.shape[:2]
    scale = min(1.0, size / max(height, width))
    if scale < 1:
        small = (max(1, round(width * scale)), max(1, round(height * scale)))
        # OpenCV resizes at most four channels at once.
        halves = (np.ascontiguousarray(stacked[..., :3]), np.ascontiguousarray(stacked[..., 3:]))
        resized = [cv2.resize(half, small, interpolation=cv2.INTER_AREA) for half in halves]
        stacked = np.asarray(np.concatenate(resized, axis=2), np.uint8)
    rows, columns = stacked.shape[:2]
    padding = ((0, -rows % stride), (0, -columns % stride), (0, 0))
    return Fitted(np.pad(stacked, padding)[None], scale, (width, height))


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
