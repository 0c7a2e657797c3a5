"""Pictures from bytes: every accepted format, and everything that is no whole picture."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from serinus.core.errors import InvalidInput, TooLarge
from serinus.imagery.decode import decode, encode_jpeg, encode_png

MANY = 1_000_000


def smooth(height=60, width=80):
    noise = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 3)


def saved(image, format, **options):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP"])
def test_lossless_formats_give_the_same_pixels(format):
    image = smooth()
    options = {"lossless": True} if format == "WEBP" else {}
    assert np.array_equal(decode(saved(image, format, **options), max_pixels=MANY), image)


def test_jpeg_is_close():
    image = smooth()
    found = decode(saved(image, "JPEG", quality=95), max_pixels=MANY)
    assert np.abs(found.astype(int) - image).mean() < 3


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK", "P", "RGBA", "1"])
@pytest.mark.parametrize("format", ["PNG", "JPEG"])
def test_the_way_that_saves_a_copy_gives_the_same_pixels(format, mode):
    image = Image.fromarray(smooth())
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    hole = {"transparency": (1, 2, 3)} if (format, mode) == ("PNG", "RGB") else {}
    try:
        image.convert(mode).save(buffer, format, exif=exif, **hole)
    except (OSError, ValueError):
        pytest.skip(f"Pillow has no {mode} {format}.")
    plain = cv2.imdecode(np.frombuffer(buffer.getvalue(), np.uint8), cv2.IMREAD_UNCHANGED)
    depth = plain.shape[2] if plain.ndim == 3 else 1
    code = {1: cv2.COLOR_GRAY2RGB, 3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGB}[depth]
    assert np.array_equal(decode(buffer.getvalue(), max_pixels=MANY), cv2.cvtColor(plain, code))


def test_png_round_trip_and_equal_bytes():
    image = smooth()
    assert np.array_equal(decode(encode_png(image), max_pixels=MANY), image)
    assert encode_png(image) == encode_png(image.copy())


def test_a_memoryview_is_read_too():
    assert decode(memoryview(encode_png(smooth())), max_pixels=MANY).shape == (60, 80, 3)


def test_grey_becomes_rgb():
    grey = smooth()[..., 0]
    found = decode(saved(grey, "PNG"), max_pixels=MANY)
    assert all(np.array_equal(found[..., channel], grey) for channel in range(3))


def test_alpha_is_dropped_and_hides_nothing():
    image = smooth()
    alpha = np.zeros((*image.shape[:2], 1), np.uint8)
    found = decode(saved(np.concatenate([image, alpha], 2), "PNG"), max_pixels=MANY)
    assert np.array_equal(found, image)


def test_palette_pictures_are_read():
    image = Image.fromarray(smooth()).quantize(16)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    assert np.array_equal(decode(buffer.getvalue(), max_pixels=MANY), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_16_bits_are_scaled_not_cut(suffix):
    image = np.zeros((4, 256, 3), np.uint16)
    image[:] = (np.arange(256, dtype=np.uint16) * 257)[None, :, None]
    found = decode(cv2.imencode(suffix, image)[1].tobytes(), max_pixels=MANY)
    assert found.dtype == np.uint8
    assert np.array_equal(found[0, :, 0], np.arange(256))


def test_float_tiff_is_refused_in_words():
    data = cv2.imencode(".tiff", np.ones((8, 8), np.float32))[1].tobytes()
    with pytest.raises(InvalidInput, match="float32"):
        decode(data, max_pixels=MANY)


def test_exif_orientation_is_ignored():
    image = smooth()
    exif = Image.Exif()
    exif[0x0112] = 6
    for format in ("JPEG", "PNG"):
        assert decode(saved(image, format, exif=exif), max_pixels=MANY).shape == image.shape


@pytest.mark.parametrize("format", ["PNG", "JPEG", "TIFF", "WEBP"])
@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's remarks on cut TIFF directories
def test_truncated_pictures_are_refused_wherever_they_are_cut(format):
    data = saved(smooth(), format)
    for end in (1, 9, 40, len(data) // 3, len(data) // 2, len(data) - 40, len(data) - 3):
        with pytest.raises(InvalidInput):
            decode(data[:end], max_pixels=MANY)


@pytest.mark.parametrize("format", ["PNG", "JPEG"])
def test_a_truncated_picture_is_called_truncated(format):
    data = saved(smooth(), format)
    with pytest.raises(InvalidInput, match="truncated"):
        decode(data[: len(data) * 3 // 4], max_pixels=MANY)


MANY_PIECES = 4000
COMMENT = b"\xff\xfe\0\2"
EMPTY_CHUNK = struct.pack(">I", 0) + b"teSt" + struct.pack(">I", zlib.crc32(b"teSt"))


@pytest.mark.parametrize("pieces", [b"\xff", b"\0", COMMENT, b"\xff\xd0", b"\xff\xf0\0", b"\xff\xe0\0\0"])
def test_a_jpeg_whose_head_has_no_end_is_not_walked_through(pieces):
    whole = saved(smooth(), "JPEG")
    with pytest.raises(InvalidInput, match="too many pieces"):
        decode(whole[:2] + pieces * MANY_PIECES + whole[2:], max_pixels=MANY)


@pytest.mark.parametrize("before", [b"IDAT", b"IEND"])
def test_a_png_of_endless_chunks_is_not_walked_through(before):
    whole = encode_png(smooth())
    at = whole.index(before) - 4
    assert decode(whole[:at] + EMPTY_CHUNK * 3 + whole[at:], max_pixels=MANY).shape == (60, 80, 3)
    with pytest.raises(InvalidInput, match="too many pieces"):
        decode(whole[:at] + EMPTY_CHUNK * MANY_PIECES + whole[at:], max_pixels=MANY)


def test_a_jpeg_with_many_segments_and_fill_bytes_is_read():
    whole = saved(smooth(), "JPEG")
    head = COMMENT * 200 + b"\xff" * 20
    assert np.array_equal(
        decode(whole[:2] + head + whole[2:], max_pixels=MANY), decode(whole, max_pixels=MANY)
    )


def test_a_png_with_a_broken_checksum_is_refused():
    data = bytearray(encode_png(smooth()))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(InvalidInput):
        decode(bytes(data), max_pixels=MANY)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b"%PDF-1.4",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff",
        b"RIFF\0\0\0\0WEBP",
        b"II*\0\xff\xff\xff\xff",
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_is_no_picture_is_refused(data):
    with pytest.raises(InvalidInput):
        decode(data, max_pixels=MANY)


def test_formats_off_the_list_are_refused():
    with pytest.raises(InvalidInput, match="PNG, JPEG"):
        decode(saved(smooth(), "BMP"), max_pixels=MANY)


def test_a_bomb_is_refused_by_its_header_alone():
    def chunk(kind, content):
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", 60_000, 50_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    with pytest.raises(TooLarge):
        decode(bomb, max_pixels=50_000_000)


def test_the_limit_is_the_number_of_pixels():
    data = encode_png(smooth(60, 80))
    assert decode(data, max_pixels=60 * 80).shape == (60, 80, 3)
    with pytest.raises(TooLarge, match="80 x 60"):
        decode(data, max_pixels=60 * 80 - 1)


@given(
    st.binary(max_size=300),
    st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"RIFF", b"II*\0"]),
)
@pytest.mark.filterwarnings("ignore")
def test_no_bytes_whatever_raise_anything_else(data, head):
    try:
        image = decode(head + data, max_pixels=10_000)
    except InvalidInput:
        return
    assert image.dtype == np.uint8


def test_encoders_refuse_what_is_no_rgb():
    for encode in (encode_png, encode_jpeg):
        with pytest.raises(ValueError, match="uint8"):
            encode(np.zeros((4, 4), np.uint8))
