"""The demo data: two disasters, the same each time, and nothing left lying about."""

from pathlib import Path

import pytest

from serinus.bootstrap import demo_data
from serinus.bootstrap.settings import load
from serinus.core.enums import JobState
from serinus.core.errors import Cancelled, InvalidInput
from serinus.jobs.folder import CancelMark, Folder


def make(root: Path, pairs: int = 10, job: Path | None = None) -> str:
    settings = load(model_dir=root / "models", data_dir=root / "data")
    return demo_data.load(settings, pairs=pairs, seed=7, job=job, progress=lambda *_: None).id


def test_it_is_the_same_each_time_and_leaves_no_archive(tmp_path: Path) -> None:
    job = tmp_path / "job"
    job.mkdir()
    first = make(tmp_path, job=job)
    assert make(tmp_path) == first
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["datasets"]
    result = Folder(job).result()
    assert result is not None and result.state is JobState.SUCCEEDED
    report = tmp_path / "data" / "datasets" / first / "report.html"
    assert "synth-wildfire" in report.read_text() and "synth-hurricane" in report.read_text()


def test_it_stops_when_it_is_cancelled(tmp_path: Path) -> None:
    job = tmp_path / "job"
    job.mkdir()
    Folder(job).put_cancel_mark(CancelMark(time=1.0))
    with pytest.raises(Cancelled):
        make(tmp_path, job=job)
    result = Folder(job).result()
    assert result is not None and result.state is JobState.CANCELLED
    assert not list((tmp_path / "data").glob(".demo-*"))


def test_no_pairs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput):
        make(tmp_path, pairs=0)
