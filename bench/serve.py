"""What serving costs beside the least it can cost, and beside peers: python bench/serve.py [--quick]

Each figure of a server is one of A/B/A: the raw loop (decode, scale, ONNX Runtime; no HTTP, no isolation)
before and after it, in the same run on the same cores. `ratio_cpu` is the loop's CPU time a request over the
server's, its child processes included; `ratio_throughput` the server's requests a second over the loop's.
Shown is the median of the repetitions with their range, which for five is a 94 % interval of the median. The
client is another process and not counted; with one core it has the other one, with two it shares them with
the server and takes some of its throughput.

Peers are installed in environments of their own below build/bench.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import venv
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import httpx
import numpy as np
import psutil
from rich.console import Console
from rich.progress import track
from rich.table import Table

from serinus.artifact.files import sha256_file
from serinus.bootstrap.edge import new_id, now
from serinus.rollout.events import RolloutStarted, Verified
from serinus.rollout.policy import Policy
from serinus.store import Store

ROOT = Path(__file__).parent.parent
PARTS = Path(__file__).parent / "serving"
MODEL = ROOT / "src/serinus/base/model.onnx"
BUILD = ROOT / "build/bench"
BOUNDARY = "serinus-bench-boundary"
PEERS = {
    "granian": ["granian==2.8.9"],
    "litserve": ["litserve==0.2.19", "python-multipart"],
    "bentoml": ["bentoml==1.4.40"],
}
SHARED = ["numpy", "onnxruntime", "opencv-python-headless"]


class Load(NamedTuple):
    """What is asked for."""

    pictures: str
    """`png`, `jpeg` or `tiny` (a few pixels in a body as long as png's)."""
    concurrency: int
    overlay: str = "none"
    canary: bool = False

    @property
    def name(self) -> str:
        overlay = "no_overlay" if self.overlay == "none" else f"{self.overlay}_overlay"
        return f"{self.pictures}_c{self.concurrency}_{overlay}{'_canary' if self.canary else ''}"


class Cost(NamedTuple):
    """Of one request."""

    cpu: float
    """Milliseconds of all its processes."""
    wall: float
    """Milliseconds between two answers: 1000 / (requests a second)."""
    p50: float = 0.0
    p99: float = 0.0


class Figure(NamedTuple):
    """One A/B/A repeated."""

    limit: list[Cost]
    server: list[Cost]

    def ratios(self, of: str) -> list[float]:
        """The limit's over the server's, by repetition."""
        around = [
            (getattr(a, of) + getattr(b, of)) / 2
            for a, b in zip(self.limit[:-1], self.limit[1:], strict=True)
        ]
        return [a / getattr(b, of) for a, b in zip(around, self.server, strict=True)]


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


def limit(pair: Path, cores: list[int], requests: int) -> Cost:
    """The raw loop, a thread for each core."""
    out = subprocess.run(
        [*on(cores), sys.executable, str(PARTS / "raw.py"), str(pair), str(len(cores)), str(requests)],
        env=environment(),
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    cpu, wall = map(float, out.split())
    return Cost(cpu, wall)


def on(cores: list[int]) -> list[str]:
    """Puts a command on these cores."""
    return ["taskset", "-c", ",".join(map(str, cores))]


def environment() -> dict[str, str]:
    return os.environ | {"BENCH_MODEL": str(MODEL), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(PARTS)}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(command: list[str], port: int, cores: list[int], **extra: str) -> Iterator[psutil.Process]:
    """A server and its children on `cores`, from its first answer on."""
    log = tempfile.TemporaryFile()  # noqa: SIM115
    process = subprocess.Popen(
        [*on(cores), *command],
        cwd=PARTS,
        env=environment() | extra,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    try:
        until = time.monotonic() + 120
        while True:
            try:
                httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=5).read()
                break
            except httpx.TransportError:
                if process.poll() is not None or time.monotonic() > until:
                    log.seek(0)
                    raise SystemExit(f"{command[0]} does not start:\n{log.read().decode()[-4000:]}") from None
                time.sleep(0.1)
        yield psutil.Process(process.pid)
    finally:
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        process.terminate()
        _, alive = psutil.wait_procs(family, timeout=15)
        for each in alive:
            each.kill()
        log.close()


@contextmanager
def serinus(cores: list[int], *, canary: bool = False, **extra: str) -> Iterator[tuple[int, psutil.Process]]:
    """`serinus infer` with the base model, and a copy of it as canary at half of the traffic."""
    with tempfile.TemporaryDirectory() as folder:
        root, port = Path(folder) / "models", free_port()
        root.mkdir()
        store = Store.open(root, clock=now, new_id=new_id)
        base = ROOT / "src/serinus/base"
        store.publish(base, note="base", actor="bench", initial=True)
        if canary:
            second = store.publish(base, note="the same again", actor="bench")
            policy = Policy(window_seconds=3600)
            store.append(
                RolloutStarted(rollout=1, version=second, policy=policy), actor="bench", reason="bench"
            )
            store.append(Verified(rollout=1, share=0.5), actor="bench", reason="bench")
        command = [sys.executable, "-m", "serinus", "infer", "--model-dir", str(root)]
        command += ["--data-dir", str(Path(folder) / "data"), "--infer-port", str(port)]
        with running(command, port, cores, WORKERS=str(len(cores)), **extra) as process:
            until = time.monotonic() + 120
            while not _serves(port, canary):
                if time.monotonic() > until:
                    raise SystemExit("serinus infer does not get ready.")
                time.sleep(0.2)
            yield port, process


def _serves(port: int, canary: bool) -> bool:
    if httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=5).status_code != 200:
        return False
    status = httpx.get(f"http://127.0.0.1:{port}/model-status", timeout=5).json()
    return not canary or status["canary"]["loaded"]


@contextmanager
def peer(name: str, cores: list[int]) -> Iterator[tuple[int, psutil.Process]]:
    """A peer in its own environment."""
    port, python = free_port(), _environment_of(name)
    command = [str(python), f"{name}_app.py", str(port), str(len(cores))]
    if name == "bentoml":
        command = [str(python.parent / "bentoml"), "serve", "bentoml_app:Damage", "--port", str(port)]
        command += ["--host", "127.0.0.1"]
    with running(command, port, cores, BENCH_THREADS=str(len(cores)), BENTOML_DO_NOT_TRACK="1") as process:
        yield port, process


def _environment_of(name: str) -> Path:
    """The interpreter of a peer's environment; FastAPI is ours already."""
    if name == "fastapi":
        return Path(sys.executable)
    folder = BUILD / name
    python = folder / "bin/python"
    pinned = [f"{each}=={importlib.metadata.version(each)}" for each in SHARED]
    if not (folder / ".ready").exists():
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *PEERS[name], *pinned], check=True)
        (folder / ".ready").touch()
    return python


def cpu_seconds(process: psutil.Process) -> float:
    """Of a process and all below it."""
    total = 0.0
    for each in [process, *process.children(recursive=True)]:
        times = each.cpu_times()
        total += times.user + times.system
    return total


def client_cores(cores: list[int]) -> list[int]:
    """Where the client runs: beside the server where there is a core, else among its cores."""
    return [core for core in range(os.cpu_count() or 1) if core not in cores] or cores


class Bench(NamedTuple):
    """How much is measured, and where."""

    folder: Path
    """With the pictures."""
    cores: list[int]
    repeats: int
    requests: int

    def compare(self, subject: str, load: Load) -> Figure:
        """The limit, the server, the limit, the server, ... , the limit."""
        pair = self.folder / load.pictures
        place = serinus(self.cores, canary=load.canary) if subject == "serinus" else peer(subject, self.cores)
        with place as (port, process):
            limits, servers = [limit(pair, self.cores, self.requests)], []
            for _ in range(self.repeats):
                servers.append(self.ask(port, process, load))
                limits.append(limit(pair, self.cores, self.requests))
        return Figure(limits, servers)

    def ask(self, port: int, process: psutil.Process, load: Load) -> Cost:
        """What a request costs a server."""
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
            raise SystemExit(f"A request failed: {done.stdout[-500:]} {done.stderr[-500:]}")
        return dict(json.loads(done.stdout))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="concurrency 8 without peers, few requests")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--repeats", type=int, help="A/B/A pairs a cell (default 5; 3 with --quick)")
    parser.add_argument("--requests", type=int, help="requests a cell (default 160; 64 with --quick)")
    parser.add_argument("--cores", type=int, nargs="*", help="numbers of cores (default: 1 2)")
    parser.add_argument("--only", help="only cells whose name holds this")
    given = parser.parse_args()
    repeats = given.repeats or (3 if given.quick else 5)
    requests = given.requests or (64 if given.quick else 160)
    most = os.cpu_count() or 1
    counts = [count for count in given.cores or ([1] if given.quick else [1, 2]) if count <= most]

    loads = [Load("png", 8), Load("jpeg", 8), Load("tiny", 8)]
    cells = [("serinus", load) for load in loads]
    if not given.quick:
        more = [Load(kind, c) for kind in ("png", "jpeg") for c in (1, 32)]
        more += [Load("png", 8, overlay="png"), Load("png", 8, overlay="jpeg"), Load("png", 8, canary=True)]
        cells += [("serinus", load) for load in more]
        cells += [(name, load) for name in ("fastapi", *PEERS) for load in loads]
    cells = [(who, load) for who, load in cells if not given.only or given.only in f"{who}_{load.name}"]

    results: dict[tuple[int, str, Load], Figure] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pictures(folder)
        work = [(count, *cell) for count in counts for cell in cells]
        for count, who, load in track(work, "measuring", console=Console(stderr=True)):
            bench = Bench(folder, list(range(count)), repeats, requests)
            results[count, who, load] = bench.compare(who, load)
    show(results)
    if given.json:
        given.json.write_text(json.dumps(document(results, repeats, requests), indent=1) + "\n")


def show(results: dict[tuple[int, str, Load], Figure]) -> None:
    for count in sorted({key[0] for key in results}):
        table = Table(title=f"{count} core{'s' * (count > 1)}: medians, ratios with their range")
        for column in (
            "",
            "limit CPU ms",
            "CPU ms",
            "over the limit",
            "ratio CPU",
            "ratio throughput",
            "p50 ms",
            "p99 ms",
        ):
            table.add_column(column, justify="right" if column else "left")
        for (cores, who, load), figure in results.items():
            if cores != count:
                continue
            loop = statistics.median(cost.cpu for cost in figure.limit)
            mine = statistics.median(cost.cpu for cost in figure.server)
            table.add_row(
                f"{who} {load.name}",
                f"{loop:.1f}",
                f"{mine:.1f}",
                f"{mine - loop:+.1f}",
                spread(figure.ratios("cpu")),
                spread(figure.ratios("wall")),
                f"{statistics.median(cost.p50 for cost in figure.server):.0f}",
                f"{statistics.median(cost.p99 for cost in figure.server):.0f}",
            )
        Console().print(table)


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.3f} ({min(values):.3f}-{max(values):.3f})"


def document(results: dict[tuple[int, str, Load], Figure], repeats: int, requests: int) -> dict[str, object]:
    """`ratio_cpu` and `ratio_throughput` by cell: on one core under the plain name, on more with `_2cores`;
    peers' names go before theirs."""

    def named(of: str) -> dict[str, float]:
        return {name: statistics.median(figure.ratios(of)) for name, figure in cells.items()}

    cells = {
        ("" if who == "serinus" else f"{who}_") + load.name + ("" if count == 1 else f"_{count}cores"): figure
        for (count, who, load), figure in results.items()
    }
    versions = {name: importlib.metadata.version(name) for name in (*SHARED, "fastapi", "uvicorn", "serinus")}
    return {
        "machine": {
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
        },
        "versions": versions | {"model_sha256": sha256_file(MODEL)},
        "repeats": repeats,
        "requests": requests,
        "ratio_cpu": named("cpu"),
        "ratio_throughput": named("wall"),
        "interval_cpu": {name: sorted(f.ratios("cpu"))[:: max(1, repeats - 1)] for name, f in cells.items()},
        "interval_throughput": {
            name: sorted(f.ratios("wall"))[:: max(1, repeats - 1)] for name, f in cells.items()
        },
        "limit": {name: [cost._asdict() for cost in figure.limit] for name, figure in cells.items()},
        "server": {name: [cost._asdict() for cost in figure.server] for name, figure in cells.items()},
    }


if __name__ == "__main__":
    main()
