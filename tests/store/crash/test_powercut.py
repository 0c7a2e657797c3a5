"""A power cut takes nothing that was confirmed and leaves nothing half. How: `powercut`, `disk_model`."""

from pathlib import Path

import msgspec
import pytest

from tests.store.crash.disk_model import DiskModel
from tests.store.crash.operations import OPERATIONS
from tests.store.crash.powercut import PAIRS, Row
from tests.store.crash.shim import run_under

pytestmark = pytest.mark.processes

_SAMPLE = (
    "publish",
    "promote",
    "swap links",
    "report",
    "collect versions",
    "append + append",
    "append + publish",
    "freeze a first slice + freeze a first slice",
    "add a golden set + add a golden set",
)


def run(library: Path, memory: Path, disk: str, *names: str, until: str = "") -> list[Row]:
    printed = run_under(library, "tests.store.crash.powercut", memory, disk, until, *names, timeout=3000)
    return msgspec.json.decode(printed, type=list[Row])


def check(rows: list[Row], capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print()  # noqa: T201 - the number of states belongs into the output
        for row in rows:
            name = f"{row.after} (killed), {row.operation}" if row.after else row.operation
            print(f"{name:<52}{row.calls:>6} power cuts{row.states:>6} states")  # noqa: T201
    violated = [f"{row.after} {row.operation}, {words}" for row in rows for words in row.violated]
    assert not violated, "\n".join(violated)
    assert all(row.states > 0 for row in rows)


@pytest.mark.timeout(600)
def test_a_power_cut_in_some_operations(
    library: Path, memory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = run(library, memory, "Disk", *_SAMPLE)
    assert len(rows) == len(_SAMPLE)
    check(rows, capsys)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_power_cut_in_every_operation(
    library: Path, memory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = run(library, memory, "Disk")
    assert len(rows) == len(OPERATIONS) + len(PAIRS)
    check(rows, capsys)


@pytest.mark.parametrize(
    ("disk", "operation", "words"),
    [
        ("NoFileSync", "append", "check does not match"),
        ("NoFileSync", "publish", "is another one"),
        ("NoFileSync", "freeze evidence", "JSONDecodeError"),
        ("NoFolderSync", "append", "confirmed and lost"),
        ("NoFolderSync", "publish", "There is no artifact"),
        ("NoFolderSync", "add a golden set", "confirmed and lost"),
        ("TrustsOthers", "freeze a first slice + freeze a first slice", "confirmed and lost"),
        ("TrustsOthers", "add a golden set + add a golden set", "it is the newest edition"),
    ],
)
def test_a_disk_that_forgets_to_sync_is_found(
    library: Path, memory: Path, disk: str, operation: str, words: str
) -> None:
    (row,) = run(library, memory, disk, operation, until=words)
    assert any(words in found for found in row.violated), row


def test_what_the_model_lets_survive(tmp_path: Path) -> None:
    (tmp_path / "journal").mkdir()
    model = DiskModel(tmp_path)
    one, two = tmp_path / "journal" / "1", tmp_path / "journal" / "2"

    def left() -> set[frozenset[tuple[str, object]]]:
        return {frozenset(tree.items()) for tree in model.leftovers()}

    def tree(**files: bytes) -> frozenset[tuple[str, object]]:
        return frozenset({"journal": None, **{f"journal/{n[1:]}": data for n, data in files.items()}}.items())

    assert left() == {tree()}
    model.apply(f"open\t{one}\t5\t1\t0")
    model.apply(f"write\t5\t-1\t{b'ab'.hex()}")
    assert left() == {tree(), tree(_1=b""), tree(_1=b"\0\0"), tree(_1=b"a"), tree(_1=b"ab")}
    model.apply("fsync\t5")
    assert left() == {tree(), tree(_1=b"ab")}, "a file that was synced may have no name"
    model.apply(f"link\t{one}\t{two}")
    assert left() == {tree(), tree(_1=b"ab"), tree(_2=b"ab"), tree(_1=b"ab", _2=b"ab")}, "in no order"
    model.apply(f"open\t{tmp_path / 'journal'}\t6\t0\t0")
    model.apply("fsync\t6")
    assert left() == {tree(_1=b"ab", _2=b"ab")}
    model.apply(f"rename\t{one}\t{two}")
    assert left() == {tree(_1=b"ab", _2=b"ab"), tree(_2=b"ab")}, "a rename is one change"


def test_a_file_that_moved_is_never_lost_by_the_model(tmp_path: Path) -> None:
    for name in ("from", "to"):
        (tmp_path / name).mkdir()
    (tmp_path / "from" / "x").write_bytes(b"ab")
    model = DiskModel(tmp_path)
    model.apply(f"rename\t{tmp_path / 'from' / 'x'}\t{tmp_path / 'to' / 'y'}")
    folders: dict[str, object] = {"from": None, "to": None}
    assert {frozenset(tree.items()) for tree in model.leftovers()} == {
        frozenset({**folders, "from/x": b"ab"}.items()),
        frozenset({**folders, "to/y": b"ab"}.items()),
    }
    model.apply(f"open\t{tmp_path / 'from'}\t6\t0\t0")
    model.apply("fsync\t6")
    assert next(model.leftovers()) == {**folders, "to/y": b"ab"}
