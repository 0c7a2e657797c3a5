"""From a decision to the last replica that obeys it: python -m bench.obey [--quick] (make bench-obey)

`serinus infer` five times, each with a MODEL_DIR of its own, around one store: a local directory, then a
bucket (SeaweedFS on this machine). No controller runs; the decisions are appended here, one after the other,
at random moments: changes of the canary's share, and rollbacks. Measured is the time from before the append
until `/model-status` of the last replica says so.

The baseline, in the same run and for the same decisions: as many bare readers in this process that look for
the journal's next file as often as a replica does (POLL_SECONDS), and do nothing else. It has the wait for
the next look in it, which is most of the time, and no work.
"""

import argparse
import os
import platform
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
from rich.console import Console
from rich.table import Table
from tests import models
from tests.processes.cluster import Bucket, Cluster
from tests.processes.installation import eventually
from tests.store.s3server import BUCKET, S3Server

from serinus.bootstrap.edge import coin, new_id, now
from serinus.rollout.events import Body, RolledBack, RolloutStarted, ShareChanged, Verified
from serinus.rollout.policy import Policy
from serinus.store import Address, Store

GOAL_SECONDS = 2.0
PATIENCE = 60.0
LOOK_SECONDS = 0.01


class Decision(NamedTuple):
    """Seconds from before the append."""

    append: float
    replicas: list[float]
    readers: list[float]


class Readers:
    """Bare ones: each looks for what comes after the last event that it has seen."""

    def __init__(self, stores: list[Store], poll_seconds: float) -> None:
        self._poll = poll_seconds
        self._stop = threading.Event()
        self.seen = [{} for _ in stores]  # type: list[dict[int, float]]
        self._threads = [
            threading.Thread(target=self._look, args=(store, seen), daemon=True)
            for store, seen in zip(stores, self.seen, strict=True)
        ]
        for thread in self._threads:
            thread.start()

    def _look(self, store: Store, seen: dict[int, float]) -> None:
        while not self._stop.is_set():
            seq = store.state().seq
            seen.setdefault(seq, time.monotonic())
            self._stop.wait(self._poll)

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def until(done: Callable[[], bool]) -> float:
    """When it was so, monotonic seconds."""
    end = time.monotonic() + PATIENCE
    while not done():
        if time.monotonic() > end:
            raise SystemExit("Waited in vain for a replica to obey.")
        time.sleep(LOOK_SECONDS)
    return time.monotonic()


def decide(
    place: Cluster, readers: Readers, body: Body, obeyed: Callable[[dict[str, object]], bool]
) -> Decision:
    """Appends one decision and waits for everybody."""
    clients = [httpx.Client(base_url=each.url, timeout=30) for each in place.running]

    def follows(client: httpx.Client) -> float:
        with client:
            return until(lambda: obeyed(client.get("/model-status").json()))

    with ThreadPoolExecutor(len(clients)) as pool:
        began = time.monotonic()
        event = place.store.append(body, actor="bench", reason="measured")
        appended = time.monotonic()
        replicas = list(pool.map(follows, clients))
    looks = [until(lambda seen=seen: event.seq in seen) and seen[event.seq] for seen in readers.seen]
    return Decision(
        appended - began, [each - began for each in replicas], [max(each, appended) - began for each in looks]
    )


def measure(place: Cluster, readers: Readers, count: int) -> Iterator[tuple[str, Decision]]:
    """Share changes and a rollback in turn; a version that was rolled back starts again."""
    policy = Policy(window_seconds=3600.0)
    version = place.store.publish(models.healthy(place.root / "next", seed=12), note="", actor="bench")
    for turn in range(count):
        number = place.state.rollouts + 1
        place.store.append(
            RolloutStarted(rollout=number, version=version, policy=policy), actor="bench", reason="again"
        )
        place.store.append(Verified(rollout=number, share=0.5), actor="bench", reason="again")
        for each in place.running:
            eventually(lambda one=each: one.status.get("canary_model"), "the canary is loaded")
        share = 0.1 + 0.01 * turn
        time.sleep(coin())
        change = ShareChanged(rollout=number, share=share)
        yield (
            "share",
            decide(place, readers, change, lambda told, share=share: told["rollout"]["share"] == share),
        )  # type: ignore[index]
        time.sleep(coin())
        back = RolledBack(rollout=number, version=version, code="manual")  # type: ignore[arg-type]
        yield "rollback", decide(place, readers, back, lambda told: not told["canary_model"])


@contextmanager
def cluster(
    root: Path, replicas: int, bucket: Bucket | None, poll: float
) -> Iterator[tuple[Cluster, Readers]]:
    place = Cluster(root, replicas, bucket, POLL_SECONDS=str(poll))
    readers = None
    try:
        place.scale(replicas)
        address = None if bucket is None else Address(bucket.url, patience=20.0, allow_http=True)
        stores = [
            Store.open(
                root / (f"reader-{n}" if bucket else "shared"), clock=now, new_id=new_id, bucket=address
            )
            for n in range(replicas)
        ]
        readers = Readers(stores, poll)
        yield place, readers
    finally:
        if readers is not None:
            readers.stop()
        place.down()


def row(name: str, kind: str, found: list[Decision]) -> list[str]:
    last = sorted(max(each.replicas) for each in found)
    bare = sorted(max(each.readers) for each in found)
    return [
        name,
        kind,
        str(len(found)),
        f"{1000 * statistics.median(each.append for each in found):.0f}",
        f"{statistics.median(last):.2f}",
        f"{last[-1]:.2f}",
        f"{statistics.median(bare):.2f}",
        f"{bare[-1]:.2f}",
        "yes" if last[-1] <= GOAL_SECONDS else "NO",
    ]


HEADS = [
    "store",
    "decision",
    "n",
    "append ms",
    "last replica s",
    "worst",
    "last bare reader s",
    "worst",
    "<= 2 s",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="three decisions of each kind")
    parser.add_argument("--count", type=int, default=20, help="decisions of each kind")
    parser.add_argument("--replicas", type=int, default=5)
    parser.add_argument("--poll-seconds", type=float, default=0.5, help="the default of the setting")
    parser.add_argument("--markdown", action="store_true", help="print the table for docs/benchmarks.md")
    given = parser.parse_args()
    count = 3 if given.quick else given.count
    rows: list[list[str]] = []
    with tempfile.TemporaryDirectory(prefix="serinus-obey-") as name:
        root = Path(name)
        server = S3Server(root / "s3")
        server.start()
        os.environ.update(server.environment)
        try:
            for title, bucket in (
                ("directory", None),
                ("bucket (SeaweedFS)", Bucket(f"s3://{BUCKET}/obey", server.port)),
            ):
                folder = root / ("d" if bucket is None else "b")
                folder.mkdir()
                with cluster(folder, given.replicas, bucket, given.poll_seconds) as (place, readers):
                    found = list(measure(place, readers, count))
                for kind in ("share", "rollback"):
                    rows.append(row(title, kind, [each for what, each in found if what == kind]))
        finally:
            server.stop()
    tell(rows, given)


def tell(rows: list[list[str]], given: argparse.Namespace) -> None:
    load = os.getloadavg()[0]
    print_ = Console().print
    if given.markdown:
        lines = [HEADS, ["---", "---", *["---:"] * (len(HEADS) - 2)], *rows]
        print_("\n".join(f"| {' | '.join(line)} |" for line in lines), soft_wrap=True)
    else:
        table = Table(*HEADS)
        for line in rows:
            table.add_row(*line)
        print_(table)
    print_(
        f"{given.replicas} replicas, POLL_SECONDS={given.poll_seconds:g}; {platform.machine()}, "
        f"{os.cpu_count()} cores, Python {platform.python_version()}, load {load:.1f}."
    )


if __name__ == "__main__":
    main()
