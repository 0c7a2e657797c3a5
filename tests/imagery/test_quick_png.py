"""Pictures to look at hold the same pixels, whoever writes them."""

import io
import subprocess
import sys

import cv2
import numpy as np
import pytest
from PIL import Image

from serinus.imagery.quick_png import encode_quickly


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 7), (60, 80), (512, 3)])
def test_it_is_a_png_of_the_same_pixels(height, width):
    image = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
    data = encode_quickly(image)
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.format == "PNG"
        assert np.array_equal(np.asarray(picture), image)
    found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert np.array_equal(found, image)


def test_a_part_of_a_picture_is_written_as_it_is():
    image = np.random.default_rng(1).integers(0, 256, (40, 40, 3), np.uint8)[5:30, 7:20]
    found = cv2.imdecode(np.frombuffer(encode_quickly(image), np.uint8), cv2.IMREAD_COLOR_RGB)
    assert np.array_equal(found, image)


def test_without_the_library_opencv_writes():
    program = """
import sys
sys.modules["isal"] = None  # to an import it is then not there
import numpy as np
from serinus.imagery.decode import encode_png
from serinus.imagery.quick_png import encode_quickly
image = np.arange(216, dtype=np.uint8).reshape(8, 9, 3)
assert encode_quickly(image) == encode_png(image)
"""
    subprocess.run([sys.executable, "-c", program], check=True)
