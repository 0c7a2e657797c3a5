"""How the store's cost grows with its age: python bench/store.py [--quick] [--json FILE]

Stores of 10, 1,000 and 100,000 events and one of 10,000 versions are made (unsynced, so that this takes
minutes), then measured with syncing on. Each row is a median; the last row is the baseline from the same run:
one file of the same size, linked and synced into an empty folder.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from serinus.artifact.files import sha256_bytes
from serinus.bootstrap.edge import new_id, now
from serinus.control.history import history
from serinus.control.registry import versions
from serinus.core.enums import ReasonCode
from serinus.core.ids import Version
from serinus.rollout.events import Published, RolledBack, RolloutStarted, ShareChanged, Verified
from serinus.rollout.policy import Policy
from serinus.store import Store
from serinus.store.local import Disk


class Unsynced(Disk):
    """Makes big stores in minutes."""

    def sync(self, path: Path) -> None:
        pass


def draft(folder: Path) -> Path:
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"graph")
    (folder / "contract.json").write_text("{}")
    (folder / "metrics.json").write_text('{"map50": 0.8}')
    return folder


def build(root: Path, events: int, count: int, source: Path) -> None:
    """A store with `events` events, of which `count` publish a version and the others belong to rollouts."""
    root.mkdir()
    store = Store.open(root, clock=now, new_id=new_id, disk=Unsynced(root, new_id))
    store.publish(source, note="base", actor="bench", initial=True)
    digest = store.state().versions[Version(1)].digest
    manifest = (store.root / "artifacts" / digest / "manifest.json").read_text()
    for number in range(2, count + 1):
        # Artifacts apart, as in real life; only the manifest is ever read here.
        text = manifest.replace('"note": "base"', f'"note": "{number}"')
        own = sha256_bytes(text.encode())
        (store.root / "artifacts" / own).mkdir()
        (store.root / "artifacts" / own / "manifest.json").write_text(text)
        body = Published(version=Version(number), digest=own, note=f"version {number}")
        store.append(body, actor="bench", reason="published")
    rest = events - store.state().seq
    while rest > 0:
        number = store.state().rollouts + 1
        steps = [
            RolloutStarted(rollout=number, version=Version(2), policy=Policy()),
            Verified(rollout=number, share=0.5),
            *[ShareChanged(rollout=number, share=share / 20) for share in range(1, 18)],
            RolledBack(rollout=number, version=Version(2), code=ReasonCode.MANUAL),
        ]
        for body in steps[: max(rest, 0)]:
            store.append(body, actor="bench", reason="because")
        rest = events - store.state().seq


def median_ms(work: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append((time.perf_counter() - start) * 1000)
    return statistics.median(times)


def measure(root: Path, repeats: int, source: Path) -> dict[str, float]:
    def fresh() -> Store:
        return Store(root, clock=now, new_id=new_id)

    store = fresh()
    state = store.state()
    if state.rollout is None:
        store.append(
            RolloutStarted(rollout=state.rollouts + 1, version=Version(2), policy=Policy()),
            actor="bench",
            reason="because",
        )
        store.append(Verified(rollout=state.rollouts + 1, share=0.5), actor="bench", reason="because")
    number = store.state().rollouts
    steps = iter(range(10**9))

    def append(to: Store) -> None:
        share = (next(steps) % 9 + 1) / 10
        to.append(ShareChanged(rollout=number, share=share), actor="bench", reason="r")

    return {
        "append": median_ms(lambda: append(store), repeats),
        "append, new process": median_ms(lambda: append(fresh()), max(3, repeats // 10)),
        "state, nothing new": median_ms(store.state, repeats),
        "state, new process": median_ms(lambda: fresh().state(), max(3, repeats // 10)),
        "history, last 20": median_ms(lambda: history(store, limit=20), max(3, repeats // 10)),
        "history, all": median_ms(lambda: history(store), 1),
        "versions list": median_ms(lambda: versions(fresh()), 1),
        "publish": median_ms(
            lambda: store.publish(source, note=str(next(steps)), actor="bench"), max(3, repeats // 10)
        ),
    }


def baseline(folder: Path, repeats: int) -> float:
    """link(2) and two fsync(2) of 600 bytes into an empty folder."""
    folder.mkdir()
    (folder / ".tmp").mkdir()
    disk = Disk(folder, new_id)
    names = iter(range(10**9))
    return median_ms(
        lambda: disk.put_if_absent(folder / "empty" / f"{next(names):010d}.json", b"x" * 600), repeats
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="10 and 1,000 events, 200 versions")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--folder", type=Path, help="make the stores here (default: the temporary folder)")
    args = parser.parse_args()
    repeats = 30 if args.quick else 200
    sizes = [(10, 3), (1_000, 20)] + ([(1_000, 200)] if args.quick else [(100_000, 20), (100_000, 10_000)])
    results: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(dir=args.folder, prefix="bench-store-") as folder:
        source = draft(Path(folder) / "draft")
        for events, count in sizes:
            root = Path(folder) / f"{events}-{count}"
            Console(stderr=True).print(f"making {events:,} events, {count:,} versions ...")
            build(root, events, count, source)
            results[f"{events:,} events, {count:,} versions"] = measure(root, repeats, source)
        base = baseline(Path(folder) / "baseline", repeats)
    table = Table(title=f"median ms; baseline (one synced file into an empty folder): {base:.2f} ms")
    table.add_column("")
    for name in results:
        table.add_column(name, justify="right")
    for row in next(iter(results.values())):
        table.add_row(row, *[f"{figures[row]:.2f}" for figures in results.values()])
    Console(width=140).print(table)
    if args.json:
        args.json.write_text(json.dumps({"baseline_ms": base, "median_ms": results}, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
