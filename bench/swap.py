"""What a canary and a swap cost those whom current answers: python -m bench.swap [--quick] (make bench-swap)

`serinus infer` with the base model and users who ask at 40 % of the capacity that is measured first, with
pictures of 256 x 256, whether earlier requests are answered or not: at times drawn as of many users who do
not know of one another (a Poisson process, the same times in each stretch), or with `--even` one after the
other, so that without a canary no two are ever under way. Measured are answers to requests that the coin gave
to current:

- with a canary at half of the traffic that is healthy, loads all the while, hangs on each picture, or
  that crashes on each (until it is given up). The baseline is the same service without a canary, before and
  after each (A/B/A);
- during a promotion, an undo and a rollback: what was asked in the seconds after the event, by whichever
  version answers. The baseline is as many seconds before it.

Shown are medians over repetitions with their range, which for five is a 94 % interval of the median.
"""

import argparse
import asyncio
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import numpy as np
import onnx
from rich.console import Console
from rich.progress import track
from rich.table import Table
from tests.processes import wild
from tests.processes.installation import free_port
from tests.processes.load import Answer, Load, pressed

from serinus.bootstrap.edge import new_id, now
from serinus.control import commands
from serinus.core.ids import Version
from serinus.rollout.events import Promoted, RolledBack, RolloutStarted, Verified
from serinus.rollout.policy import Policy, Rule
from serinus.store import Store

BASE = Path(__file__).parent.parent / "src/serinus/base"
PART = 0.4
CANARIES = {"healthy": "", "loading": "load:100000", "hanging": "hang", "crashing": "segfault"}
SWAPS = ("promotion", "undo", "rollback")
GOALS = {"canary": 1.2, "swap": 1.5}
POLICY = Policy(rule=Rule.COUNTING, window_seconds=3600)
"""No replica takes the traffic of a bad canary away, so that it does all the harm that it can."""
PATIENCE = 120.0


class Waits(NamedTuple):
    """Of one stretch of time: milliseconds that users waited for an answer, and how many got none."""

    p50: float
    p99: float
    requests: int
    failed: int


class Pair(NamedTuple):
    """A stretch, and the baseline that goes with it."""

    before: list[Waits]
    during: Waits

    def ratio(self, of: str) -> float:
        return float(getattr(self.during, of) / statistics.fmean(getattr(waits, of) for waits in self.before))


class Round(NamedTuple):
    """One repetition."""

    rate: float
    """Requests a second."""
    pairs: dict[str, Pair]
    undo_seconds: float | None
    """From the command until the last request was asked that the undone version still answered."""


def waits(answers: list[Answer], lost: int = 0) -> Waits:
    took = sorted(1000 * answer.seconds for answer in answers if answer.status == 200)
    failed = lost + sum(answer.status != 200 for answer in answers)
    if len(took) < 2:
        raise SystemExit("Too few answers to measure: give it more seconds.")
    return Waits(statistics.median(took), took[min(len(took) - 1, int(0.99 * len(took)))], len(took), failed)


class Stage:
    """A running service."""

    def __init__(self, folder: Path, seconds: float, *, even: bool) -> None:
        self.folder, self.seconds, self.even, self.port = folder, seconds, even, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.store = Store.open(folder / "models", clock=now, new_id=new_id)
        self.store.publish(BASE, note="base", actor="bench", initial=True)
        self.rate = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        command = [sys.executable, "-m", "serinus", "infer", "--model-dir", str(self.folder / "models")]
        command += ["--data-dir", str(self.folder / "data"), "--infer-port", str(self.port)]
        path = os.pathsep.join([*wild.ENVIRONMENT.values(), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "PYTHONPATH": path.strip(os.pathsep), "LOAD_TIMEOUT_SECONDS": "3600"}
        with (self.folder / "log").open("wb") as log:
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
            try:
                self.wait(self.is_ready, "serinus infer is ready")
                yield
            finally:
                process.terminate()
                process.wait(PATIENCE)

    def wait(self, done: Callable[[], object], what: str) -> None:
        until = time.monotonic() + PATIENCE
        while not done():
            if time.monotonic() > until:
                log = (self.folder / "log").read_text(errors="replace")
                raise SystemExit(f"Waited in vain until {what}.\n{log[-3000:]}")
            time.sleep(0.05)

    def is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def canary(self) -> int | None:
        status = httpx.get(f"{self.url}/model-status", timeout=60).json()
        return status["canary_version"]["version"] if status["canary_model"] else None

    def publish(self, misdeed: str) -> Version:
        """The base model again; with a misdeed one that the runtime plays."""
        number = self.store.state().next_version
        draft = self.folder / f"draft-{number}"
        shutil.copytree(BASE, draft)
        graph = onnx.load(draft / "model.onnx")
        onnx.helper.set_model_props(graph, {"misdeed": misdeed} if misdeed else {"turn": str(number)})
        (draft / "model.onnx").chmod(0o644)
        onnx.save(graph, draft / "model.onnx")
        return self.store.publish(draft, note=misdeed, actor="bench")

    def start(self, version: Version) -> int:
        rollout = self.store.state().rollouts + 1
        body = RolloutStarted(rollout=rollout, version=version, policy=POLICY)
        self.store.append(body, actor="bench", reason="bench")
        self.store.append(Verified(rollout=rollout, share=0.5), actor="bench", reason="bench")
        return rollout

    def started(self, misdeed: str = "") -> tuple[int, Version]:
        """A canary that is loaded."""
        version = self.publish(misdeed)
        rollout = self.start(version)
        self.wait(lambda: self.canary() == version, f"the canary {version} is loaded")
        return rollout, version

    def roll_back(self, rollout: int, version: Version) -> None:
        body = RolledBack(rollout=rollout, version=version, code="manual")  # type: ignore[arg-type]
        self.store.append(body, actor="bench", reason="bench")
        self.wait(lambda: self.canary() is None, "the canary is gone")
        time.sleep(1.0)  # its workers end

    def pressed(self) -> AbstractContextManager[Load]:
        """Users, at the same times in each stretch."""
        return pressed(
            self.url, self.rate, size=wild.SIZE, chance=None if self.even else np.random.default_rng(1)
        )

    def measure(self) -> Waits:
        with self.pressed() as load:
            time.sleep(self.seconds)
        return waits([answer for answer in load.answers if answer.assigned == "current"], len(load.lost))

    def with_canary(self, misdeed: str) -> Waits:
        if misdeed.startswith("load"):
            version = self.publish(misdeed)
            rollout = self.start(version)
            time.sleep(1.0)
        else:
            rollout, version = self.started(misdeed)
        found = self.measure()
        self.roll_back(rollout, version)
        return found

    def swap(self, act: Callable[[], object]) -> tuple[Pair, Load, float]:
        """What users waited before and after `act`, and when that was (monotonic seconds)."""
        with self.pressed() as load:
            time.sleep(self.seconds)
            at = time.monotonic()
            act()
            time.sleep(self.seconds)
        before = [answer for answer in load.answers if answer.asked < at]
        during = [answer for answer in load.answers if answer.asked >= at]
        return Pair([waits(before)], waits(during, len(load.lost))), load, at


def repetition(seconds: float, canaries: dict[str, str], *, swaps: bool, even: bool) -> Round:
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage(Path(folder), seconds, even=even)
        with stage.running():
            load = Load(stage.url, size=wild.SIZE)
            asyncio.run(load.capacity(8, 2.0))
            stage.rate = PART * asyncio.run(load.capacity(8, max(3.0, seconds / 2)))
            pairs: dict[str, Pair] = {}
            alone = stage.measure()
            for name, misdeed in canaries.items():
                during = stage.with_canary(misdeed)
                again = stage.measure()
                pairs[name] = Pair([alone, again], during)
                alone = again
            if not swaps:
                return Round(stage.rate, pairs, None)
            rollout, version = stage.started()
            promoted = Promoted(rollout=rollout, version=version, code="manual")  # type: ignore[arg-type]
            pairs["promotion"], _, _ = stage.swap(
                lambda: stage.store.append(promoted, actor="bench", reason="bench")
            )
            pairs["undo"], load, at = stage.swap(lambda: commands.undo(stage.store, actor="bench"))
            late = [answer.asked - at for answer in load.answers if answer.version == version]
            rollout, version = stage.started()
            back = RolledBack(rollout=rollout, version=version, code="manual")  # type: ignore[arg-type]
            pairs["rollback"], _, _ = stage.swap(
                lambda: stage.store.append(back, actor="bench", reason="bench")
            )
            return Round(stage.rate, pairs, max(0.0, *late))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="three repetitions of short stretches")
    parser.add_argument("--repeats", type=int, help="repetitions (default 5; 3 with --quick)")
    parser.add_argument("--seconds", type=float, help="length of a stretch (default 15; 5 with --quick)")
    parser.add_argument(
        "--only", nargs="+", choices=CANARIES, metavar="CANARY", help=f"{', '.join(CANARIES)}; no swaps then"
    )
    parser.add_argument("--even", action="store_true", help="users who ask one after the other, evenly")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--markdown", action="store_true", help="print the table for the documents")
    given = parser.parse_args()
    repeats = given.repeats or (3 if given.quick else 5)
    seconds = given.seconds or (5.0 if given.quick else 15.0)
    canaries = {name: CANARIES[name] for name in given.only or CANARIES}
    steps = track(range(repeats), "measuring", console=Console(stderr=True))
    rounds = [repetition(seconds, canaries, swaps=not given.only, even=given.even) for _ in steps]
    if given.markdown:
        print("\n".join(markdown(rounds)))  # noqa: T201
    else:
        show(rounds)
    if given.json:
        figures = document(rounds, seconds) | {"even": given.even}
        given.json.write_text(json.dumps(figures, indent=1) + "\n")


HEAD = (
    "",
    "p50 before, ms",
    "p50, ms",
    "p99 before, ms",
    "p99, ms",
    "ratio p50",
    "ratio p99",
    "goal",
    "failed",
)


def rows(rounds: list[Round]) -> Iterator[tuple[str, ...]]:
    for name in rounds[0].pairs:
        pairs = [one.pairs[name] for one in rounds]
        kind = "swap" if name in SWAPS else "canary"
        before = [waits for pair in pairs for waits in pair.before]
        yield (
            name if kind == "swap" else f"canary {name}",
            f"{statistics.median(one.p50 for one in before):.0f}",
            f"{statistics.median(pair.during.p50 for pair in pairs):.0f}",
            f"{statistics.median(one.p99 for one in before):.0f}",
            f"{statistics.median(pair.during.p99 for pair in pairs):.0f}",
            spread([pair.ratio("p50") for pair in pairs]),
            spread([pair.ratio("p99") for pair in pairs]),
            f"{GOALS[kind]:g}",
            str(sum(waits.failed for pair in pairs for waits in (*pair.before, pair.during))),
        )


def summary(rounds: list[Round]) -> str:
    undone = [one.undo_seconds for one in rounds if one.undo_seconds is not None]
    rate = f"Requests a second: {spread([one.rate for one in rounds])}."
    return f"An undo takes effect after {spread(undone)} s (goal: 2). {rate}" if undone else rate


def show(rounds: list[Round]) -> None:
    table = Table(title="What those whom current answers wait: medians, ratios with their range")
    for column in HEAD:
        table.add_column(column, justify="right" if column else "left")
    for row in rows(rounds):
        table.add_row(*row)
    Console().print(table, summary(rounds))


def markdown(rounds: list[Round]) -> list[str]:
    lines = [HEAD, ("---", *["---:"] * (len(HEAD) - 1)), *rows(rounds)]
    return [*(f"| {' | '.join(line)} |" for line in lines), "", summary(rounds)]


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def document(rounds: list[Round], seconds: float) -> dict[str, object]:
    def figures(name: str) -> dict[str, object]:
        pairs = [one.pairs[name] for one in rounds]
        ratios = {of: sorted(pair.ratio(of) for pair in pairs) for of in ("p50", "p99")}
        return {
            **{f"ratio_{of}": statistics.median(found) for of, found in ratios.items()},
            **{f"interval_{of}": [found[0], found[-1]] for of, found in ratios.items()},
            "before": [[waits._asdict() for waits in pair.before] for pair in pairs],
            "during": [pair.during._asdict() for pair in pairs],
        }

    return {
        "machine": {
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
        },
        "repeats": len(rounds),
        "seconds": seconds,
        "requests_per_second": [one.rate for one in rounds],
        "canary": {name: figures(name) for name in CANARIES if name in rounds[0].pairs},
        "swap": {name: figures(name) for name in SWAPS if name in rounds[0].pairs},
        "undo_seconds": [one.undo_seconds for one in rounds],
    }


if __name__ == "__main__":
    main()
