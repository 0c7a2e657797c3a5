"""What many replicas cost: python bench/scale.py [--replicas 10 100 1000] [--seconds 8] [--s3] [--json FILE]

Simulated replicas do what a replica's loop does during a rollout with users: read the journal twice a second,
count requests with the real counters, put a slice of them into the store each second, keep the answers, send
a heartbeat. The real controller reads them, adds them up, freezes and judges. Time is simulated (a second is
as long as its work takes), so a thousand fit on one machine; the store is real: a folder, with --s3 also a
bucket (SeaweedFS) behind two counting proxies, one for the replicas and one for the controller.

Rates hold for default settings (POLL_SECONDS 0.5, SLICE_SECONDS 1, TICK_SECONDS 1); the costs of a tick are
medians. Baseline: one replica, in the same run.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from serinus.bootstrap.edge import new_id
from serinus.control.controller import Controller
from serinus.control.settings import ControllerSettings
from serinus.core.enums import Arm, Stratum
from serinus.core.ids import Digest, Version
from serinus.observe.counters import Counters
from serinus.rollout.events import RolloutStarted, Verified
from serinus.rollout.policy import Policy
from serinus.store import Address, Answered, Replica, Store

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from bench.bucket import METHODS, kind  # noqa: E402
from tests.store.proxy import Proxy  # noqa: E402
from tests.store.s3server import BUCKET, S3Server  # noqa: E402

REQUESTS = 4
"""Of users, to each replica, a second: what a core does with the packaged model at 640 pixels."""
BOXES = 20
LATENCY = 0.1
ANSWER = ("11-50", "no-damage", "")
AT_ONCE = 32
"""Of replicas that ask a bucket together, so that a thousand are through sooner; counts do not change."""
HOUR = 3600


class Clock:
    """Simulated seconds, for everybody."""

    def __init__(self) -> None:
        self.now = float(int(time.time()))  # noqa: TID251 - near the real one, which stamps the files

    def __call__(self) -> float:
        return self.now


class Simulated:
    """One replica, as far as the store sees it."""

    def __init__(self, store: Store, clock: Clock, number: int, loaded: tuple[Digest, ...]) -> None:
        self.name = f"infer-{number:05d}-{new_id()[:12]}"
        self.store, self.clock, self.loaded = store, clock, loaded
        self.counters = Counters(1.0, clock, deadline_seconds=20.0)
        self.keeper = store.predictions.keeper(self.name, most=5000)
        self.coins = np.random.default_rng(number)
        self.slices = 0

    def serve(self, rollout: int, requests: int) -> list[Answered]:
        """Requests that arrive now and are answered at once."""
        answers = []
        for _ in range(requests):
            arm = Arm.CANARY if self.coins.random() < 0.5 else Arm.CURRENT
            ticket = self.counters.arrive(rollout, arm, Stratum.USERS, 0.5)
            assert ticket is not None
            ticket.arrived -= LATENCY * float(self.coins.lognormal(0, 0.2))
            self.counters.succeed(ticket, ANSWER)
            answers.append(answered(self.clock(), self.loaded[0], arm, rollout))
        return answers

    def poll(self, rollout: int, answers: list[Answered]) -> None:
        """Half a second of the replica's loop."""
        seq = self.store.state().seq
        for closed in self.counters.close():
            self.store.put_observation(rollout, self.name, self.slices, closed.slice)
            self.slices += 1
        beat = Replica(
            replica=self.name,
            time=self.clock(),
            seq=seq,
            loaded=self.loaded,
            share=0.5,
            url="http://10.1.2.3:9000",
        )
        self.store.put_replica(beat)
        if answers:
            self.keeper.put(answers, {})


def answered(now: float, digest: Digest, role: Arm, rollout: int) -> Answered:
    side = tuple(float(n) for n in range(BOXES))
    return Answered(
        request_id=new_id(),
        time=now,
        version=Version(1),
        digest=digest,
        role=role,
        rollout=rollout,
        width=1024,
        height=1024,
        boxes=tuple((123.4567 + n, 234.5678, 150.1234 + n, 260.4321) for n in side),
        scores=tuple(0.5 + n / 100 for n in side),
        classes=tuple(int(n) % 4 for n in side),
    )


class NoProbes:
    """Users bring evidence enough here."""

    def aim(self, per_second: float, pairs: Callable[[], Sequence[Any]]) -> None:
        pass

    def close(self) -> None:
        pass


class World:
    """A store with a rollout, replicas that report, and a controller that may lie behind another network."""

    def __init__(self, mine: Store, theirs: Store, clock: Clock, replicas: int) -> None:
        self.store, self.clock = mine, clock
        base = ROOT / "src/serinus/base"
        theirs.publish(base, note="base", actor="bench", initial=True)
        version = theirs.publish(base, note="the same again", actor="bench")
        policy = Policy(window_seconds=1e6)  # nothing is promoted within the measurement
        theirs.append(
            RolloutStarted(rollout=1, version=version, policy=policy), actor="bench", reason="bench"
        )
        theirs.append(Verified(rollout=1, share=0.5), actor="bench", reason="bench")
        state = theirs.state()
        loaded = tuple(record.digest for record in state.versions.values())
        self.replicas = [Simulated(theirs, clock, n, loaded) for n in range(replicas)]
        self.controller = Controller(
            mine,
            ControllerSettings(policy=policy),
            clock=clock,
            prober=NoProbes(),
            notify=lambda _: None,
            monotonic=clock,
        )

    def second(self, pool: ThreadPoolExecutor | None) -> None:
        """What the replicas do in a second."""
        for _ in range(2):
            self.clock.now += 0.5

            def round_of(replica: Simulated) -> None:
                replica.poll(1, replica.serve(1, REQUESTS // 2))

            list(map(round_of, self.replicas) if pool is None else pool.map(round_of, self.replicas))


def written() -> int:
    """Bytes that this process gave to write(2)."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["wchar"])


def ticked(world: World) -> tuple[float, float]:
    """Wall and CPU seconds of one tick. Fails when it was not a judgement."""
    wall, cpu = time.perf_counter(), time.process_time()
    done = world.controller.tick()
    if done.seq < 0 or done.event is not None:
        raise SystemExit(f"The controller did something else: {done.words}")
    return time.perf_counter() - wall, time.process_time() - cpu


def in_a_folder(root: Path, replicas: int, seconds: int) -> dict[str, float]:
    clock = Clock()
    store = Store.open(root / "models", clock=clock, new_id=new_id)
    world = World(store, store, clock, replicas)
    world.second(None)
    ticked(world)
    bytes_replicas = bytes_controller = 0
    ticks: list[tuple[float, float]] = []
    for _ in track(range(seconds), f"{replicas} replicas, a folder", console=Console(stderr=True)):
        before = written()
        world.second(None)
        between = written()
        ticks.append(ticked(world))
        bytes_replicas += between - before
        bytes_controller += written() - between
    started = time.perf_counter()
    store.predictions.find("nobody")
    found = time.perf_counter() - started
    started = time.perf_counter()
    store.replicas()
    heard = time.perf_counter() - started
    world.controller.close()
    return {
        "replicas": replicas,
        "tick_ms": 1000 * statistics.median(wall for wall, _ in ticks),
        "tick_cpu_ms": 1000 * statistics.median(cpu for _, cpu in ticks),
        "heartbeats_ms": 1000 * heard,
        "feedback_ms": 1000 * found,
        "bytes_a_replica": bytes_replicas / seconds / replicas,
        "bytes_controller": bytes_controller / seconds,
    }


def in_a_bucket(root: Path, replicas: int, seconds: int) -> dict[str, Any]:
    clock, server = Clock(), S3Server(root / "s3")
    server.start()
    os.environ.update(server.environment)
    near, far = Proxy(server.port), Proxy(server.port)
    place = Address(f"s3://{BUCKET}/scale", patience=60.0, allow_http=True)

    def opened(name: str, proxy: Proxy) -> Store:
        os.environ["AWS_ENDPOINT_URL"] = proxy.endpoint
        return Store.open(root / name, clock=clock, new_id=new_id, bucket=place)

    try:
        world = World(opened("controller", far), opened("replicas", near), clock, replicas)
        counts = {"replicas": Counter[str](), "controller": Counter[str]()}
        sent = Counter[str]()
        walls = []
        with ThreadPoolExecutor(AT_ONCE) as pool:
            world.second(pool)
            ticked(world)
            for _ in track(range(seconds), f"{replicas} replicas, a bucket", console=Console(stderr=True)):
                for who, proxy, work in (
                    ("replicas", near, lambda: world.second(pool)),
                    ("controller", far, lambda: walls.append(ticked(world)[0])),
                ):
                    start = len(proxy.passed)
                    work()
                    passed = proxy.passed[start:]
                    counts[who].update(kind(one.method, one.path) for one in passed)
                    sent[who] += sum(one.up for one in passed)
        world.controller.close()
    finally:
        server.stop()
    per_hour = {
        who: {method: HOUR * count[method] / seconds for method in METHODS} for who, count in counts.items()
    }
    return {
        "replicas": replicas,
        "tick_ms": 1000 * statistics.median(walls),
        "requests_an_hour": per_hour,
        "bytes_a_second": {who: size / seconds for who, size in sent.items()},
    }


def show(found: dict[str, list[dict[str, Any]]]) -> None:
    console = Console()
    table = Table(title="a folder, during a rollout")
    columns = (
        ("replicas", "replicas", 0),
        ("tick_ms", "a tick, ms", 1),
        ("tick_cpu_ms", "CPU ms", 1),
        ("heartbeats_ms", "heartbeats, ms", 1),
        ("feedback_ms", "one truth, ms", 1),
        ("bytes_a_replica", "bytes/s a replica", 0),
        ("bytes_controller", "bytes/s controller", 0),
    )
    for _, words, _ in columns:
        table.add_column(words, justify="right")
    for row in found["folder"]:
        table.add_row(*(f"{row[name]:,.{digits}f}" for name, _, digits in columns))
    console.print(table)
    if not found["bucket"]:
        return
    table = Table(title="a bucket, during a rollout: requests an hour")
    for words in ("replicas", "who", *METHODS, "bytes/s", "a tick, ms"):
        table.add_column(words, justify="right")
    for row in found["bucket"]:
        for who, count in row["requests_an_hour"].items():
            tick = f"{row['tick_ms']:,.0f}" if who == "controller" else ""
            rates = (f"{count[method]:,.0f}" for method in METHODS)
            table.add_row(str(row["replicas"]), who, *rates, f"{row['bytes_a_second'][who]:,.0f}", tick)
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--replicas", type=int, nargs="+", default=[1, 10, 100, 1000])
    parser.add_argument("--seconds", type=int, default=8, help="simulated seconds of each (default 8)")
    parser.add_argument("--s3", action="store_true", help="count requests to a bucket, too")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    found: dict[str, list[dict[str, Any]]] = {"folder": [], "bucket": []}
    for replicas in asked.replicas:
        with tempfile.TemporaryDirectory() as name:
            found["folder"].append(in_a_folder(Path(name), replicas, asked.seconds))
    for replicas in asked.replicas if asked.s3 else ():
        with tempfile.TemporaryDirectory() as name:
            found["bucket"].append(in_a_bucket(Path(name), replicas, max(2, asked.seconds // 4)))
    show(found)
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
