"""Versions in a real store measured on a real data set, with the pages that people open."""

import json
import os
import re
import sys
from pathlib import Path

import cv2
import msgspec
import pytest

from serinus.bootstrap.edge import new_id, now
from serinus.bootstrap.evaluating import compare_versions, evaluate_version
from serinus.bootstrap.evaluation_jobs import compare_as_job, evaluate_as_job
from serinus.bootstrap.settings import Settings, environment, load
from serinus.bootstrap.wiring import ensure_base, open_store
from serinus.core.enums import JobState
from serinus.core.errors import Cancelled, InvalidInput, NotFound
from serinus.core.ids import Version
from serinus.data.importing import import_archive
from serinus.data.synth.scenery import Disaster
from serinus.data.synth.write import SynthSet, write_sets
from serinus.jobs import (
    CompareJob,
    CompareOutput,
    EvaluateJob,
    EvaluateOutput,
    JobRecord,
    JobSpec,
    LocalJobs,
)
from serinus.jobs.folder import CancelMark, Folder
from tests import models
from tests.serving.house import wait_for


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, str]:
    """Version 1 is the packaged base; version 2 finds bright squares wherever there are any."""
    folder = tmp_path_factory.mktemp("place")
    settings = load(model_dir=folder / "models", data_dir=folder / "data", train_threads=1)
    store = open_store(settings)
    ensure_base(store, settings)
    store.publish(models.healthy(folder / "bright", size=128), note="bright", actor="test")
    sets = [
        SynthSet(disaster=Disaster(name), pairs=20, seed=5) for name in ("synth-hurricane", "synth-wildfire")
    ]
    write_sets(folder / "a.zip", sets)
    return settings, import_archive(folder / "a.zip", folder / "data/datasets", clock=lambda: 0.0).id


def _silent(done: float, total: float, words: str) -> None:
    assert 0 < done <= total


def _whole(folder: Path) -> None:
    """Every picture that the page names is there and can be seen."""
    page = (folder / "index.html").read_text()
    named = re.findall(r'<img src="([^"]+)"', page)
    assert named
    for name in named:
        picture = cv2.imread(str(folder / name))
        assert picture is not None, name
        assert picture.std() > 5, name


def test_one_version(place: tuple[Settings, str]) -> None:
    settings, data = place
    done, folder = evaluate_version(settings, Version(1), data=data, split="test", out=None, progress=_silent)
    found = done.assessment
    assert found.metrics.map50 > 0.3
    assert set(found.per_disaster) == {"synth-hurricane", "synth-wildfire"}
    assert found.per_disaster["synth-hurricane"].map50 > found.per_disaster["synth-wildfire"].map50
    assert 0 < found.xview2.score < 1
    assert any("synthetic" in words for words in done.warnings)
    assert folder == settings.data_dir / "evaluations" / f"v1-{data}-test"
    assert msgspec.json.decode((folder / "evaluation.json").read_bytes(), type=type(done)) == done
    _whole(folder)
    assert (folder / "loss.png").is_file()
    assert done.baseline == ""


def test_what_its_training_found_of_six_channels_is_said(place: tuple[Settings, str], tmp_path: Path) -> None:
    settings, data = place
    draft = models.healthy(tmp_path / "compared", seed=2, size=128)
    words = "Six channels beat the post-only baseline: mAP50 0.8 against 0.6."
    (draft / "training").mkdir(exist_ok=True)
    (draft / "training/baseline.json").write_text(json.dumps({"words": words, "pictures": 5}))
    version = open_store(settings).publish(draft, note="compared", actor="test")
    done, folder = evaluate_version(
        settings, version, data=data, split="test", out=tmp_path / "out", progress=_silent
    )
    assert done.baseline == words
    assert words in (folder / "index.html").read_text()


def test_two_versions(place: tuple[Settings, str], tmp_path: Path) -> None:
    settings, data = place
    done, folder = compare_versions(
        settings, Version(1), Version(2), data=data, split="all", out=tmp_path / "out", progress=_silent
    )
    assert folder == tmp_path / "out"
    assert done.pictures == 40
    assert done.rows[0].name == "mAP50"
    assert done.rows[0].verdict == "worse"
    assert done.words.startswith("Version 2 is worse than version 1: mAP50")
    assert [one.words for one in done.changes] == ["worse"] * 4
    assert done.changes[-1].f1_b < done.changes[-1].f1_a
    _whole(folder)


def test_a_version_beside_itself_is_no_different(place: tuple[Settings, str], tmp_path: Path) -> None:
    settings, data = place
    done, folder = compare_versions(
        settings, Version(2), Version(2), data=data, split="test", out=tmp_path / "out", progress=_silent
    )
    assert all(row.verdict == "cannot be told apart" and row.bound.difference == 0 for row in done.rows)
    assert done.changes == ()
    assert "On no picture" in (folder / "index.html").read_text()


def test_what_it_was_trained_on_is_said(place: tuple[Settings, str], tmp_path: Path) -> None:
    settings, data = place
    from serinus.data.dataset import Dataset

    seen = [pair.sha256_post for pair in Dataset.open(settings.data_dir / "datasets", data).pairs("test")]
    store = open_store(settings)
    draft = models.healthy(tmp_path / "seen", seed=1, size=128, tiles=seen)
    version = store.publish(draft, note="seen", actor="test")
    done, _ = evaluate_version(
        settings, version, data=data, split="test", out=tmp_path / "out", progress=_silent
    )
    assert f"trained on {len(seen)} of these {len(seen)} pictures" in done.warnings[0]


def test_what_cannot_be_measured_is_refused(place: tuple[Settings, str], tmp_path: Path) -> None:
    settings, data = place

    def measure(version: int, data: str) -> None:
        evaluate_version(settings, Version(version), data=data, split="test", out=tmp_path, progress=_silent)

    with pytest.raises(NotFound, match="no version 9"):
        measure(9, data)
    with pytest.raises(NotFound, match="no data set"):
        measure(1, f"ds-{new_id()[:12]}")
    write_sets(tmp_path / "one.zip", [SynthSet(disaster=Disaster("synth-hurricane"), pairs=1, seed=5)])
    one = import_archive(tmp_path / "one.zip", settings.data_dir / "datasets", clock=lambda: 0.0).id
    with pytest.raises(InvalidInput, match=r"shows no labelled building\. Choose another with --split"):
        measure(1, one)


def _run(settings: Settings, root: Path, spec: JobSpec) -> tuple[JobRecord, Path]:
    """The job, over; and its folder."""
    jobs = LocalJobs(
        root,
        (sys.executable, "-m", "serinus"),
        env={**os.environ, **environment(settings)},
        clock=now,
        new_id=new_id,
    )
    job = jobs.submit(spec)

    def over() -> bool:
        jobs.advance()
        return not jobs.describe(job).active

    wait_for(over, job)
    return jobs.describe(job), jobs.folder(job)


def test_an_evaluation_is_a_job(place: tuple[Settings, str], tmp_path: Path) -> None:
    settings, data = place
    record, folder = _run(settings, tmp_path / "jobs", EvaluateJob(version=1, dataset=data))
    assert record.state is JobState.SUCCEEDED, record.reason
    assert isinstance(record.output, EvaluateOutput)
    assert record.output.metrics["map50"] > 0.3
    assert record.progress.step > 0
    _whole(folder / "evaluation")


def test_a_comparison_is_a_job(place: tuple[Settings, str], tmp_path: Path) -> None:
    settings, data = place
    record, folder = _run(settings, tmp_path / "jobs", CompareJob(a=1, b=2, dataset=data, split="all"))
    assert record.state is JobState.SUCCEEDED, record.reason
    assert isinstance(record.output, CompareOutput)
    assert (record.output.a, record.output.b, record.output.pictures) == (1, 2, 40)
    assert re.fullmatch(r"version [12], pair \d+ of 40", record.progress.message)  # not each one is written
    assert record.progress.steps == 80
    same, _ = compare_versions(
        settings, Version(1), Version(2), data=data, split="all", out=tmp_path / "same", progress=_silent
    )
    assert (record.output.words, record.output.warnings) == (same.words, same.warnings)
    assert [(one.name, one.a, one.b, one.low, one.high, one.verdict) for one in record.output.figures] == [
        (row.name, row.bound.a, row.bound.b, row.bound.low, row.bound.high, row.verdict) for row in same.rows
    ]
    assert all(one.difference == one.b - one.a for one in record.output.figures)
    _whole(folder / "evaluation")


def test_a_comparison_that_fails_says_why(place: tuple[Settings, str], tmp_path: Path) -> None:
    settings, data = place
    record, _ = _run(settings, tmp_path / "jobs", CompareJob(a=1, b=9, dataset=data))
    assert (record.state, record.output) == (JobState.FAILED, None)
    assert record.reason.startswith("There is no version 9.")


@pytest.mark.parametrize("what", ["evaluation", "comparison"])
def test_what_was_cancelled_keeps_nothing(place: tuple[Settings, str], tmp_path: Path, what: str) -> None:
    settings, data = place
    folder, out = Folder(tmp_path), tmp_path / "x"
    folder.put_cancel_mark(CancelMark(time=1.0))
    with pytest.raises(Cancelled, match=f"The {what} was cancelled"):
        if what == "evaluation":
            evaluate_as_job(
                settings, Version(1), data=data, split="test", out=out, job=tmp_path, progress=_silent
            )
        else:
            compare_as_job(
                settings,
                Version(1),
                Version(2),
                data=data,
                split="test",
                out=out,
                job=tmp_path,
                progress=_silent,
            )
    result = folder.result()
    assert result is not None and result.state is JobState.CANCELLED
    assert not out.exists()
