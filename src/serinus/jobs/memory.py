"""How much memory a new process could have: of the machine, and of the control group that this one is in."""

import re
from pathlib import Path

_ROOT = Path("/")


def free_mb(root: Path = _ROOT) -> int | None:
    """Megabytes; None where nobody says. `root`: of the file system that `/proc` and `/sys` are in."""
    return min((found for found in (_machine(root), _group(root)) if found is not None), default=None)


def _machine(root: Path) -> int | None:
    """`MemAvailable` of Linux: free, and what could be freed without swapping."""
    try:
        text = (root / "proc/meminfo").read_text()
    except OSError:
        return None
    found = re.search(r"^MemAvailable:\s+(\d+) kB$", text, re.MULTILINE)
    return int(found[1]) * 1024 // 1_000_000 if found else None


def _group(root: Path) -> int | None:
    """What the limit of the control group leaves (version 2, or 1); cached files count as free."""
    for folder, limit, used, cached in (
        ("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
        ("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        try:
            most = (root / folder / limit).read_text().strip()
            now = int((root / folder / used).read_text())
            stat = (root / folder / "memory.stat").read_text()
        except (OSError, ValueError):
            continue
        if not most.isdecimal() or int(most) >= 1 << 60:
            return None  # no limit
        again = re.search(rf"^{cached} (\d+)$", stat, re.MULTILINE)
        return (int(most) - now + (int(again[1]) if again else 0)) // 1_000_000
    return None
