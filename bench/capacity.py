"""What one core serves, and in how much memory: python bench/capacity.py [--networks n s] [--sizes 256 640]

For each network of the trainer `compact` (its weights are not trained: that changes no time) and each input
size: `serinus infer` on one core, one worker, asked for pairs of 1024 x 1024 as JPEG without an overlay, by
two connections from another core. Requests a second, the median wait, and the memory (PSS) of the service, of
one worker, and of the service with a canary beside: what a pod needs. Baseline: the packaged model at 256.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import psutil
from rich.console import Console
from rich.progress import track
from rich.table import Table
from serving.servers import BASE, PARTS, on, serinus

from serinus.artifact.manifest import Contract

CONNECTIONS = 2
BOUNDARY = "serinus-bench-boundary"


def draft(folder: Path, network: str, size: int) -> Path:
    """A version to publish: `base`, or a network of that size; fed with pictures of `size` pixels."""
    folder.mkdir()
    contract = msgspec.json.decode((BASE / "contract.json").read_bytes(), type=Contract)
    contract = msgspec.structs.replace(contract, size=size)
    (folder / "contract.json").write_bytes(msgspec.json.encode(contract))
    for name in ("lineage.json", "metrics.json"):
        (folder / name).write_bytes((BASE / name).read_bytes())
    if network == "base":
        (folder / "model.onnx").write_bytes((BASE / "model.onnx").read_bytes())
    else:
        from serinus.training.export import export
        from serinus.training.network import WIDTHS, Architecture, CompactNet, Detector
        from serinus.training.trainer import Size

        architecture = Architecture(classes=contract.classes, widths=WIDTHS[Size(network)])
        net = CompactNet(architecture)
        export(Detector(net, contract.max_detections), contract, folder)
    return folder


def body(folder: Path) -> Path:
    rng = np.random.default_rng(1)
    parts = b""
    for name in ("pre_disaster", "post_disaster"):
        ground = cv2.resize(rng.integers(0, 255, (64, 64, 3), np.uint8), (1024, 1024))
        data = cv2.imencode(".jpg", ground, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
        disposition = f'form-data; name="{name}"; filename="{name}.jpg"'
        parts += f"--{BOUNDARY}\r\nContent-Disposition: {disposition}\r\n\r\n".encode() + data + b"\r\n"
    file = folder / "body"
    file.write_bytes(parts + f"--{BOUNDARY}--\r\n".encode())
    return file


def asked(port: int, file: Path, requests: int) -> dict[str, Any]:
    kind = f"multipart/form-data; boundary={BOUNDARY}"
    client = [sys.executable, str(PARTS / "load.py"), str(port), str(file), kind, "/predict?overlay=none"]
    command = [*on([1]), *client, str(CONNECTIONS), str(requests)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def memory(process: psutil.Process) -> tuple[float, float]:
    """MB of the whole family, and of its largest child."""
    children = [child.memory_full_info().pss for child in process.children(recursive=True)]
    return (process.memory_full_info().pss + sum(children)) / 1e6, max(children, default=0) / 1e6


def measure(folder: Path, network: str, size: int, requests: int) -> dict[str, Any]:
    model, file = draft(folder / "draft", network, size), body(folder)
    with serinus([0], model=model) as (port, process):
        asked(port, file, 4)
        found = asked(port, file, requests)
        alone, worker = memory(process)
    with serinus([0], canary=True, model=model) as (port, process):
        asked(port, file, 8)
        both, _ = memory(process)
    return {
        "network": network,
        "size": size,
        "model_mb": (model / "model.onnx").stat().st_size / 1e6,
        "requests_a_second": requests / found["seconds"],
        "median_ms": float(np.median(found["ms"])),
        "memory_mb": alone,
        "worker_mb": worker,
        "with_canary_mb": both,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", default=["n", "s", "m"], choices=["n", "s", "m"])
    parser.add_argument("--sizes", nargs="+", type=int, default=[256, 640, 1024])
    parser.add_argument("--requests", type=int, default=60)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    cells = [("base", 256), *((network, size) for network in given.networks for size in given.sizes)]
    rows = []
    for network, size in track(cells, "Measuring", console=Console(stderr=True)):
        with tempfile.TemporaryDirectory() as name:
            rows.append(measure(Path(name), network, size, given.requests))
    busy = psutil.getloadavg()[0]
    table = Table(
        title=f"one core; {given.requests} requests each; load of the machine at the end {busy:.1f}"
    )
    for words in (
        "network",
        "pixels",
        "file MB",
        "requests/s",
        "median ms",
        "MB",
        "a worker MB",
        "with canary MB",
    ):
        table.add_column(words, justify="right")
    for row in rows:
        digits = (0, 0, 1, 1, 0, 0, 0, 0)
        cells_ = (
            f"{v:,.{d}f}" if not isinstance(v, str) else v for v, d in zip(row.values(), digits, strict=True)
        )
        table.add_row(*cells_)
    Console().print(table)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
