"""Imports as jobs: what they report, how they are cancelled, what a refusal leaves for people."""

from pathlib import Path

import msgspec
import pytest

from serinus.bootstrap.datasets import prepare
from serinus.bootstrap.settings import Settings, load
from serinus.core.enums import JobState
from serinus.core.errors import Cancelled, NotFound
from serinus.data.importing import ImportRefused
from serinus.data.report import Report, Verdict
from serinus.jobs.folder import CancelMark, Folder
from serinus.jobs.model import PrepareOutput
from tests.data.archives import name, pack, pack_tar, pairs


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load(model_dir=tmp_path / "models", data_dir=tmp_path / "data")


@pytest.fixture
def job(tmp_path: Path) -> Path:
    folder = tmp_path / "job"
    folder.mkdir()
    return folder


def test_an_import_reports_how_far_it_is_and_what_came_of_it(
    settings: Settings, job: Path, tmp_path: Path
) -> None:
    told: list[tuple[float, str]] = []
    archive = pack_tar(tmp_path / "a.tar.zst", pairs(6))
    dataset = prepare(
        settings,
        str(archive),
        name="sent.tar.zst",
        job=job,
        progress=lambda done, _, words: told.append((done, words)),
    )
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    steps = [words.split(" ")[0] for _, words in told]
    assert list(dict.fromkeys(steps)) == ["reading", "unpacking", "pair", "drawing"]
    assert (dataset.path / "report.html").is_file()
    assert dataset.manifest.source == "sent.tar.zst"
    result = Folder(job).result()
    assert result is not None and result.state is JobState.SUCCEEDED
    assert isinstance(result.output, PrepareOutput)
    assert (result.output.dataset, result.output.total_images) == (dataset.id, 12)


def test_a_disaster_can_be_left_out_in_the_same_step(settings: Settings, tmp_path: Path) -> None:
    archive = pack(tmp_path / "a.zip", pairs(6) | pairs(4, disaster="flood"))
    left = prepare(settings, str(archive), leave_out="flood", job=None, progress=lambda *_: None)
    assert {one.disaster for one in left.pairs("test")} == {"flood"}
    again = prepare(settings, left.id, job=None, progress=lambda *_: None)
    assert again.id == left.manifest.parent


@pytest.mark.parametrize("step", ["reading", "unpacking", "pair"])
def test_a_cancelled_import_leaves_nothing(settings: Settings, job: Path, tmp_path: Path, step: str) -> None:
    def cancel(done: float, _: float, words: str) -> None:
        if words.startswith(step):
            Folder(job).put_cancel_mark(CancelMark(time=1.0))

    archive = pack_tar(tmp_path / "a.tar.zst", pairs(30))
    with pytest.raises(Cancelled):
        prepare(settings, str(archive), job=job, progress=cancel)
    result = Folder(job).result()
    assert result is not None and result.state is JobState.CANCELLED
    datasets = settings.data_dir / "datasets"
    assert not datasets.exists() or list(datasets.iterdir()) == []


def test_a_refusal_leaves_its_report_with_the_job(settings: Settings, job: Path, tmp_path: Path) -> None:
    files = pairs(4)
    del files[name(2, "post", "png")]
    archive = pack(tmp_path / "a.zip", files)
    with pytest.raises(ImportRefused):
        prepare(settings, str(archive), job=job, progress=lambda *_: None)
    result = Folder(job).result()
    assert result is not None and isinstance(result.output, PrepareOutput)
    assert (result.state, result.output.must_confirm) == (JobState.FAILED, True)
    assert (result.output.dataset, result.output.pairs_found, result.output.pairs_usable) == ("", 4, 3)
    assert "1 of 4 pairs cannot be used" in result.reason
    report = msgspec.json.decode((job / "report.json").read_bytes(), type=Report)
    assert report.verdict is Verdict.NEEDS_CONFIRMATION
    assert "post_image_missing" in (job / "issues.csv").read_text()
    assert "Needs your confirmation" in (job / "report.html").read_text()


def test_what_is_neither_a_file_nor_a_data_set(settings: Settings, job: Path) -> None:
    with pytest.raises(NotFound):
        prepare(settings, "ds-000000000000", job=job, progress=lambda *_: None)
    result = Folder(job).result()
    assert result is not None and result.state is JobState.FAILED
