"""No operation of the store, stopped anywhere in any way, breaks a promise. How: `cuts`."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from tests.store.crash.cuts import Row
from tests.store.crash.operations import OPERATIONS
from tests.store.crash.shim import MODES, run_under

pytestmark = pytest.mark.processes

_SAMPLE = 8


def table(rows: list[Row], stride: int) -> str:
    """Cut points of each operation in each mode."""
    points: Counter[tuple[str, str]] = Counter()
    for row in rows:
        points[row.operation, row.mode] += row.points
    width = max(map(len, OPERATIONS))
    lines = [" " * width + "".join(f"{mode:>14}" for mode in MODES)]
    lines += [
        f"{name:<{width}}" + "".join(f"{points[name, mode]:>14}" for mode in MODES) for name in OPERATIONS
    ]
    total, violated = sum(points.values()), sum(len(row.violated) for row in rows)
    sampled = "all" if stride == 1 else f"a sample: every {stride}th or fewer; `make test-long` takes all"
    return "\n".join([*lines, f"{total} cut points ({sampled}), {violated} violations"])


def run(library: Path, memory: Path, stride: int) -> list[Row]:
    """Two processes, for two cores: each takes every other of the cut points."""

    def half(number: int) -> list[Row]:
        folder = memory / str(number)
        folder.mkdir()
        printed = run_under(library, "tests.store.crash.cuts", folder, stride, number, 2, timeout=3000)
        return msgspec.json.decode(printed, type=list[Row])

    with ThreadPoolExecutor(2) as pool:
        return [row for rows in pool.map(half, range(2)) for row in rows]


def check(library: Path, memory: Path, stride: int, capsys: pytest.CaptureFixture[str]) -> list[Row]:
    rows = run(library, memory, stride)
    with capsys.disabled():
        print(f"\n{table(rows, stride)}")  # noqa: T201 - the number of cut points belongs into the output
    violated = [words for row in rows for words in row.violated]
    assert not violated, "\n".join(violated)
    return rows


@pytest.mark.timeout(600)
def test_a_sample_of_all_cut_points(library: Path, memory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = check(library, memory, _SAMPLE, capsys)
    assert {row.operation for row in rows if row.points > 0} == OPERATIONS.keys()


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_every_cut_point(library: Path, memory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = check(library, memory, 1, capsys)
    assert sum(row.points for row in rows) > 3000
    cut = {(row.operation, row.mode) for row in rows if row.points > 0}
    assert {(name, mode) for name in OPERATIONS for mode in ("kill", "EIO")} <= cut


@pytest.mark.parametrize(
    ("disk", "operation", "mode", "words"),
    [
        ("WritesInPlace", "append", "torn write", "check does not match"),
        ("LinksFirst", "append", "kill", "check does not match"),
        ("MovesFileByFile", "publish", "kill", "manifest.json"),
        ("SwallowsErrors", "append", "ENOSPC once", "confirmed and lost"),
        ("KeepsWhatFailed", "freeze evidence", "full disk", "kept something half-written"),
        ("RemovesFirst", "swap links", "kill", "No such file"),
    ],
)
def test_the_harness_finds_a_broken_disk(
    library: Path, memory: Path, disk: str, operation: str, mode: str, words: str
) -> None:
    printed = run_under(
        library, "tests.store.crash.broken", memory, disk, operation, mode, words, timeout=170
    )
    row = msgspec.json.decode(printed, type=Row)
    assert any(words in found for found in row.violated), row
