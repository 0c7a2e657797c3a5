"""Real archives in xBD format, made small for tests."""

import gzip
import io
import json
import tarfile
import zipfile
import zlib
from pathlib import Path

import cv2
import numpy as np

from serinus.data.tars import zstd
from serinus.imagery.decode import encode_png

WIDTH, HEIGHT = 64, 48


def picture(seed: int = 0, width: int = WIDTH, height: int = HEIGHT) -> bytes:
    return encode_png(pixels(seed, width, height))


def pixels(seed: int = 0, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 2)


def rectangle(x1: float, y1: float, x2: float, y2: float) -> str:
    return f"POLYGON (({x1} {y1}, {x2} {y1}, {x2} {y2}, {x1} {y2}, {x1} {y1}))"


def building(wkt: str, subtype: str | None = "no-damage", kind: str = "building") -> dict:
    properties = {"feature_type": kind, "uid": "u"}
    if subtype is not None:
        properties["subtype"] = subtype
    return {"properties": properties, "wkt": wkt}


HOUSE = building(rectangle(10, 10, 30, 26))


def label(*features: dict, width: int = WIDTH, height: int = HEIGHT) -> bytes:
    return json.dumps(
        {
            "features": {"lng_lat": [], "xy": list(features)},
            "metadata": {"width": width, "height": height, "sensor": "TEST"},
        }
    ).encode()


def pair(
    tile: int = 1,
    *,
    disaster: str = "quake",
    folder: str = "train/",
    features: tuple[dict, ...] = (HOUSE,),
) -> dict[str, bytes]:
    """The four files of one pair."""
    stem = f"{disaster}_{tile:08d}"
    seed = 2 * tile if disaster == "quake" else 2 * tile + zlib.crc32(disaster.encode())
    return {
        f"{folder}images/{stem}_pre_disaster.png": picture(seed),
        f"{folder}images/{stem}_post_disaster.png": picture(seed + 1),
        f"{folder}labels/{stem}_pre_disaster.json": label(HOUSE),
        f"{folder}labels/{stem}_post_disaster.json": label(*features),
    }


def pairs(count: int, **options) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for tile in range(count):
        files |= pair(tile, **options)
    return files


def name(tile: int, when: str, suffix: str, *, disaster: str = "quake", folder: str = "train/") -> str:
    kind = "labels" if suffix == "json" else "images"
    return f"{folder}{kind}/{disaster}_{tile:08d}_{when}_disaster.{suffix}"


def pack(path: Path, files: dict[str, bytes] | list[tuple[str | zipfile.ZipInfo, bytes]]) -> Path:
    members = files.items() if isinstance(files, dict) else files
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in members:
            archive.writestr(member, content)
    return path


def tar_of(members: list[tuple[str | tarfile.TarInfo, bytes]]) -> bytes:
    """A plain tar. A `TarInfo` is written as it is, whatever it says."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for member, content in members:
            info = member
            if isinstance(info, str):
                info = tarfile.TarInfo(info)
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return data.getvalue()


def pack_tar(path: Path, files: dict[str, bytes]) -> Path:
    """As `pack`, for a name that ends with .tar, .tar.gz or .tar.zst."""
    packers = {".tar": bytes, ".gz": gzip.compress, ".zst": _zst}
    path.write_bytes(packers[path.suffix](tar_of(list(files.items()))))
    return path


def _zst(data: bytes) -> bytes:
    """With a checksum, as the `zstd` program packs."""
    return zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: 1})
