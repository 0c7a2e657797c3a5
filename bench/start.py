"""What a start of the inference service costs: python bench/start.py [--quick]

A new process and an empty MODEL_DIR: `serinus infer` publishes the packaged base model and serves it. It
is measured how long the first answer of /predict (256 x 256) takes from `exec` on, then, after a rest, the
memory of the idle process and its workers: PSS, so that pages which several of them share count once. The
baseline, in the same run, is what anybody's service must do: import ONNX Runtime and NumPy, load the same
model, run it once. CPU seconds are shown beside the wall clock because other work on the machine does not
lengthen them. `--install` also makes a virtual environment with `serinus[serve]` and says what takes the
room.
"""

import argparse
import http.client
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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parent.parent
MODEL = ROOT / "src/serinus/base/model.onnx"
BOUNDARY = "serinus-bench-boundary"
REST_SECONDS = 5.0
LONGEST_SECONDS = 60.0
SHOWN = 12
BASELINE = f"""
import sys
import numpy as np
import onnxruntime as ort
options = ort.SessionOptions()
options.intra_op_num_threads = 1
session = ort.InferenceSession({str(MODEL)!r}, options, providers=["CPUExecutionProvider"])
session.run(None, {{session.get_inputs()[0].name: np.zeros((1, 256, 256, 6), np.uint8)}})
print("done", flush=True)
sys.stdin.read()
"""


class Start(NamedTuple):
    """One start."""

    seconds: float
    """From `exec` to the first answer."""
    cpu: float
    """Seconds of all its processes up to then."""
    pss: dict[str, float]
    """MB of each process, at rest."""

    @property
    def memory(self) -> float:
        """MB of all of them."""
        return sum(self.pss.values())


def body() -> bytes:
    """A form with two pictures."""
    rng = np.random.default_rng(1)
    parts = []
    for name in ("pre", "post"):
        picture = cv2.imencode(".png", rng.integers(0, 255, (256, 256, 3), np.uint8))[1].tobytes()
        head = f'Content-Disposition: form-data; name="{name}_disaster"; filename="a.png"'
        parts.append(f"--{BOUNDARY}\r\n{head}\r\n\r\n".encode() + picture + b"\r\n")
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def ask(port: int, form: bytes) -> bool:
    """Whether /readyz, which costs nothing, and then /predict answer with 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LONGEST_SECONDS)
    kind = f"multipart/form-data; boundary={BOUNDARY}"
    try:
        connection.request("GET", "/readyz")
        ready = connection.getresponse()
        ready.read()
        if ready.status != 200:
            return False
        connection.request("POST", "/predict?overlay=none", form, {"Content-Type": kind})
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def family(pid: int) -> list[psutil.Process]:
    """The process and all below it."""
    parent = psutil.Process(pid)
    return [parent, *parent.children(recursive=True)]


def cpu_of(pid: int) -> float:
    """Seconds of the process, of what is below it, and of what has ended below it."""
    times = [each.cpu_times() for each in family(pid)]
    first = times[0]
    return sum(t.user + t.system for t in times) + first.children_user + first.children_system


def pss_of(process: psutil.Process) -> float:
    """MB."""
    for line in Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise SystemExit("This kernel tells no PSS.")


def role_of(process: psutil.Process) -> str:
    command = process.cmdline()
    return command[command.index("-m") + 1].rsplit(".", 1)[-1] if "-m" in command else "baseline"


def memory_of(pid: int) -> dict[str, float]:
    return {
        f"{role_of(each)} {number}": round(pss_of(each), 1)
        for number, each in enumerate(family(pid), start=1)
    }


@contextmanager
def ended(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def observe(
    command: list[str], environment: dict[str, str], answered: Callable[[], bool], rest: float
) -> Start:
    """Starts `command`, waits until it has `answered`, then looks at its memory."""
    begun = time.perf_counter()
    process = subprocess.Popen(
        command,
        env=os.environ | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    with ended(process):
        while not answered():
            if process.poll() is not None or time.perf_counter() - begun > LONGEST_SECONDS:
                raise SystemExit(f"{' '.join(command[:4])} gives no answer.")
            time.sleep(0.01)
        seconds, cpu = time.perf_counter() - begun, cpu_of(process.pid)
        time.sleep(rest)
        return Start(round(seconds, 3), round(cpu, 3), memory_of(process.pid))


def serinus(python: str, form: bytes, workers: int, rest: float) -> Start:
    """`serinus infer` on an empty store."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            "MODEL_DIR": f"{folder}/models",
            "DATA_DIR": f"{folder}/data",
            "INFER_PORT": str(port),
            "INFER_WORKERS": str(workers),
        }
        return observe([python, "-m", "serinus", "infer"], environment, lambda: ask(port, form), rest)


def baseline(python: str, rest: float) -> Start:
    """ONNX Runtime and the model, nothing else; it says that it is done by a file."""
    with tempfile.TemporaryDirectory() as folder:
        sign = Path(folder) / "done"
        script = BASELINE.replace('print("done", flush=True)', f"open({str(sign)!r}, 'w').close()")
        return observe([python, "-c", script], {}, sign.exists, rest)


def installed() -> tuple[str, dict[str, float]]:
    """The interpreter of a new environment with `serinus[serve]`, and MB of each package in it."""
    folder = ROOT / "build/bench/install"
    venv.create(folder, with_pip=True, clear=True)
    python = folder / "bin/python"
    constraints = ROOT / "constraints.txt"
    wanted = [f"{ROOT}[serve]", "-c", str(constraints)]
    subprocess.run([python, "-m", "pip", "install", "-q", *wanted], check=True)
    packages = next((folder / "lib").glob("python3*/site-packages"))
    sizes = {path.name: megabytes(path) for path in packages.iterdir() if path.name != "pip"}
    sizes["all"] = megabytes(packages) - megabytes(packages / "pip")
    return str(python), sizes


def megabytes(path: Path) -> float:
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    return round(sum(each.lstat().st_blocks * 512 for each in files) / 1e6, 1)


def summary(starts: list[Start]) -> dict[str, float]:
    """Medians."""
    return {
        "seconds": round(statistics.median(s.seconds for s in starts), 3),
        "cpu_seconds": round(statistics.median(s.cpu for s in starts), 3),
        "pss_mb": round(statistics.median(s.memory for s in starts), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="three starts instead of seven")
    parser.add_argument("--install", action="store_true", help="make a serving install, measure and use it")
    parser.add_argument("--workers", type=int, default=1, help="INFER_WORKERS (default 1)")
    parser.add_argument("--python", default=sys.executable, help="interpreter that starts the service")
    parser.add_argument("--json", type=Path, help="write every figure to this file")
    parser.add_argument("--markdown", action="store_true", help="print tables for docs/benchmarks.md")
    given = parser.parse_args()
    python, sizes = installed() if given.install else (given.python, {})
    form, repeats, rest = body(), 3 if given.quick else 7, 2.0 if given.quick else REST_SECONDS
    ours: list[Start] = []
    base: list[Start] = []
    for _ in range(repeats):
        base.append(baseline(python, rest))
        ours.append(serinus(python, form, given.workers, rest))
    rows = {"baseline": summary(base), "serinus infer": summary(ours)}
    show(rows, ours[-1].pss, sizes, markdown=given.markdown)
    if given.json:
        document = {
            "machine": {
                "cores": os.cpu_count(),
                "python": platform.python_version(),
                "load": os.getloadavg(),
            },
            "starts": {"baseline": [s._asdict() for s in base], "serinus": [s._asdict() for s in ours]},
            "medians": rows,
            "install_mb": sizes,
        }
        given.json.write_text(json.dumps(document, indent=1))


def show(
    rows: dict[str, dict[str, float]], pss: dict[str, float], sizes: dict[str, float], *, markdown: bool
) -> None:
    largest = dict(sorted(sizes.items(), key=lambda item: -item[1])[:SHOWN])
    starts = [(name, *(f"{value:g}" for value in row.values())) for name, row in rows.items()]
    tables = [(("", "first answer, s", "CPU, s", "PSS at rest, MB"), starts)]
    tables.append((("process", "PSS, MB"), [(name, f"{value:g}") for name, value in pss.items()]))
    if largest:
        tables.append((("package", "MB"), [(name, f"{value:g}") for name, value in largest.items()]))
    for head, body_rows in tables:
        if markdown:
            lines = [head, ("---", *["---:"] * (len(head) - 1)), *body_rows]
            sys.stdout.write("\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n\n")
            continue
        table = Table(*head)
        for line in body_rows:
            table.add_row(*line)
        Console().print(table)


if __name__ == "__main__":
    main()
