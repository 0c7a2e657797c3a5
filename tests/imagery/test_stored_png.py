"""A PNG with its pixels stored shows the same pixels; one that is not sound stays as it came."""

import io
import subprocess
import sys
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from serinus.imagery.stored_png import stored

SIDE = 160


def picture(mode, side=SIDE, **options):
    """A PNG of about half its pixels' size."""
    rng = np.random.default_rng(1)
    bands = len(Image.new(mode, (1, 1)).getbands())
    pixels = rng.integers(0, 16, (side, side, bands), np.uint8).squeeze()
    if mode == "I;16":
        image = Image.fromarray(rng.integers(0, 4000, (side, side), np.uint16))
    else:
        image = Image.fromarray(pixels, mode)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    return buffer.getvalue()


def pixels_of(data):
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)


def chunks(data):
    """(kind, content) of each."""
    found, at = [], 8
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        found.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    return found


def of_chunks(parts):
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")
        for kind, content in parts
    )


def with_pixels(data, deflated):
    """The PNG with one chunk of these pixels."""
    head, *rest = [part for part in chunks(data) if part[0] != b"IDAT"]
    return of_chunks([head, (b"IDAT", deflated), *rest])


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "I;16"])
def test_the_pixels_are_the_same(mode):
    data = picture(mode, side=400)
    changed = stored(data)
    assert changed != data
    assert np.array_equal(pixels_of(changed), pixels_of(data))
    assert zlib.decompress(dict(chunks(changed))[b"IDAT"]) == zlib.decompress(
        b"".join(content for kind, content in chunks(data) if kind == b"IDAT")
    )


def test_pixels_in_many_chunks_and_other_chunks_are_kept():
    head, *rest = chunks(picture("RGB", transparency=(1, 2, 3)))
    deflated = b"".join(content for kind, content in rest if kind == b"IDAT")
    [transparency] = [part for part in rest if part[0] == b"tRNS"]
    cut = [(b"IDAT", deflated[at : at + 700]) for at in range(0, len(deflated), 700)]
    note = (b"tEXt", b"Comment\0of somebody")
    data = of_chunks([head, note, transparency, *cut, note, (b"IEND", b"")])
    changed = stored(memoryview(data))
    assert [kind for kind, _ in chunks(changed)] == [b"IHDR", b"tEXt", b"tRNS", b"IDAT", b"tEXt", b"IEND"]
    assert np.array_equal(pixels_of(changed), pixels_of(data))


def interlaced():
    head, *rest = chunks(picture("RGB"))
    return of_chunks([(b"IHDR", head[1][:-1] + b"\1"), *rest])


def apart():
    """Pixels in two runs of chunks, which PNG forbids."""
    head, *rest = chunks(picture("RGB"))
    deflated = b"".join(content for kind, content in rest if kind == b"IDAT")
    return of_chunks(
        [head, (b"IDAT", deflated[:900]), (b"tEXt", b"a\0b"), (b"IDAT", deflated[900:]), rest[-1]]
    )


def rows(count, side=SIDE):
    return b"\0" * ((1 + 3 * side) * count)


@pytest.mark.parametrize(
    "data",
    [
        picture("RGB", side=8),
        picture("P", side=400),
        interlaced(),
        apart(),
        with_pixels(picture("RGB"), zlib.compress(rows(SIDE - 1))),
        with_pixels(picture("RGB"), zlib.compress(rows(SIDE + 1))),
        with_pixels(picture("RGB"), zlib.compress(rows(SIDE)) + b"more"),
        with_pixels(picture("RGB"), zlib.compress(rows(SIDE))[:-4] + b"\0\0\0\1"),
        with_pixels(picture("RGB"), b""),
        picture("RGB")[:-20_000],
        b"",
        b"\x89PNG\r\n\x1a\n",
    ],
    ids=[
        "few pixels", "palette", "interlaced", "two runs", "too few rows", "too many rows", "more after them",
        "wrong checksum of pixels", "no pixels", "cut", "empty", "signature only",
    ],
)  # fmt: skip
def test_what_is_not_stored_stays_as_it_came(data):
    assert stored(data) is data


def test_a_bomb_is_inflated_no_further_than_its_header_says():
    """A gigabyte of zeros behind a header of a small picture; the limit of memory would end the process."""
    program = """
import resource, sys, zlib
from tests.imagery.test_stored_png import picture, with_pixels
from serinus.imagery.stored_png import stored
deflate = zlib.compressobj(9)
bomb = b"".join([*(deflate.compress(bytes(1 << 20)) for _ in range(1024)), deflate.flush()])
data = with_pixels(picture("RGB"), bomb)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), resource.RLIM_INFINITY))
assert stored(data) is data
"""
    subprocess.run([sys.executable, "-c", program], check=True)


@given(st.data())
def test_damage_makes_no_difference(data):
    whole = bytearray(picture("RGB"))
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    damaged = bytes(whole)
    if int.from_bytes(damaged[16:20], "big") * int.from_bytes(damaged[20:24], "big") > 1 << 20:
        return  # refused before anything is decoded
    before, after = pixels_of(damaged), pixels_of(stored(damaged))
    assert (before is None) == (after is None)
    assert before is None or np.array_equal(before, after)


@given(st.data())
def test_damaged_pixels_with_a_right_checksum_make_no_difference(data):
    """What a chunk's checksum does not tell, the pixels' own does."""
    source = picture("RGB")
    deflated = bytearray(b"".join(content for kind, content in chunks(source) if kind == b"IDAT"))
    deflated[data.draw(st.integers(0, len(deflated) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    damaged = with_pixels(source, bytes(deflated))
    before, after = pixels_of(damaged), pixels_of(stored(damaged))
    assert (before is None) == (after is None)
    assert before is None or np.array_equal(before, after)


def test_without_the_library_nothing_is_changed():
    program = """
import sys
sys.modules["isal"] = None  # to an import it is then not there
from serinus.imagery.stored_png import stored
from tests.imagery.test_stored_png import picture
data = picture("RGB")
assert stored(data) is data
"""
    subprocess.run([sys.executable, "-c", program], check=True)
