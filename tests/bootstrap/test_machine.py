"""What a container's limits make of the machine's cores and memory."""

from pathlib import Path

import pytest

from serinus.bootstrap import machine
from serinus.bootstrap.machine import WORKER_BYTES, Places


def places(root: Path, own: str, files: dict[str, str], memory_kb: int = 32_000_000) -> Places:
    """A kernel's files as they would be."""
    for name, text in files.items():
        (root / "cgroup" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "cgroup" / name).write_text(text + "\n")
    (root / "own").write_text(own)
    (root / "meminfo").write_text(f"MemTotal:       {memory_kb} kB\nMemFree: 1 kB\n")
    return Places(root / "cgroup", root / "own", root / "meminfo")


@pytest.mark.parametrize(
    ("own", "files", "cores"),
    [
        ("0::/\n", {"cpu.max": "max 100000"}, 16),
        ("0::/\n", {"cpu.max": "200000 100000"}, 2),
        ("0::/\n", {"cpu.max": "150000 100000"}, 2),
        ("0::/\n", {"cpu.max": "20000 100000"}, 1),
        ("0::/\n", {}, 16),
        ("0::/pod/box\n", {"pod/cpu.max": "300000 100000", "pod/box/cpu.max": "max 100000"}, 3),
        (
            "4:memory:/box\n2:cpu,cpuacct:/box\n",
            {"cpu/box/cpu.cfs_quota_us": "400000", "cpu/box/cpu.cfs_period_us": "100000"},
            4,
        ),
        (
            "2:cpu:/box\n0::/\n",
            {"cpu/box/cpu.cfs_quota_us": "-1", "cpu/box/cpu.cfs_period_us": "100000"},
            16,
        ),
    ],
)
def test_a_quota_of_processor_time_counts_as_cores(
    tmp_path: Path, own: str, files: dict[str, str], cores: int
) -> None:
    assert machine.cores(places(tmp_path, own, files), affinity=16) == cores


def test_the_least_limit_of_memory_holds(tmp_path: Path) -> None:
    limited = places(
        tmp_path / "a", "0::/pod/box\n", {"pod/memory.max": "1000000000", "pod/box/memory.max": "max"}
    )
    assert machine.memory_bytes(limited) == 1_000_000_000
    old = places(tmp_path / "b", "4:memory:/\n", {"memory/memory.limit_in_bytes": "9223372036854771712"})
    assert machine.memory_bytes(old) == 32_000_000 * 1024


def test_three_versions_must_find_room() -> None:
    assert machine.workers(2, 24 << 30) == 2
    assert machine.workers(64, 24 << 30) == 32
    assert machine.workers(8, 3 * 2 * WORKER_BYTES) == 2
    assert machine.workers(8, 100 << 20) == 1


def test_this_machine_tells_something() -> None:
    assert machine.cores() >= 1
    assert machine.memory_bytes() > 64 << 20
