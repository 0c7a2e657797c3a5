"""The picture that people look at: the post image with boxes, and a legend below it, outside the picture."""

from enum import StrEnum
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from serinus.imagery.decode import encode_jpeg
from serinus.imagery.quick_png import encode_quickly
from serinus.imagery.raster import cv2

Colour = tuple[int, int, int]
"""RGB, 0 to 255."""

COLOURS: tuple[Colour, ...] = ((86, 180, 233), (240, 228, 66), (230, 159, 0), (213, 94, 0), (204, 121, 167))
"""Sky blue, yellow, orange, vermilion, purple of Okabe and Ito (2008): told apart by colour-blind people too.

Here they also darken with the damage, and each class has a mark and a thickness of its own.
"""
MIN_SIDE = 512
"""Pixels of the longest side; smaller pictures are enlarged so that boxes and marks can be read."""
PREVIEW_SIDE = 1024
NOTICE = "Decision support, verify on the ground"
_STRIP: Colour = (18, 22, 28)
_TEXT: Colour = (236, 239, 243)
_QUIET: Colour = (150, 160, 172)
_HALO: Colour = (12, 14, 18)


class OverlayFormat(StrEnum):
    PNG = "png"
    JPEG = "jpeg"


def overlay(
    post: NDArray[np.uint8],
    detections: NDArray[np.float32],
    classes: tuple[str, ...],
    *,
    format: str = OverlayFormat.PNG,
) -> bytes:
    """`post` (RGB uint8 [H, W, 3]) with its detections, as PNG or JPEG.

    `detections`: float32 [K, 6], x1, y1, x2, y2 in pixels of `post`, confidence, class id; rows of confidence
    0 are unused and not drawn. A strip below the picture names each class with its mark and count.
    Raises ValueError for a format that is neither.
    """
    wanted = OverlayFormat(format)
    factor = -(-MIN_SIDE // max(post.shape[:2]))
    picture = post.copy()
    if factor > 1:
        picture = np.asarray(
            cv2.resize(post, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC), np.uint8
        )
    found = detections[detections[:, 4] > 0]
    # The worst last: it must not be hidden.
    for row in found[np.lexsort((found[:, 4], found[:, 5]))]:
        _draw_box(picture, row[:4] * factor, int(row[5]))
    counts = np.bincount(found[:, 5].astype(np.int64), minlength=len(classes))
    strip = _legend(picture.shape[1], classes, counts.tolist())
    if strip.shape[1] > picture.shape[1]:
        missing = strip.shape[1] - picture.shape[1]
        picture = np.asarray(
            cv2.copyMakeBorder(
                picture, 0, 0, missing // 2, missing - missing // 2, cv2.BORDER_CONSTANT, value=_STRIP
            ),
            np.uint8,
        )
    image = np.concatenate([picture, strip])
    return encode_quickly(image) if wanted is OverlayFormat.PNG else encode_jpeg(image)


def preview(
    post: NDArray[np.uint8],
    detections: NDArray[np.float32],
    classes: tuple[str, ...],
    *,
    longest: int = PREVIEW_SIDE,
) -> bytes:
    """`overlay` as JPEG, of a picture that is at most `longest` pixels wide and high."""
    scale = min(1.0, longest / max(post.shape[:2]))
    if scale < 1.0:
        size = (max(1, round(post.shape[1] * scale)), max(1, round(post.shape[0] * scale)))
        post = np.asarray(cv2.resize(post, size, interpolation=cv2.INTER_AREA), np.uint8)
        detections = detections * np.array([scale] * 4 + [1.0, 1.0], np.float32)
    return overlay(post, detections, classes, format=OverlayFormat.JPEG)


def colour_of(label: int) -> Colour:
    return COLOURS[label % len(COLOURS)]


def _draw_box(picture: NDArray[np.uint8], box: NDArray[np.float32], label: int) -> None:
    """A box with a dark halo, so that it shows on light and dark ground; damaged ones carry their mark."""
    longest = max(picture.shape[:2])
    thickness = max(1, round(longest / 700)) + (1 if label else 0)
    x1, y1, x2, y2 = (round(float(value)) for value in box)
    corners = ((x1, y1), (x2, y2))
    cv2.rectangle(picture, *corners, _HALO, thickness + 2)
    cv2.rectangle(picture, *corners, colour_of(label), thickness)
    if label:
        _draw_mark(picture, (x1, y1), label, max(15, round(longest / 54)))


def _draw_mark(picture: NDArray[np.uint8], corner: tuple[int, int], label: int, size: int) -> None:
    """The class's number on a chip that sits on the box's upper left corner, kept inside the picture."""
    chip = _chip(label, size)
    height, width = picture.shape[:2]
    left = min(max(corner[0] - size // 3, 0), max(width - size, 0))
    top = min(max(corner[1] - size + size // 3, 0), max(height - size, 0))
    area = picture[top : top + size, left : left + size]
    area[:] = chip[: area.shape[0], : area.shape[1]]


@cache
def _chip(label: int, size: int) -> NDArray[np.uint8]:
    """A square in the class's colour with its number, uint8 [size, size, 3]."""
    image = Image.new("RGB", (size, size), _HALO)
    draw = ImageDraw.Draw(image)
    draw.rectangle((1, 1, size - 2, size - 2), fill=colour_of(label))
    draw.text((size / 2, size / 2), str(label), font=_font(round(size * 0.78)), fill=_HALO, anchor="mm")
    return np.asarray(image, np.uint8)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _legend(picture_width: int, classes: tuple[str, ...], counts: list[int]) -> NDArray[np.uint8]:
    """The strip: total and notice, then a chip, name and count per class, in as many rows as they need."""
    width = max(picture_width, MIN_SIDE - 128)
    size = min(max(14, round(width / 46)), 30)
    pad, font, small = size, _font(size), _font(round(size * 0.86))
    total, damaged = sum(counts), sum(counts[1:])
    head = f"{total} building{'' if total == 1 else 's'}" if total else "No buildings found"
    if total:
        head += f", {round(100 * damaged / total)} % damaged"
    items = [
        (label, f"{name}  {count}") for label, (name, count) in enumerate(zip(classes, counts, strict=False))
    ]

    places: list[tuple[int, int]] = []
    x, row = pad, 0
    for _, words in items:
        needed = round(size * 1.6 + small.getlength(words))
        if x > pad and x + needed > width - pad:
            x, row = pad, row + 1
        places.append((x, row))
        x += needed + round(size * 0.9)

    line = round(size * 1.7)
    notice_below = font.getlength(head) + small.getlength(NOTICE) + 3 * pad > width
    first = pad + line * (2 if notice_below else 1)
    image = Image.new("RGB", (width, first + line * (row + 1) + pad // 2), _STRIP)
    draw = ImageDraw.Draw(image)
    draw.text((pad, pad + size / 2), head, font=font, fill=_TEXT, anchor="lm")
    if notice_below:
        draw.text((pad, pad + line + size / 2), NOTICE, font=small, fill=_QUIET, anchor="lm")
    else:
        draw.text((width - pad, pad + size / 2), NOTICE, font=small, fill=_QUIET, anchor="rm")
    for (label, words), (x, at) in zip(items, places, strict=True):
        y = first + line * at
        chip = round(size * 1.15)
        image.paste(Image.fromarray(_chip(label, chip)), (x, y))
        fill = _TEXT if counts[label] else _QUIET
        draw.text((x + round(size * 1.6), y + chip / 2), words, font=small, fill=fill, anchor="lm")
    return np.asarray(image, np.uint8)
