"""Without OpenCV: the same pixels where that is possible, and never an answer that is another picture's."""

import hashlib
import io
import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from serinus.imagery import plain

RNG = np.random.default_rng(5)
SMOOTH = cv2.GaussianBlur(RNG.integers(0, 255, (90, 120, 3), np.uint8), (0, 0), 2)


def written(image: Image.Image, format: str, **options: object) -> NDArray[np.uint8]:
    out = io.BytesIO()
    image.save(out, format, **options)
    return np.frombuffer(out.getvalue(), np.uint8)


@cache
def pictures() -> dict[str, NDArray[np.uint8]]:
    rgb = Image.fromarray(SMOOTH)
    alpha = rgb.copy()
    alpha.putalpha(Image.fromarray(SMOOTH[..., 0]))
    return {
        "png": written(rgb, "PNG"),
        "png alpha": written(alpha, "PNG"),
        "png grey": written(rgb.convert("L"), "PNG"),
        "png palette": written(rgb.quantize(16), "PNG"),
        "png grey 16": cv2.imencode(".png", SMOOTH[..., 0].astype(np.uint16) * 257)[1],
        "jpeg": written(rgb, "JPEG", quality=90),
        "jpeg grey": written(rgb.convert("L"), "JPEG"),
        "tiff": written(rgb, "TIFF"),
        "tiff packed": written(rgb, "TIFF", compression="tiff_deflate"),
        "webp lossless": written(rgb, "WEBP", lossless=True),
    }


@pytest.mark.parametrize("name", list(pictures()))
def test_pictures_have_the_pixels_that_opencv_reads(name: str) -> None:
    data = pictures()[name]
    ours, theirs = (each.imdecode(data, cv2.IMREAD_UNCHANGED) for each in (plain, cv2))
    assert ours is not None
    np.testing.assert_array_equal(ours, theirs)
    assert ours.dtype == theirs.dtype
    straight = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    if "16" not in name and "alpha" not in name:
        np.testing.assert_array_equal(plain.imdecode(data, straight), cv2.imdecode(data, straight))


def test_the_numbers_are_opencvs() -> None:
    names = [name for name in vars(plain) if name.isupper() and not name.startswith("_")]
    assert len(names) > 8
    assert {name: getattr(plain, name) for name in names} == {name: getattr(cv2, name) for name in names}


def test_the_upper_bits_of_deep_colours_are_kept() -> None:
    deep = SMOOTH.astype(np.uint16) * 256 + 77
    found = plain.imdecode(cv2.imencode(".png", deep)[1], cv2.IMREAD_UNCHANGED)
    assert found is not None
    np.testing.assert_array_equal(found, SMOOTH)


@settings(deadline=None)
@given(data=st.binary(max_size=300), name=st.sampled_from(list(pictures())), at=st.integers(0, 200))
def test_damaged_bytes_give_a_picture_or_nothing(data: bytes, name: str, at: int) -> None:
    whole = pictures()[name]
    torn = np.concatenate([whole[:at], np.frombuffer(data, np.uint8), whole[at + len(data) :]])
    found = plain.imdecode(torn, cv2.IMREAD_UNCHANGED)
    assert found is None or found.ndim in (2, 3)


@pytest.mark.parametrize(
    ("size", "most"), [((60, 45), 1), ((40, 30), 1), ((120, 90), 0), ((77, 51), 12), ((100, 80), 12)]
)
def test_scaled_pictures_are_alike(size: tuple[int, int], most: int) -> None:
    ours = plain.resize(SMOOTH, size, interpolation=plain.INTER_AREA).astype(int)
    theirs = cv2.resize(SMOOTH, size, interpolation=cv2.INTER_AREA)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= most
    assert np.abs(ours - theirs).mean() < 2


def test_colours_channels_and_borders_are_opencvs() -> None:
    for code in (cv2.COLOR_BGR2RGB, cv2.COLOR_RGB2BGR):
        np.testing.assert_array_equal(plain.cvtColor(SMOOTH, code), cv2.cvtColor(SMOOTH, code))
    grey, deep = SMOOTH[..., 0], np.dstack([SMOOTH, SMOOTH[..., 0]])
    np.testing.assert_array_equal(
        plain.cvtColor(grey, cv2.COLOR_GRAY2RGB), cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB)
    )
    np.testing.assert_array_equal(
        plain.cvtColor(deep, cv2.COLOR_BGRA2RGB), cv2.cvtColor(deep, cv2.COLOR_BGRA2RGB)
    )
    np.testing.assert_array_equal(plain.merge([SMOOTH, SMOOTH]), cv2.merge([SMOOTH, SMOOTH]))
    frame = (0, 0, 3, 4, cv2.BORDER_CONSTANT)
    np.testing.assert_array_equal(
        plain.copyMakeBorder(SMOOTH, *frame, value=(1, 2, 3)),
        cv2.copyMakeBorder(SMOOTH, *frame, value=(1, 2, 3)),
    )
    for suffix, most in ((".png", 0), (".jpg", 12)):
        back = cv2.imdecode(plain.imencode(suffix, SMOOTH, [cv2.IMWRITE_JPEG_QUALITY, 95])[1], -1)
        assert np.abs(back.astype(int) - SMOOTH).max() <= most
    boxed, wanted = SMOOTH.copy(), SMOOTH.copy()
    plain.rectangle(boxed, (10, 12), (60, 50), (1, 2, 3), 1)
    cv2.rectangle(wanted, (10, 12), (60, 50), (1, 2, 3), 1)
    np.testing.assert_array_equal(boxed, wanted)


WITHOUT = """
import hashlib, json, sys
if "without" in sys.argv:
    sys.modules["cv2"] = None
from pathlib import Path
import numpy as np
import serinus.bootstrap.inference
from serinus.imagery.decode import decode
from serinus.imagery.overlay import overlay
from serinus.imagery.stack import fit
pre, post = (decode(Path(name).read_bytes(), max_pixels=10**8) for name in sys.argv[1:3])
fitted = fit(pre, post, size=60, stride=16)
box = np.array([[5, 5, 30, 30, 0.9, 1]], np.float32)
print(json.dumps({
    "decoded": hashlib.sha256(post.tobytes()).hexdigest(),
    "mean": float(fitted.image.mean()),
    "shape": fitted.image.shape,
    "overlay": len(overlay(post, box, ("a", "b"))) > 1000,
    "opencv": sys.modules.get("cv2") is not None,
}))
"""


def test_a_service_without_opencv_sees_the_same_pictures(tmp_path: Path) -> None:
    names = []
    for name, image in (("pre", SMOOTH), ("post", SMOOTH[::-1])):
        names.append(str(tmp_path / f"{name}.png"))
        (tmp_path / f"{name}.png").write_bytes(cv2.imencode(".png", image)[1].tobytes())
    told = [
        json.loads(
            subprocess.run(
                [sys.executable, "-c", WITHOUT, *names, *more], capture_output=True, text=True, check=True
            ).stdout
        )
        for more in ((), ("without",))
    ]
    assert [each.pop("opencv") for each in told] == [True, False]
    means = [each.pop("mean") for each in told]
    assert abs(means[0] - means[1]) < 0.5
    assert told[0] == told[1]
    assert told[0]["decoded"] == hashlib.sha256(SMOOTH[::-1][..., ::-1].tobytes()).hexdigest()
