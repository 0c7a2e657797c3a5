"""Chance views of a pair: turned, mirrored, brighter. Pre and post are one array, so both get the same."""

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
Boxes = npt.NDArray[np.float32]

_BRIGHTNESS = 0.15


def mirror(image: Image, boxes: Boxes) -> tuple[Image, Boxes]:
    """Left and right swapped. `image` uint8 [H, W, C], `boxes` float32 [M, 4] in its pixels."""
    width = image.shape[1]
    return image[:, ::-1], np.column_stack(
        (width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3])
    )


def quarter_turn(image: Image, boxes: Boxes) -> tuple[Image, Boxes]:
    """Turned by 90 degrees counter-clockwise; height and width change places."""
    width = image.shape[1]
    turned = np.column_stack((boxes[:, 1], width - boxes[:, 2], boxes[:, 3], width - boxes[:, 0]))
    return np.rot90(image), turned


def augment(image: Image, boxes: Boxes, rng: np.random.Generator) -> tuple[Image, Boxes]:
    """One of the eight views of a pair, with another brightness and contrast. Same `rng` state, same view."""
    if rng.random() < 0.5:
        image, boxes = mirror(image, boxes)
    for _ in range(int(rng.integers(4))):
        image, boxes = quarter_turn(image, boxes)
    gain, shift = rng.uniform(1 - _BRIGHTNESS, 1 + _BRIGHTNESS), rng.uniform(-1, 1) * _BRIGHTNESS * 128
    table = np.clip(np.arange(256) * gain + shift, 0, 255).astype(np.uint8)
    return table[image], boxes.astype(np.float32)
