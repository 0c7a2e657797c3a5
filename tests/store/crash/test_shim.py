"""The shim keeps its own books right while many threads call it: an operation may read with several."""

import re
from pathlib import Path

import msgspec
import pytest

from tests.store.crash.hammer import Seen
from tests.store.crash.shim import run_under

pytestmark = pytest.mark.processes

_LINE = re.compile(
    r"open\t/\S+\t\d+\t1\t0|write\t\d+\t-1\t6162|close\t\d+|unlink\t/\S+"  # 6162: what was written, in hex
)


def test_threads_neither_break_the_shim_nor_its_count_nor_its_record(library: Path, memory: Path) -> None:
    seen = msgspec.json.decode(run_under(library, "tests.store.crash.hammer", memory, timeout=100), type=Seen)
    assert seen.refused == [1] * 5 + [0], "each call is counted once"
    assert [line for line in seen.recorded if not _LINE.fullmatch(line)] == []
    assert len(seen.recorded) == seen.calls
