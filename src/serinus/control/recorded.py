"""The golden results that a version brings, read as what a stranger wrote: bounded, nothing unpickled."""

import io
import math
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from serinus.core.errors import ModelFault

GOLDEN_RESULTS = "training/golden.npz"
_MOST_BYTES = 256 << 20
"""Of the file, and of both arrays together, unpacked."""
_REMEDY = "Export it again."


def read(artifact: Path) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """`images` [N, H, W, channels] and `detections` [N, K, columns] of an artifact's folder.

    Raises ModelFault for whatever is wrong with the content, OSError when the file cannot be reached.
    """
    path = artifact / GOLDEN_RESULTS
    if (size := path.stat().st_size) > _MOST_BYTES:
        raise _too_large(size)
    content = io.BytesIO(path.read_bytes())
    try:
        with zipfile.ZipFile(content) as archive:
            members = [archive.getinfo(name) for name in ("images.npy", "detections.npy")]
            if (size := sum(member.file_size for member in members)) > _MOST_BYTES:
                raise _too_large(size)
            images, detections = (_array(archive.read(member)) for member in members)
    except (ModelFault, MemoryError):
        raise
    except Exception as error:
        # The bytes are in memory: what zipfile, zlib or numpy raise now, they raise because of them.
        raise ModelFault(
            f"{GOLDEN_RESULTS} cannot be read: {type(error).__name__}: {error}.", remedy=_REMEDY
        ) from error
    if images.dtype != np.uint8 or images.ndim != 4 or detections.dtype != np.float32 or detections.ndim != 3:
        raise unfit(images, detections)
    return images.astype(np.uint8, copy=False), detections.astype(np.float32, copy=False)


def unfit(images: NDArray[np.generic], detections: NDArray[np.generic]) -> ModelFault:
    """The error for arrays that do not fit the contract."""
    return ModelFault(
        f"{GOLDEN_RESULTS} holds images {images.dtype} {images.shape} and detections "
        f"{detections.dtype} {detections.shape}, which do not fit the contract.",
        remedy=_REMEDY,
    )


def _too_large(size: int) -> ModelFault:
    return ModelFault(
        f"{GOLDEN_RESULTS} takes {size >> 20} MiB; the limit is {_MOST_BYTES >> 20} MiB.",
        remedy="Export it with fewer pictures.",
    )


def _array(data: bytes) -> NDArray[np.generic]:
    """The array of an .npy file. Numpy's own reader allocates what the header claims before it looks."""
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }[version]
    shape, fortran, dtype = read_header(stream)
    rest = memoryview(data)[stream.tell() :]
    if dtype.hasobject or min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(rest):
        raise ValueError(f"{dtype} {shape} is not what follows in the file")
    array: NDArray[np.generic] = np.frombuffer(rest, dtype).reshape(shape, order="F" if fortran else "C")
    return array
