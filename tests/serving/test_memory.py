"""What is left, as the kernel counts it: real files of /proc, and files as control groups have them."""

import os
from pathlib import Path

import pytest

from serinus.serving import memory

GB = 1_000_000_000


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9000000 kB\nMemAvailable:    4000000 kB\n")
    return tmp_path / "proc"


def test_this_process_takes_something_and_one_that_is_gone_nothing() -> None:
    assert memory.taken(os.getpid()) > 1_000_000
    assert memory.taken(2**22 + 1) == 0


def test_the_machine_bounds_what_nothing_else_does(tmp_path: Path, proc: Path) -> None:
    found = memory.free(0, [], groups=tmp_path / "none", proc=proc)
    assert found == (4_096_000_000, "this machine")


@pytest.mark.parametrize(
    "names",
    [
        ("memory.max", "memory.current", "inactive_file"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
    ],
    ids=["v2", "v1"],
)
def test_the_containers_limit_counts_without_cache_that_is_given_back(
    tmp_path: Path, proc: Path, names: tuple[str, str, str]
) -> None:
    (tmp_path / "memory").mkdir()
    most, used, cache = names
    (tmp_path / most).write_text(f"{3 * GB}\n")
    (tmp_path / used).write_text(f"{2 * GB}\n")
    (tmp_path / used).with_name("memory.stat").write_text(f"anon 5\n{cache} {GB // 2}\n")
    found = memory.free(0, [], groups=tmp_path, proc=proc)
    assert found == (3 * GB // 2, "the container's limit of 3000 MB")


def test_a_container_without_a_limit_bounds_nothing(tmp_path: Path, proc: Path) -> None:
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.free(0, [], groups=tmp_path, proc=proc).limit == "this machine"


def test_the_setting_bounds_this_process_with_its_workers(tmp_path: Path, proc: Path) -> None:
    alone = memory.free(GB, [], groups=tmp_path, proc=proc)
    both = memory.free(GB, [os.getpid()], groups=tmp_path, proc=proc)
    assert alone.limit == "INFER_MEMORY_MB is 1000"
    assert both.size < alone.size < GB
