"""What this process and its workers take, and what is left: from the kernel, as it counts."""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_PROC = Path("/proc")
_GROUPS = Path("/sys/fs/cgroup")
_V1_UNLIMITED = 1 << 60
_KB = 1024


class Free(NamedTuple):
    """Bytes that may still be taken, and what sets the bound, in words."""

    size: int
    limit: str


def taken(pid: int) -> int:
    """A process's share of the memory, bytes (proportional set size); 0 when it is gone."""
    with suppress(OSError):
        for line in (_PROC / str(pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * _KB
    return 0


def free(limit: int, pids: Iterable[int], *, groups: Path = _GROUPS, proc: Path = _PROC) -> Free:
    """The tightest of: `limit` bytes for this process and `pids` (0: no such limit), the container, the
    machine."""
    bounds = [Free(_available(proc), "this machine"), *_of_group(groups)]
    if limit:
        used = taken(os.getpid()) + sum(map(taken, pids))
        bounds.append(Free(limit - used, f"INFER_MEMORY_MB is {limit / 1e6:g}"))
    return min(bounds)


def _available(proc: Path) -> int:
    for line in (proc / "meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * _KB
    return _V1_UNLIMITED


def _of_group(groups: Path) -> list[Free]:
    """What the control group leaves; page cache that nobody uses is given back when it is wanted."""
    found = []
    for folder, most, used in (
        (groups, "memory.max", "memory.current"),
        (groups / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        with suppress(OSError, ValueError):  # no such version of groups, or "max"
            limit = int((folder / most).read_text())
            if limit < _V1_UNLIMITED:
                size = limit - int((folder / used).read_text()) + _idle_cache(folder)
                found.append(Free(size, f"the container's limit of {limit / 1e6:.0f} MB"))
    return found


def _idle_cache(folder: Path) -> int:
    for line in (folder / "memory.stat").read_text().splitlines():
        name, _, size = line.partition(" ")
        if name in ("inactive_file", "total_inactive_file"):
            return int(size)
    return 0
