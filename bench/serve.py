"""What serving costs beside the least it can cost, and beside peers: python bench/serve.py [--quick]

Each figure of a server is one of A/B/A: the raw loop (decode, scale, ONNX Runtime; no HTTP, no isolation)
before and after it, in the same run on the same cores. `ratio_cpu` is the loop's CPU time a request over the
server's, its child processes included; `ratio_throughput` the server's requests a second over the loop's.
Shown is the median of the repetitions with their range, which for five is a 94 % interval of the median. The
client is another process and not counted; with one core it has the other one, with two it shares them with
the server and takes some of its throughput.

Peers are installed in environments of their own below build/bench; one that fails is named, and the others
are measured. `prototype` is what this house began as: forms by Starlette, Pillow, a picture by matplotlib.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import httpx
import numpy as np
import psutil
from rich.console import Console
from rich.progress import track
from serving.figures import Cell, Cost, Figure, Load
from serving.noop import write_noop
from serving.report import Report
from serving.servers import BASE, PARTS, PEERS, Failed, cpu_seconds, environment, on, peer, serinus

BOUNDARY = "serinus-bench-boundary"
OURS = {
    "MALLOC_TRIM_THRESHOLD_": str(64 << 20),
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "BENCH_STORED": "1",
}
"""With these glibc keeps freed memory and PNGs are inflated by ISA-L, as in Serinus; the cells `loop` are the
raw loop with them: what is over them is what HTTP, isolation and the rest of the service cost."""
_SLOW = {"prototype": 8}
"""How many times fewer requests show what they cost."""


def pictures(folder: Path) -> None:
    """A pair as PNG (about 2 MB each), as JPEG (about 250 KB), as PNG of 16 x 16 with 2 MB of remarks."""
    rng = np.random.default_rng(1)
    for kind in ("png", "jpeg", "tiny"):
        (folder / kind).mkdir()
    for name in ("pre", "post"):
        ground = cv2.resize(
            rng.integers(0, 255, (64, 64, 3), np.uint8), (1024, 1024), interpolation=cv2.INTER_CUBIC
        )
        picture = np.clip(ground + rng.normal(0, 2, ground.shape), 0, 255).astype(np.uint8)
        (folder / "png" / name).write_bytes(cv2.imencode(".png", picture)[1])
        (folder / "jpeg" / name).write_bytes(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 90])[1])
        small = cv2.imencode(".png", picture[:16, :16])[1].tobytes()
        remark = b"tEXt" + b"Comment\0" + b"x" * 1_900_000
        chunk = (len(remark) - 4).to_bytes(4, "big") + remark + zlib.crc32(remark).to_bytes(4, "big")
        (folder / "tiny" / name).write_bytes(small[:-12] + chunk + small[-12:])
    for kind in ("png", "jpeg", "tiny"):
        body = b"".join(
            b'--%b\r\nContent-Disposition: form-data; name="%b_disaster"; filename="%b.png"\r\n'
            b"Content-Type: image/png\r\n\r\n%b\r\n"
            % (BOUNDARY.encode(), name.encode(), name.encode(), (folder / kind / name).read_bytes())
            for name in ("pre", "post")
        )
        (folder / kind / "body").write_bytes(body + b"--%b--\r\n" % BOUNDARY.encode())


def client_cores(cores: list[int]) -> list[int]:
    """Where the client runs: beside the server where there is a core, else among its cores."""
    return [core for core in range(os.cpu_count() or 1) if core not in cores] or cores


class Bench(NamedTuple):
    """How much is measured, and where."""

    folder: Path
    """With the pictures, and the model that does nothing."""
    cores: list[int]
    repeats: int
    requests: int
    base: Path = BASE
    """The draft of the model that is served, but for the cells with one of their own."""

    def compare(self, subject: str, load: Load) -> Figure:
        """The limit, the server, the limit, the server, ... , the limit. Raises Failed."""
        model = self.base if load.model == "base" else self.folder / load.model
        if subject == "loop":
            limits, loops = [self.limit(load, model)], []
            for _ in range(self.repeats):
                loops.append(self.limit(load, model, **OURS))
                limits.append(self.limit(load, model))
            return Figure(limits, loops)
        place = (
            serinus(self.cores, canary=load.canary, model=model)
            if subject == "serinus"
            else peer(subject, self.cores, model=model)
        )
        with place as (port, process):
            limits, servers = [self.limit(load, model)], []
            for _ in range(self.repeats):
                servers.append(self.ask(port, process, load))
                limits.append(self.limit(load, model))
        return Figure(limits, servers)

    def limit(self, load: Load, model: Path, **extra: str) -> Cost:
        """The raw loop, a thread for each core."""
        loop = [str(PARTS / "raw.py"), str(self.folder / load.pictures), str(len(self.cores))]
        out = subprocess.run(
            [*on(self.cores), sys.executable, *loop, str(self.requests)],
            env=environment(model) | extra,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        cpu, wall = map(float, out.split())
        return Cost(cpu, wall)

    def ask(self, port: int, process: psutil.Process, load: Load) -> Cost:
        """What a request costs a server. Raises Failed."""
        requests = max(self.requests, 4 * load.concurrency)
        self._client(port, load, 2 * load.concurrency)
        before = cpu_seconds(process)
        answered = self._client(port, load, requests)
        cpu = 1000 * (cpu_seconds(process) - before) / requests
        took = sorted(answered["ms"])
        p99 = took[min(len(took) - 1, int(0.99 * len(took)))]
        return Cost(cpu, 1000 * answered["seconds"] / requests, statistics.median(took), p99)

    def _client(self, port: int, load: Load, requests: int) -> dict[str, Any]:
        body = str(self.folder / load.pictures / "body")
        kind, path = f"multipart/form-data; boundary={BOUNDARY}", f"/predict?overlay={load.overlay}"
        command = [sys.executable, str(PARTS / "load.py"), str(port), body, kind, path]
        done = subprocess.run(
            [*on(client_cores(self.cores)), *command, str(load.concurrency), str(requests)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise Failed(f"A request failed: {done.stdout[-500:]} {done.stderr[-500:]}")
        return dict(json.loads(done.stdout))


def cells(counts: list[int], *, quick: bool) -> list[Cell]:
    """What is measured. Beyond the first number of cores only what cores may change."""
    main = [Load("png", 8), Load("jpeg", 8)]
    tiny, drawn, idle = Load("tiny", 8), Load("png", 8, overlay="png"), Load("png", 8, model="noop")
    if quick:
        return [Cell(count, "serinus", load) for count in counts for load in (*main, tiny)]
    more = [Load(kind, c) for kind in ("png", "jpeg") for c in (1, 32)]
    more += [drawn, Load("png", 8, overlay="jpeg"), Load("png", 8, canary=True)]
    noop = [idle, idle._replace(pictures="tiny")]
    first = [("serinus", load) for load in (*main, tiny, *more, *noop)]
    first += [("loop", load) for load in (*main, tiny)]
    first += [(name, load) for name in ("fastapi", *PEERS) for load in (*main, tiny)]
    first += [("fastapi", load) for load in noop] + [("prototype", drawn)]
    later = [("serinus", load) for load in (*main, Load("png", 8, canary=True))]
    later += [(name, main[0]) for name in ("fastapi", *PEERS)]
    return [Cell(n, *each) for n in counts for each in (first if n == counts[0] else later)]


def measured(
    wanted: list[Cell], repeats: int, requests: int, keep: Callable[[Report], None], base: Path
) -> Report:
    """All cells; what fails is noted. `keep` is called after each: a run that is cut short is not lost."""
    figures: dict[Cell, Figure] = {}
    failed: dict[Cell, str] = {}
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pictures(folder)
        write_noop(folder / "noop")
        for cell in track(wanted, "measuring", console=Console(stderr=True)):
            few = max(8, requests // _SLOW.get(cell.who, 1))
            bench = Bench(folder, list(range(cell.cores)), repeats, few, base)
            try:
                figures[cell] = bench.compare(cell.who, cell.load)
            except (Failed, httpx.HTTPError, psutil.Error, subprocess.CalledProcessError) as error:
                failed[cell] = str(error)
            report = Report(figures, failed, repeats, requests, (before, os.getloadavg()[0]))
            keep(report)
    return report


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="concurrency 8 without peers, few requests")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--markdown", type=Path, help="write the tables to this file, or its marked section")
    parser.add_argument("--repeats", type=int, help="A/B/A pairs a cell (default 5; 3 with --quick)")
    parser.add_argument("--requests", type=int, help="requests a cell (default 160; 64 with --quick)")
    parser.add_argument("--cores", type=int, nargs="*", help="numbers of cores (default: 1 2)")
    parser.add_argument("--only", nargs="*", default=[""], help="only cells whose name holds one of these")
    parser.add_argument(
        "--model", type=Path, default=BASE, help="draft of a model instead of the packaged one"
    )
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started ends, too
    most = os.cpu_count() or 1
    counts = [count for count in given.cores or ([1] if given.quick else [1, 2]) if count <= most]
    wanted = [
        cell
        for cell in cells(counts, quick=given.quick)
        if any(part in f"{cell.who}_{cell.name}" for part in given.only)
    ]
    repeats = given.repeats or (3 if given.quick else 5)
    if not wanted:
        parser.error("no cell has such a name")

    for file in filter(None, (given.json, given.markdown)):
        file.parent.mkdir(parents=True, exist_ok=True)

    def keep(report: Report) -> None:
        if given.json:
            given.json.write_text(json.dumps(report.document(), indent=1) + "\n")
        if given.markdown:
            report.write_markdown(given.markdown)

    requests = given.requests or (64 if given.quick else 160)
    report = measured(wanted, repeats, requests, keep, given.model)
    report.show()
    if report.failed:
        sys.exit(1)


if __name__ == "__main__":
    main()
