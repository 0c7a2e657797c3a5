"""The few functions of OpenCV that this room uses, by Pillow and NumPy: for installations without OpenCV.

Names, arguments and orders of channels are OpenCV's, so that the callers do not know which one they have.
PNG and JPEG give equal pixels, except that of 16 bits in three channels the upper eight are kept and not
rounded, and that CMYK is turned into RGB by another formula. Scaling by a whole number gives equal pixels
up to rounding; by others the borders between pixels are not split, so values differ by a few levels in
noise. It is slower where pictures are scaled.
"""

import io
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

IMREAD_UNCHANGED = -1
IMREAD_IGNORE_ORIENTATION = 128
IMREAD_COLOR_RGB = 256
IMWRITE_JPEG_QUALITY = 1
INTER_CUBIC, INTER_AREA = 2, 3
BORDER_CONSTANT = 0
COLOR_BGRA2RGB, COLOR_RGB2BGR, COLOR_BGR2RGB, COLOR_GRAY2RGB = 3, 4, 4, 8

_FAST_PNG = 1
_DEEP = {"I;16", "I;16B", "I;16L", "I;16N", "I", "F"}
_WITH_ALPHA = {"LA", "PA", "RGBA", "La", "RGBa"}

# Pillow's parsers raise all of these on hostile files.
_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    EOFError,
    OverflowError,
    struct.error,
    zlib.error,
)

Picture = NDArray[Any]


class error(Exception):
    """What OpenCV raises; nothing here does."""


def imdecode(data: Picture, flags: int) -> Picture | None:
    """The picture in the bytes `data`; None when it cannot be decoded."""
    try:
        with Image.open(io.BytesIO(data.tobytes())) as picture:
            picture.load()
            pixels = _pixels(picture)
    except _BROKEN:
        return None
    if pixels.ndim == 2 or flags == IMREAD_UNCHANGED:
        grey = pixels.ndim == 2 and flags != IMREAD_UNCHANGED
        return cvtColor(pixels, COLOR_GRAY2RGB) if grey else _swapped(pixels)
    return np.ascontiguousarray(pixels[..., :3])


def _pixels(picture: Image.Image) -> Picture:
    """Grey, RGB or RGBA; as deep as Pillow reads it."""
    if picture.mode in {*_DEEP, "L", "RGB", "RGBA"}:
        return np.asarray(picture)
    if picture.mode == "1":
        return np.asarray(picture.convert("L"))
    alpha = picture.mode in _WITH_ALPHA or "transparency" in picture.info
    return np.asarray(picture.convert("RGBA" if alpha else "RGB"))


def _swapped(pixels: Picture) -> Picture:
    """Red and blue change places."""
    if pixels.ndim == 2:
        return pixels
    order = [2, 1, 0, *range(3, pixels.shape[2])]
    return np.ascontiguousarray(pixels[..., order])


def imencode(suffix: str, picture: Picture, options: Sequence[int]) -> tuple[bool, Picture]:
    """`picture` (BGR) as `.png` or `.jpg`."""
    image, out = Image.fromarray(_swapped(picture)), io.BytesIO()
    if suffix == ".png":
        image.save(out, "PNG", compress_level=_FAST_PNG)
    else:
        given = dict(zip(options[::2], options[1::2], strict=True))
        image.save(out, "JPEG", quality=given.get(IMWRITE_JPEG_QUALITY, 95))
    return True, np.frombuffer(out.getvalue(), np.uint8)


def cvtColor(picture: Picture, code: int) -> Picture:
    """BGR(A) or grey -> RGB, RGB -> BGR."""
    if code == COLOR_GRAY2RGB:
        grey = picture if picture.ndim == 3 else picture[..., None]
        return np.repeat(grey, 3, axis=2)
    return _swapped(picture[..., :3])


def merge(pictures: Sequence[Picture]) -> Picture:
    """Their channels one after the other."""
    return np.concatenate(pictures, axis=2)


def resize(
    picture: Picture,
    size: tuple[int, int] | None,
    *,
    fx: float = 0,
    fy: float = 0,
    interpolation: int = INTER_AREA,
) -> Picture:
    """`picture` (uint8, three channels) in `size` (width, height), or `fx` and `fy` times as large."""
    height, width = picture.shape[:2]
    across, down = size or (round(width * fx), round(height * fy))
    image = Image.fromarray(picture)
    if interpolation == INTER_CUBIC:
        return np.array(image.resize((across, down), Image.Resampling.BICUBIC))
    if width % across == 0 and height % down == 0:
        return np.array(image.reduce((width // across, height // down)))
    return np.array(image.resize((across, down), Image.Resampling.BOX))


def rectangle(
    picture: Picture, one: tuple[int, int], other: tuple[int, int], colour: Sequence[int], thickness: int
) -> None:
    """Draws its four sides into `picture`, each `thickness` pixels wide."""
    before = thickness // 2
    after = thickness - before
    (left, right), (top, bottom) = (sorted(pair) for pair in zip(one, other, strict=True))
    for x1, x2, y1, y2 in (
        (left, right, top, top),
        (left, right, bottom, bottom),
        (left, left, top, bottom),
        (right, right, top, bottom),
    ):
        rows = slice(max(0, y1 - before), max(0, y2 + after))
        picture[rows, max(0, x1 - before) : max(0, x2 + after)] = colour


def copyMakeBorder(
    picture: Picture, top: int, bottom: int, left: int, right: int, _kind: int, value: Sequence[int]
) -> Picture:
    """`picture` with a border of one colour."""
    height, width, channels = picture.shape
    framed = np.empty((height + top + bottom, width + left + right, channels), picture.dtype)
    framed[:] = value
    framed[top : top + height, left : left + width] = picture
    return framed
