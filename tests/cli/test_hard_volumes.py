"""The command line on volumes that are full, read-only, or limited: what reads works, what writes says so."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from serinus.cli.app import run
from serinus.cli.exits import Exit
from serinus.core.enums import VersionState
from serinus.core.ids import Version
from serinus.store import Store
from serinus.store.reserve import BYTES, NAME
from tests.store.drafts import write_draft
from tests.store.hard import fill_up, picture, read_only, volume
from tests.store.whole import fill, open_store

READING = [
    ["versions", "list"],
    ["versions", "show", "1"],
    ["versions", "gc", "--dry-run", "--keep", "0"],
    ["rollout", "status"],
    ["rollout", "history"],
    ["rollout", "explain", "1"],
    ["store", "check"],
    ["feedback", "list"],
    ["golden", "list"],
    ["policy", "list"],
    ["policy", "show", "default", "--history"],
    ["replay", "--rollout", "2", "--policy", "literal"],
]


@pytest.fixture
def whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store on a volume of its own."""
    with volume(tmp_path / "volume", 4) as folder:
        monkeypatch.setenv("MODEL_DIR", str(folder / "models"))
        monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
        yield fill(open_store(folder / "models"), tmp_path / "drafts")


@pytest.mark.parametrize("condition", ["full", "read-only"])
def test_what_only_reads_needs_no_room(
    whole: Store, condition: str, capsys: pytest.CaptureFixture[str]
) -> None:
    volume = whole.root.parent
    (fill_up if condition == "full" else read_only)(volume)
    before = picture(volume)
    for words in READING:
        assert run(words) == Exit.DONE, (words, capsys.readouterr())
        told = capsys.readouterr()
        assert told.out and not told.err.strip(), words
    assert picture(volume) == before, "nothing was written"


def test_reading_makes_no_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODEL_DIR", str(tmp_path / "nothing"))
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    assert run(["versions", "list"]) == Exit.DONE
    assert "No version yet" in capsys.readouterr().out
    assert run(["rollout", "history"]) == Exit.DONE
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize(("condition", "said"), [("full", "volume is full"), ("read-only", "read-only")])
def test_what_writes_says_why_it_cannot(
    whole: Store, tmp_path: Path, condition: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    draft = write_draft(tmp_path / "late", b"late" * 5000)
    policy = tmp_path / "p.json"
    policy.write_text("{}")
    (fill_up if condition == "full" else read_only)(whole.root.parent)
    before = whole.state()
    for words in (
        ["publish", str(draft)],
        ["rollout", "rollback"],
        ["policy", "set", "mine", str(policy)],
    ):
        assert run(words) == Exit.FAILED, words
        told = capsys.readouterr().err
        assert said in told and "then try again" in told, told
    assert open_look(whole.root).state() == before


def open_look(root: Path) -> Store:
    return Store.look(root, clock=lambda: 0.0, new_id=lambda: "x")


def test_gc_is_the_way_out_of_a_full_volume(
    whole: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ballast = fill_up(whole.root.parent)
    assert run(["versions", "gc", "--keep", "0", "--json"]) == Exit.DONE, capsys.readouterr().err
    report = json.loads(capsys.readouterr().out)
    removed = [one["version"] for one in report["versions"] if one["remove"]]
    assert removed == [4] and report["bytes_freed"] > 0
    state = open_look(whole.root).state()
    assert state.versions[Version(4)].state is VersionState.REMOVED
    assert not (whole.root / "artifacts" / state.versions[Version(4)].digest).exists()
    ballast.unlink()
    again = open_store(whole.root)
    assert (again.root / NAME).stat().st_size == BYTES, "room is set aside for the next time"
    assert run(["store", "check"]) == Exit.DONE, capsys.readouterr()
    again.publish(write_draft(tmp_path / "late"), note="", actor="test")


def test_gc_says_when_not_even_its_event_fits(whole: Store, capsys: pytest.CaptureFixture[str]) -> None:
    (whole.root / NAME).unlink()
    ballast = fill_up(whole.root.parent)
    before = open_look(whole.root).state()
    assert run(["versions", "gc", "--keep", "0"]) == Exit.FAILED
    told = capsys.readouterr().err
    assert "volume is full" in told and "used up too" in told and "by hand" in told
    assert open_look(whole.root).state() == before
    ballast.unlink()
    assert run(["versions", "gc", "--keep", "0"]) == Exit.DONE


def test_a_file_size_limit_is_said_in_words(tmp_path: Path) -> None:
    """The limit of `ulimit -f`, in a process of its own."""
    root = tmp_path / "models"
    store = open_store(root)
    store.publish(write_draft(tmp_path / "base"), note="", actor="test", initial=True)
    draft = write_draft(tmp_path / "large", b"x" * 300_000)
    script = (
        "import resource, sys; from serinus.cli.app import run\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)); sys.exit(run(sys.argv[1:]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "publish", str(draft)],
        env={**os.environ, "MODEL_DIR": str(root), "DATA_DIR": str(tmp_path / "data")},
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == Exit.FAILED, done.stderr
    assert "ulimit -f" in done.stderr and "Traceback" not in done.stderr
    assert list(store.state().versions) == [1]
    assert [path for path in root.rglob("*") if path.name.startswith(".tmp-")] == []


def test_a_copy_into_a_full_volume_says_what_helps_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = fill(open_store(tmp_path / "models"), tmp_path / "drafts")
    with volume(tmp_path / "small", 1) as small:
        ballast = fill_up(small)
        for room in (0, 150_000):
            os.truncate(ballast, ballast.stat().st_size - room)
            capsys.readouterr()
            assert run(["store", "copy", str(source.root), str(small / "copy")]) == Exit.FAILED
            told = capsys.readouterr().err
            assert "The volume is full" in told and "run the same command again" in told, told
            assert "gc" not in told and str(small) in told
        ballast.unlink()
        assert run(["store", "copy", str(source.root), str(small / "copy")]) == Exit.DONE
