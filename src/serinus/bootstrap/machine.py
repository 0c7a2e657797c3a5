"""How many cores and how much memory this process may use, and how many workers that makes.

A container's limits are in its cgroup, where neither the number of processors nor the affinity shows them:
`cpu.max` and `memory.max` of version 2 (docs.kernel.org/admin-guide/cgroup-v2.html), `cpu.cfs_quota_us` and
`memory.limit_in_bytes` of version 1; what stands in a group above holds, too.
"""

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

VERSIONS = 3
"""That may be loaded at once: current, a canary, and one that stands by for an undo."""
WORKER_BYTES = 256 << 20
"""Room for a worker: the runtime, a model of a few MB, and what a picture needs in it."""


class Places(NamedTuple):
    """Where the kernel tells it."""

    groups: Path = Path("/sys/fs/cgroup")
    own: Path = Path("/proc/self/cgroup")
    memory: Path = Path("/proc/meminfo")


KERNEL = Places()


def cores(places: Places = KERNEL, *, affinity: int | None = None) -> int:
    """Cores that this process may use, at least 1; a part of one counts as one.

    `affinity`: how many it may run on (default: as the kernel says).
    """
    allowed = len(os.sched_getaffinity(0)) if affinity is None else affinity
    shares = [quota / period for quota, period in _quotas(places) if quota > 0 and period > 0]
    return max(1, min([allowed, *(math.ceil(share) for share in shares)]))


def memory_bytes(places: Places = KERNEL) -> int:
    """Memory that this process may use, bytes: the least of the machine's and its cgroup's limits."""
    known = [limit for limit in _memory_limits(places) if limit > 0]
    for line in _text(places.memory).splitlines():
        if line.startswith("MemTotal:"):
            known.append(int(line.split()[1]) * 1024)
    return min(known, default=VERSIONS * WORKER_BYTES)


def workers(cores: int, memory_bytes: int) -> int:
    """Worker processes for each version: one a core, if three versions find room with as many."""
    return max(1, min(cores, memory_bytes // (VERSIONS * WORKER_BYTES)))


def _quotas(places: Places) -> Iterator[tuple[int, int]]:
    """Microseconds of processor time, and in how many."""
    for folder in _folders(places, "cpu"):
        new = _text(folder / "cpu.max").split()
        if len(new) == 2:
            yield _number(new[0]), _number(new[1])
        yield _number(_text(folder / "cpu.cfs_quota_us")), _number(_text(folder / "cpu.cfs_period_us"))


def _memory_limits(places: Places) -> Iterator[int]:
    for folder in _folders(places, "memory"):
        yield _number(_text(folder / "memory.max"))
        yield _number(_text(folder / "memory.limit_in_bytes"))


def _folders(places: Places, controller: str) -> Iterator[Path]:
    """The process's own group and those above it, for what `controller` limits."""
    for line in _text(places.own).splitlines():
        number, controllers, path = line.split(":", 2)
        if number != "0" and controller not in controllers.split(","):
            continue
        root = places.groups if number == "0" else places.groups / controller
        folder = root / path.lstrip("/")
        yield folder
        yield from (above for above in folder.parents if above == root or root in above.parents)


def _number(text: str) -> int:
    """-1 where there is none (`max`, an empty file)."""
    return int(text) if text.strip().isdecimal() else -1


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
