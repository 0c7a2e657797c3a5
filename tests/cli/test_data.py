"""`serinus data` as people and scripts use it."""

import csv
import json
import os
import pty
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from serinus.bootstrap.edge import new_id, now
from serinus.cli.app import run
from serinus.cli.exits import Exit
from serinus.jobs import LocalJobs, TrainJob
from tests.data.archives import name, pack, pack_tar, pairs


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_DIR", str(tmp_path / "models"))
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))


def said(capsys: pytest.CaptureFixture[str], *words: str, code: int = Exit.DONE) -> Any:
    assert run([*words, "--json"]) == code, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def lossy(tmp_path: Path) -> Path:
    files = pairs(5)
    del files[name(2, "post", "png")]
    return pack(tmp_path / "lossy.zip", files)


def test_from_an_archive_to_reports_splits_and_exports(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = pack_tar(tmp_path / "a.tar.zst", pairs(8) | pairs(8, disaster="flood"))
    first = said(capsys, "data", "import", str(archive))["dataset_id"]
    left = said(capsys, "data", "prepare", first, "--leave-out", "flood")
    assert (left["splits"]["test"], left["pairs_usable"]) == (8, 16)
    assert [one["dataset_id"] for one in said(capsys, "data", "list")] == [first, left["dataset_id"]]
    page, table = tmp_path / "report.html", tmp_path / "issues.csv"
    report = said(capsys, "data", "report", first, "--html", str(page), "--csv", str(table))
    assert first in page.read_text()
    assert len(list(csv.DictReader(table.open()))) == report["issues_total"]
    assert run(["data", "report", first]) == Exit.DONE
    shown = capsys.readouterr().out
    assert "flood" in shown and "rare_class" in shown
    for form in ("coco", "yolo"):
        out = tmp_path / form
        assert said(capsys, "data", "export", first, "--out", str(out), "--format", form)["pairs"] == 16
        assert run(["data", "export", first, "--out", str(out), "--format", form]) == Exit.USAGE
        capsys.readouterr()


@pytest.mark.parametrize(
    "words",
    [["import", "no.zip"], ["prepare", "ds-nothing"], ["report", "../x"], ["export", "x", "--out", "o"]],
)
def test_what_is_not_there(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", *words]) == Exit.USAGE
    assert "There is no" in capsys.readouterr().err


def test_a_script_must_confirm_with_a_flag(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive = str(lossy(tmp_path))
    command = [sys.executable, "-m", "serinus", "data", "import", archive]
    refused = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60
    )
    assert refused.returncode == Exit.USAGE
    assert "1 of 5 pairs cannot be used" in refused.stderr
    assert said(capsys, "data", "import", archive, "--confirm")["pairs_usable"] == 4


@pytest.mark.parametrize(("answer", "code"), [("y", Exit.DONE), ("n", Exit.USAGE), ("", Exit.USAGE)])
def test_a_person_is_asked(tmp_path: Path, answer: str, code: int) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "serinus", "data", "import", str(lossy(tmp_path))]
    with subprocess.Popen(command, stdin=theirs, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        seen = ""
        while "[y/N]" not in seen:
            letter = process.stderr.read(1)
            assert letter, seen
            seen += letter
        os.write(ours, f"{answer}\n".encode())
        process.stderr.read()
        assert process.wait(timeout=60) == code
    os.close(ours)
    os.close(theirs)
    assert "1 of 5 pairs cannot be used" in seen


def test_a_log_is_followed_to_its_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gate = tmp_path / "gate"
    script = f"""
import pathlib, time
print("begun", flush=True)
while not pathlib.Path({str(gate)!r}).exists(): time.sleep(0.01)
print("done", end="")
"""
    jobs = LocalJobs(
        tmp_path / "data" / "jobs", (sys.executable, "-c", script), env={}, clock=now, new_id=new_id
    )
    jobs.submit(TrainJob())
    following = threading.Thread(target=run, args=(["jobs", "logs", "train", "--follow"],))
    following.start()
    gate.touch()
    while following.is_alive():
        jobs.advance()
        following.join(0.05)
    assert capsys.readouterr().out == "begun\ndone\n"
