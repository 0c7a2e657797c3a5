"""Pictures from bytes and back: one decoder for training and serving.

The header is read with Pillow, which is lazy, so that format and size are judged before any pixel is
decoded; the pixels are read with OpenCV where it is installed, which is faster and does not saturate 16 bits.
EXIF orientation is ignored everywhere: the labels of a data set are in the coordinates of the stored pixels.
"""

import io
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.JpegImagePlugin import MARKER

from serinus.core.errors import InvalidInput, TooLarge
from serinus.imagery.raster import cv2
from serinus.imagery.stored_png import stored

Data: TypeAlias = bytes | memoryview
"""A picture's file."""
FORMATS = ("PNG", "JPEG", "TIFF", "WEBP")
_STRAIGHT = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
_PNG_RGB8 = (8, 2)
"""Bits of a channel and kind of colour, as a PNG's header has them."""
_FEW_PIECES = 1000
_BYTES_A_PIECE = 1024
"""Encoders make chunks and segments larger than this on average, beyond the first few."""
_ACCEPTED = "Send a PNG, JPEG, TIFF or WebP picture."
_TRUNCATED = "Send the whole file again; it was probably cut off on its way."


class Header(NamedTuple):
    """What a picture's header claims."""

    format: str
    width: int
    height: int


def decode(data: Data, *, max_pixels: int) -> NDArray[np.uint8]:
    """The picture in `data` as RGB uint8, shape [H, W, 3].

    16 bits a channel are scaled to 8, grey becomes RGB, alpha is dropped; of several pages or frames the
    first counts. Raises TooLarge for more than `max_pixels` pixels (nothing is decoded then) and InvalidInput
    for anything that is no whole picture of an accepted format.
    """
    return decode_measured(data, measure(data, max_pixels=max_pixels))


def decode_measured(data: Data, header: Header) -> NDArray[np.uint8]:
    """`decode`, of a picture whose header has been read."""
    name, width, height = header
    if not _is_whole(name, memoryview(data)):
        raise InvalidInput(f"The {name} picture is truncated: its end is missing.", remedy=_TRUNCATED)
    try:
        direct = _is_plain_rgb(name, data)
        data = stored(data) if name == "PNG" else data
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), _STRAIGHT if direct else cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise InvalidInput(f"The {name} picture cannot be decoded.", remedy=_TRUNCATED) from error
    if pixels is None or pixels.shape[:2] != (height, width):
        raise InvalidInput(f"The {name} picture is corrupt: its pixels cannot be decoded.", remedy=_TRUNCATED)
    return np.asarray(pixels, np.uint8) if direct else _rgb8(pixels)


def measure(data: Data, *, max_pixels: int) -> Header:
    """What the header claims, within the limit. Raises like `decode`, as far as the header tells."""
    if not len(data):
        raise InvalidInput("The picture is empty (0 bytes).", remedy=_ACCEPTED)
    header = _header(data)
    if header.width * header.height > max_pixels:
        raise TooLarge(
            f"The picture has {header.width} x {header.height} = "
            f"{header.width * header.height / 1e6:.1f} million pixels; "
            f"the limit is {max_pixels / 1e6:.1f} million.",
            remedy="Cut it into tiles or scale it down.",
        )
    return header


def encode_png(image: NDArray[np.uint8]) -> bytes:
    """`image` (RGB uint8 [H, W, 3]) as PNG. Equal pixels give equal bytes (of one OpenCV version)."""
    # Without options OpenCV takes run-length coding: three times faster than level 1 here, and smaller.
    return _encode(".png", image, [])


def encode_jpeg(image: NDArray[np.uint8], *, quality: int = 90) -> bytes:
    """`image` (RGB uint8 [H, W, 3]) as JPEG."""
    return _encode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])


def _encode(suffix: str, image: NDArray[np.uint8], options: list[int]) -> bytes:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"expected uint8 [H, W, 3], got {image.dtype} {image.shape}")
    _, encoded = cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    return bytes(encoded)


class _Window(io.RawIOBase):
    """`data` as a file; BytesIO would copy all of a view for the few bytes of its header."""

    def __init__(self, data: Data) -> None:
        self._data = memoryview(data)
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self._data[self._at : self._at + len(buffer)]
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: len(self._data)}[whence]
        if base + offset < 0:
            raise ValueError("before the beginning")
        self._at = base + offset
        return self._at


def _check_pieces(data: memoryview) -> None:
    """Raises InvalidInput when the pixels begin behind more chunks, segments or stray bytes than any encoder
    writes: Pillow looks at each of them in Python, and a body full of them would take its thread for long.
    """
    if bytes(data[:8]) == b"\x89PNG\r\n\x1a\n":
        _end(data, _after_chunk, 8)
    elif bytes(data[:2]) == b"\xff\xd8":
        _end(data, _after_segment, 2)


def _end(data: memoryview, step: Callable[[memoryview, int], int | None], at: int) -> int:
    """Where `step` by step from `at` there is no further one."""
    for _ in range(_FEW_PIECES + len(data) // _BYTES_A_PIECE):
        after = step(data, at)
        if after is None:
            return at
        at = after
    raise InvalidInput("The picture is in far too many pieces.", remedy="Save it anew with another program.")


def _after_chunk(data: memoryview, at: int) -> int | None:
    """Where a PNG's next chunk begins; None behind the last one."""
    if at + 12 > len(data) or bytes(data[at + 4 : at + 8]) == b"IEND":
        return None
    return at + 12 + int.from_bytes(data[at : at + 4], "big")


def _after_segment(data: memoryview, at: int) -> int | None:
    """Where Pillow looks next in a JPEG's head; None where the first scan begins."""
    if at + 4 > len(data) or bytes(data[at : at + 2]) == b"\xff\xda":
        return None
    if data[at] != 0xFF or data[at + 1] == 0xFF:
        return at + 1
    name_and_reader = MARKER.get(0xFF00 + data[at + 1])
    if name_and_reader is None or name_and_reader[2] is None:
        return at + 2
    return at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")


def _header(data: Data) -> Header:
    _check_pieces(memoryview(data))
    try:
        with Image.open(io.BufferedReader(_Window(data)), formats=FORMATS) as picture:
            return Header(str(picture.format), picture.width, picture.height)
    except Image.DecompressionBombError as error:
        raise TooLarge("The picture has far too many pixels.", remedy="Cut it into tiles.") from error
    except (
        OSError,
        SyntaxError,
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        EOFError,
        OverflowError,
    ) as error:
        # Pillow's parsers raise all of these on hostile headers; to the caller they are one thing.
        raise InvalidInput("This is not a picture that can be read.", remedy=_ACCEPTED) from error


def _is_whole(name: str, data: memoryview) -> bool:
    """False if the end of the file is missing; OpenCV fills what is missing with grey and says nothing."""
    if name == "PNG":
        return _png_is_whole(data)
    if name in {"JPEG", "MPO"}:
        return _jpeg_is_whole(data)
    if name == "WEBP":
        return int.from_bytes(data[4:8], "little") + 8 <= len(data)
    return True  # a cut TIFF is refused by the decoder


def _png_is_whole(data: memoryview) -> bool:
    """Walks the chunks (length, type, content, checksum) to IEND."""
    at = _end(data, _after_chunk, 8)
    return bytes(data[at + 4 : at + 8]) == b"IEND" and at + 12 <= len(data)


def _jpeg_is_whole(data: memoryview) -> bool:
    """Walks the segments to the first scan; within scans FF D9 is the end of the picture and nothing else."""
    at = _end(data, _after_segment, 2)
    if bytes(data[at : at + 2]) != b"\xff\xda":
        return False
    return bytes(data[-2:]) == b"\xff\xd9" or bytes(data[at:]).find(b"\xff\xd9") >= 0


def _is_plain_rgb(name: str, data: Data) -> bool:
    """Whether OpenCV gives the same pixels when it is asked for RGB at once, which saves a copy."""
    return name == "JPEG" or (name == "PNG" and tuple(data[24:26]) == _PNG_RGB8)


def _rgb8(pixels: NDArray[np.generic]) -> NDArray[np.uint8]:
    """BGR(A) or grey of 8 or 16 bits -> RGB uint8."""
    if pixels.dtype == np.uint16:
        # 65535 -> 255 and 257 k -> k exactly, rounded to nearest between
        eight = ((pixels.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    elif pixels.dtype == np.uint8:
        eight = pixels.astype(np.uint8, copy=False)
    else:
        raise InvalidInput(
            f"The picture holds {pixels.dtype} values; only 8 and 16 bits a channel can be read.",
            remedy="Convert it to 8 bits.",
        )
    channels = 1 if eight.ndim == 2 else eight.shape[2]
    codes = {1: cv2.COLOR_GRAY2RGB, 3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGB}
    if channels not in codes:
        raise InvalidInput(f"The picture has {channels} channels.", remedy="Send grey, RGB or RGBA.")
    return np.asarray(cv2.cvtColor(eight, codes[channels]), np.uint8)
