"""`serinus store` as scripts meet it: JSON, exit codes, and what a person reads."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from serinus.cli.app import run
from serinus.cli.exits import Exit
from serinus.store import Pair, Store
from serinus.store.folder import Folder
from serinus.store.local import Disk
from serinus.store.unfinished import Told, mark
from tests.store.drafts import new_id, write_draft
from tests.store.test_checking import flip
from tests.store.whole import fill, judged, open_store


@pytest.fixture
def whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("MODEL_DIR", str(tmp_path / "models"))
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    return fill(open_store(tmp_path / "models"), tmp_path / "drafts")


def said(capsys: pytest.CaptureFixture[str], *words: str, code: int = Exit.DONE) -> Any:
    assert run(["store", *words, "-o", "json"]) == code, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def test_from_damage_to_repair(whole: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    backup = tmp_path / "backup"
    report = said(capsys, "check")
    assert (report["findings"], report["errors"], report["warnings"]) == ([], 0, 0)
    assert "nothing is wrong" in report["summary"]
    would = said(capsys, "copy", str(whole.root), str(backup), "--dry-run")
    assert would["copied"]["dry_run"] and would["check"] is None and not backup.exists()
    made = said(capsys, "copy", str(whole.root), f"file://{backup}")
    assert made["copied"]["events"] == whole.state().seq == would["copied"]["events"]
    assert made["check"]["errors"] == 0 and (backup / "current" / "model.onnx").exists()

    model = whole.root / "artifacts" / whole.state().versions[2].digest / "model.onnx"  # type: ignore[index]
    flip(model)
    (whole.root / "current").unlink()
    report = said(capsys, "check", code=Exit.FAILED)
    assert [(one["severity"], one["kind"], one["name"], one["repaired"]) for one in report["findings"]] == [
        ("error", "changed", str(model), False),
        ("warning", "view", str(whole.root / "current"), False),
    ]
    report = said(capsys, "check", "--repair", code=Exit.FAILED)
    assert (report["errors"], report["repaired"]) == (1, 1), "no other place has the file"
    assert run(["store", "check", "--repair", "--from", str(backup)]) == Exit.DONE
    told = "".join(capsys.readouterr().out.split())
    assert "model.onnx" in told and "repaired" in told
    assert said(capsys, "check")["findings"] == []


@pytest.mark.parametrize("words", [["versions", "list"], ["rollout", "status"]])
def test_a_loss_is_said_to_who_looks(
    whole: Store, words: list[str], capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """First the newest event, then all of them."""
    end = whole.state().seq
    (whole.root / "journal" / f"{end:010d}.json").unlink()
    assert run(words) == Exit.DONE
    capsys.readouterr()
    assert f"The journal ends with event {end - 1}, but" in caplog.text
    assert "Remove it" not in caplog.text
    caplog.clear()
    for path in (whole.root / "journal").glob("*.json"):
        path.unlink()
    assert run(words) == Exit.DONE
    told = capsys.readouterr().out
    assert "the journal is lost" in told and "No version yet" not in told
    assert "The journal ends with event 0, but" in caplog.text


def test_a_loss_is_accepted_by_hand(whole: Store, capsys: pytest.CaptureFixture[str]) -> None:
    end = whole.state().seq
    (whole.root / "journal" / f"{end:010d}.json").unlink()
    report = said(capsys, "check", code=Exit.FAILED)
    assert [one["kind"] for one in report["findings"] if one["severity"] == "error"] == ["lost"]
    assert run(["versions", "gc", "--keep", "1"]) == Exit.FAILED
    assert "accept-loss" in capsys.readouterr().err
    assert run(["store", "accept-loss"]) == Exit.USAGE, "it takes a reason"
    capsys.readouterr()
    done = said(capsys, "accept-loss", "--reason", "the disk broke, no backup")
    assert (done["first"], done["events"][0]["body"]["kind"]) == (end, "lost")
    assert done["events"][0]["reason"] == "the disk broke, no backup"
    assert said(capsys, "check")["errors"] == 0
    assert run(["rollout", "history"]) == Exit.DONE
    assert "lost" in capsys.readouterr().out
    assert run(["store", "accept-loss", "--reason", "again"]) == Exit.USAGE


def test_refusals(whole: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("dear")
    nothing = str(tmp_path / "nothing")
    for words in (
        ["store", "copy", nothing, str(tmp_path / "x")],
        ["store", "copy", str(whole.root), str(tmp_path / "home")],
        ["store", "copy", "ftp://x/y", str(tmp_path / "x")],
        ["store", "check", "--model-dir", nothing],
        ["store", "check", "--from", nothing],
    ):
        assert run(words) == Exit.USAGE, words
        told = capsys.readouterr()
        assert told.err and not told.out and "Traceback" not in told.err, words
    assert not Path(nothing).exists() and not (tmp_path / "x").exists()
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["letter.txt"]


def test_a_source_inside_its_target(whole: Store, capsys: pytest.CaptureFixture[str]) -> None:
    for target in (whole.root, whole.root / "backup"):
        assert run(["store", "copy", str(whole.root), str(target)]) == Exit.USAGE
        assert "same place" in capsys.readouterr().err


def test_a_conflict_is_named_and_nothing_is_overwritten(
    whole: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backup = tmp_path / "backup"
    said(capsys, "copy", str(whole.root), str(backup))
    there = open_store(backup)
    there.feedback.put(judged(there, "r-2", time=9.0), None)
    report = said(capsys, "copy", str(whole.root), str(backup), code=Exit.FAILED)
    assert report["copied"]["left_out"] == [] and report["check"]["errors"] == 0
    (words,) = report["copied"]["conflicts"]
    assert str(backup / "feedback") in words
    assert run(["store", "copy", str(whole.root), str(backup)]) == Exit.FAILED
    assert "Not overwritten" in capsys.readouterr().out


def test_export_leaves_out_what_is_damaged_and_names_it(
    whole: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = tmp_path / "judged.zip"
    whole.feedback.put(judged(whole, "r-5"), Pair(pre=b"one", post=b"two"))
    assert run(["feedback", "export", str(archive), "-o", "json"]) == Exit.DONE
    assert json.loads(capsys.readouterr().out)["pairs"] == 2
    whole_pictures, other = sorted((whole.root / "feedback" / "pairs").iterdir())
    flip(other, 40)
    assert run(["feedback", "export", str(archive), "-o", "json"]) == Exit.FAILED
    told = capsys.readouterr()
    report = json.loads(told.out)
    assert report["pairs"] == 1 and [str(other) in words for words in report["left_out"]] == [True]
    assert other.name in told.err and "Traceback" not in told.err
    with zipfile.ZipFile(archive) as zipped:
        assert len([name for name in zipped.namelist() if name.startswith("train/images/")]) == 2
    archive.unlink()
    whole_pictures.unlink()
    assert run(["feedback", "export", str(archive)]) == Exit.FAILED
    assert "is missing" in capsys.readouterr().err and not archive.exists()
    truths = list((whole.root / "feedback").rglob("*.json"))
    for path in truths:
        flip(path, 30)
    assert run(["feedback", "export", str(archive), "-o", "json"]) == Exit.FAILED
    assert len(json.loads(capsys.readouterr().out)["left_out"]) == len(truths)
    assert run(["feedback", "list"]) == Exit.FAILED
    assert "check does not match" in capsys.readouterr().err


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """One version."""
    monkeypatch.setenv("MODEL_DIR", str(tmp_path / "models"))
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    store = open_store(tmp_path / "models")
    store.publish(write_draft(tmp_path / "base", b"base"), note="base", actor="up", initial=True)
    return store


def test_an_unfinished_copy_is_no_store(
    small: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Neither the first version of a new store nor another one is published there, and the copy goes on."""
    half, draft = tmp_path / "half", str(write_draft(tmp_path / "draft"))
    said(capsys, "copy", str(small.root), str(half))
    for path in ((half / "journal").rglob("*.json"), (half / "versions").iterdir()):
        for one in path:
            one.unlink()
    mark(Folder(half, Disk(half, new_id)), Told(source=str(small.root), seq=9, time=1.0))
    before = sorted((half / "artifacts").iterdir())
    monkeypatch.setenv("MODEL_DIR", str(half))
    again = "Run the same `serinus store copy SRC DST` again"
    for words in (["publish", draft], ["versions", "gc"], ["versions", "gc", "--dry-run"]):
        assert run(words) == Exit.FAILED, words
        assert again in capsys.readouterr().err, words
    done = subprocess.run(
        [sys.executable, "-m", "serinus", "controller"],
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    assert (done.returncode, again in done.stderr) == (Exit.FAILED, True), done.stderr
    assert run(["versions", "list"]) == Exit.DONE
    assert "is not finished" in caplog.text
    capsys.readouterr()
    assert "unfinished" in [one["kind"] for one in said(capsys, "check", code=Exit.FAILED)["findings"]]
    assert sorted((half / "artifacts").iterdir()) == before and not any((half / "journal").glob("*.json"))
    said(capsys, "copy", str(small.root), str(half))
    assert run(["publish", draft]) == Exit.DONE


def test_a_place_among_the_files_of_a_store_is_refused(
    small: Store, tmp_path: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["store", "copy", str(small.root), url]) == Exit.DONE
    other = tmp_path / "other"
    assert run(["store", "copy", str(small.root), str(other)]) == Exit.DONE
    for source, target in (
        (str(small.root), f"{url}/artifacts"),
        (str(small.root), f"{url}/a/b/"),
        (url, f"{url}/backup"),
        (str(small.root), str(other / "artifacts" / "mine")),
        (url, str(small.root / "backup")),
        (url, f"{url}/"),
    ):
        capsys.readouterr()
        for words in ([], ["--dry-run"]):
            assert run(["store", "copy", source, target, *words]) == Exit.USAGE, target
            assert "inside the store" in (told := capsys.readouterr().err) or "same place" in told
    assert not (other / "artifacts" / "mine").exists() and not (small.root / "backup").exists()
    assert run(["store", "copy", str(small.root), f"{url}-beside"]) == Exit.DONE


def test_what_a_command_publishes_is_seen_without_a_controller(
    small: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["publish", str(write_draft(tmp_path / "draft"))]) == Exit.DONE
    capsys.readouterr()
    assert said(capsys, "check")["findings"] == []
    assert (tmp_path / "models" / "versions" / "000002" / "model.onnx").is_file()
