"""What an import with its report page costs: memory and time of archives of many pairs, zip and tar.zst.

    make bench-import [BENCH_ARGS="--pairs 500 5000 --large-gb 20 --json FILE"]

`--large-gb` imports a tar of so many gigabytes, too. It takes no room: its pictures are uncompressed TIFFs of
1024 px that are black but for their number, and the file has holes where they are black.

Each import has a process of its own. Flat memory means that ten times the pairs take about the same memory.
The baseline is a process that has loaded the code and done nothing.
"""

import argparse
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np

from serinus.data.tars import zstd
from serinus.imagery.decode import encode_png

BUILDINGS = 39
"""A picture: xBD has 850,736 polygons on 22,068 pictures."""
CHILD = """
import json, pathlib, resource, sys, time
from serinus.data.importing import import_archive
from serinus.data.page import page_file
if len(sys.argv) > 1:
    began = time.perf_counter()
    page_file(import_archive(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), clock=time.time))
    seconds = time.perf_counter() - began
else:
    seconds = 0.0
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"peak_mb": round(peak, 1), "seconds": round(seconds, 1)}))
"""


def members(pairs: int, side: int) -> Iterator[tuple[str, bytes]]:
    """In the order of xBD: all pictures, then all labels."""
    for tile in range(pairs):
        stream = np.random.default_rng(tile)
        for half in ("pre", "post"):
            small = stream.integers(0, 256, (side // 8, side // 8, 3), np.uint8)
            noise = stream.integers(0, 16, (side, side, 3), np.uint8)
            picture = np.repeat(np.repeat(small, 8, 0), 8, 1) ^ noise
            yield f"train/images/bench_{tile:08d}_{half}_disaster.png", encode_png(picture)
    for tile in range(pairs):
        stream = np.random.default_rng(tile)
        for half in ("pre", "post"):
            yield f"train/labels/bench_{tile:08d}_{half}_disaster.json", label(stream, side)


def label(stream: np.random.Generator, side: int) -> bytes:
    features = []
    for number, (x, y) in enumerate(stream.uniform(0, side - 20, (BUILDINGS, 2)).round(2).tolist()):
        wkt = f"POLYGON (({x} {y}, {x + 16} {y}, {x + 16} {y + 12}, {x} {y + 12}, {x} {y}))"
        features.append(
            {
                "properties": {"feature_type": "building", "subtype": "no-damage", "uid": str(number)},
                "wkt": wkt,
            }
        )
    return json.dumps({"features": {"xy": features, "lng_lat": []}, "metadata": {}}).encode()


def pack_zip(path: Path, pairs: int, side: int) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members(pairs, side):
            archive.writestr(name, content)


def pack_tar(path: Path, pairs: int, side: int) -> None:
    with zstd.ZstdFile(path, "w", level=1) as packed, tarfile.open(fileobj=packed, mode="w|") as archive:
        for name, content in members(pairs, side):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, BytesIO(content))


LARGE_SIDE = 1024


def pack_large(path: Path, gigabytes: float) -> int:
    """Writes a tar with holes of about `gigabytes`; gives how many pairs."""
    black = np.zeros((LARGE_SIDE, LARGE_SIDE, 3), np.uint8)
    picture = cv2.imencode(".tif", black, [cv2.IMWRITE_TIFF_COMPRESSION, cv2.IMWRITE_TIFF_COMPRESSION_NONE])[
        1
    ].tobytes()
    hole = bytes(4096)
    start, end = picture.index(hole), picture.rindex(hole) + len(hole)
    pairs = round(gigabytes * 1e9 / (2 * len(picture)))
    with path.open("wb") as file:
        for number in range(2 * pairs):
            half = ("pre", "post")[number % 2]
            _header(file, f"train/images/bench_{number // 2:08d}_{half}_disaster.tif", len(picture))
            file.write(picture[:start] + (number + 1).to_bytes(4, "big"))
            file.seek(end - start - 4, os.SEEK_CUR)
            file.write(picture[end:])
            file.seek(-len(picture) % tarfile.BLOCKSIZE, os.SEEK_CUR)
        for tile in range(pairs):
            content = label(np.random.default_rng(tile), LARGE_SIDE)
            _header(file, f"train/labels/bench_{tile:08d}_post_disaster.json", len(content))
            file.write(content)
            file.seek(-len(content) % tarfile.BLOCKSIZE, os.SEEK_CUR)
        file.write(bytes(tarfile.RECORDSIZE))
    return pairs


def _header(file: BinaryIO, name: str, size: int) -> None:
    info = tarfile.TarInfo(name)
    info.size = size
    file.write(info.tobuf())


FORMS: dict[str, Callable[[Path, int, int], None]] = {"zip": pack_zip, "tar.zst": pack_tar}


def measured(*arguments: str) -> dict[str, float]:
    child = subprocess.run([sys.executable, "-c", CHILD, *arguments], capture_output=True, check=True)
    found: dict[str, float] = json.loads(child.stdout)
    return found


def measure(form: str, pairs: int, side: int, scratch: Path | None) -> dict[str, float]:
    """Peak memory (MB), time (s) and size of the archive (MB) of one import."""
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        archive = Path(folder) / f"bench.{form}"
        FORMS[form](archive, pairs, side)
        size = round(archive.stat().st_size / 1e6)
        return {"archive_mb": size, **measured(str(archive), str(Path(folder) / "datasets"))}


def measure_large(gigabytes: float, scratch: Path | None) -> dict[str, float]:
    """As `measure`, of a tar with holes."""
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        archive = Path(folder) / "bench.tar"
        pairs = pack_large(archive, gigabytes)
        size = round(archive.stat().st_size / 1e6)
        found = measured(str(archive), str(Path(folder) / "datasets"))
        return {"pairs": pairs, "archive_mb": size, **found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, nargs="+", default=[500, 5000])
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--large-gb", type=float, nargs="*", default=[])
    parser.add_argument("--scratch", type=Path, default=None, help="folder for archives and data sets")
    parser.add_argument("--json", type=Path, default=None)
    given = parser.parse_args()
    rows = [{"form": "nothing", "pairs": 0, "archive_mb": 0, **measured()}]
    for form in FORMS:
        for pairs in given.pairs:
            rows.append({"form": form, "pairs": pairs, **measure(form, pairs, given.side, given.scratch)})
    for gigabytes in given.large_gb:
        rows.append({"form": "tar", **measure_large(gigabytes, given.scratch)})
    for row in rows:
        sys.stdout.write(
            "{form:8} {pairs:6} pairs {archive_mb:6} MB  peak {peak_mb:7} MB  {seconds:6} s\n".format(**row)
        )
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
