"""The command lines, and the documented shapes of status and logs."""

from pathlib import Path

import pytest

from serinus.core.enums import JobKind, JobState
from serinus.jobs import (
    BatchJob,
    BrokenJob,
    CompareJob,
    DemoJob,
    EvaluateJob,
    JobRecord,
    JobReporter,
    PrepareJob,
    PrepareOutput,
    Progress,
    TrainJob,
    TrainOutput,
    job_logs,
    job_status,
)
from serinus.jobs.folder import Folder
from serinus.jobs.render import render


def record(state: JobState, **changes: object) -> JobRecord:
    fields: dict[str, object] = {
        "id": "train-1",
        "kind": JobKind.TRAIN,
        "state": state,
        "spec": TrainJob(epochs=5, batch=4),
        "created": 1.0,
    }
    return JobRecord(**(fields | changes))  # type: ignore[arg-type]


def test_the_training_command() -> None:
    spec = TrainJob(
        epochs=5, batch=4, seed=7, base="3", dataset="ds-1", upload="/data/a.zip", note="two\nlines"
    )
    assert render(spec, Path("/jobs/train-1")).argv == (
        "train", "--data", "ds-1", "--upload", "/data/a.zip", "--base", "3", "--epochs", "5", "--batch", "4",
        "--img-size", "640", "--seed", "7", "--note=two\nlines", "--job", "/jobs/train-1",
    )  # fmt: skip


def test_the_training_command_with_a_trainer() -> None:
    argv = render(TrainJob(trainer="ultralytics", size="s", confirm=True, upload="/a"), Path("/j")).argv
    assert {"--trainer=ultralytics", "--size=s", "--confirm"} <= set(argv)
    assert "--baseline" not in argv
    assert "--baseline" in render(TrainJob(baseline=True), Path("/j")).argv


def test_the_other_commands() -> None:
    assert render(EvaluateJob(version=3, dataset="ds-1", split="val"), Path("/j")).argv == (
        "evaluate", "3", "--data=ds-1", "--split=val", "--out", "/j/evaluation", "--job", "/j",
    )  # fmt: skip
    assert render(CompareJob(a=3, b=4, dataset="ds-1"), Path("/j")).argv == (
        "compare", "3", "4", "--data=ds-1", "--split=test", "--out", "/j/evaluation", "--job", "/j",
    )  # fmt: skip
    assert render(BatchJob(archive="/a.zip"), Path("/j")).argv == (
        "batch", "/a.zip", "--out", "/j/result.zip", "--job", "/j",
    )  # fmt: skip
    assert render(DemoJob(pairs=20, seed=3), Path("/j")).argv == (
        "data", "demo", "--pairs", "20", "--seed", "3", "--job", "/j",
    )  # fmt: skip
    assert render(BrokenJob(actor="--alice"), Path("/j")).argv == (
        "publish-broken", "--actor=--alice", "--job", "/j",
    )  # fmt: skip


def test_the_shortest_training_command_takes_the_newest_data_and_the_current_version() -> None:
    argv = render(TrainJob(), Path("/j")).argv
    assert argv[:3] == ("train", "--data", "newest")
    assert "--base" not in argv
    assert "--upload" not in argv


def test_the_prepare_command() -> None:
    argv = render(PrepareJob(upload="/data/a.zip"), Path("/j")).argv
    assert argv == ("data", "prepare", "/data/a.zip", "--seed", "0", "--job", "/j")
    again = PrepareJob(dataset="ds-1", leave_out="--flood", seed=3, confirm=True, name="-x.zip")
    assert render(again, Path("/j")).argv == (
        "data", "prepare", "ds-1", "--name=-x.zip", "--leave-out=--flood", "--confirm",
        "--seed", "3", "--job", "/j",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("state", "counts"),
    [
        (JobState.QUEUED, (1, 0, 0)),
        (JobState.RUNNING, (1, 0, 0)),
        (JobState.SUCCEEDED, (0, 1, 0)),
        (JobState.FAILED, (0, 0, 1)),
        (JobState.CANCELLED, (0, 0, 1)),
    ],
)
def test_status(state: JobState, counts: tuple[int, int, int]) -> None:
    status = job_status(record(state, reason="because"))
    assert set(status) == {"active", "succeeded", "failed", "conditions"}
    assert (status["active"], status["succeeded"], status["failed"]) == counts
    assert bool(status["conditions"]) == (counts[0] == 0)
    for condition in status["conditions"]:
        assert set(condition) == {"type", "status", "reason", "message"}
        assert condition["message"] == "because"


TRAINING = {
    "status", "epochs_completed", "total_epochs", "final_metrics", "best_metrics", "model_info",
    "training_config", "model_path", "published_path",
}  # fmt: skip


def test_training_logs_while_it_runs_and_after() -> None:
    running = job_logs(record(JobState.RUNNING, progress=Progress(step=2, metrics={"loss": 1.5})), "lines")
    assert running["logs"] == "lines"
    assert set(running["training_summary"]) == TRAINING
    assert running["training_summary"]["epochs_completed"] == 2
    assert running["training_summary"]["total_epochs"] == 5
    assert running["training_summary"]["final_metrics"] == {"loss": 1.5}
    output = TrainOutput(version=2, epochs_completed=5, total_epochs=5, published_path="/models/artifacts/x")
    done = job_logs(record(JobState.SUCCEEDED, output=output), "")["training_summary"]
    assert set(done) == TRAINING
    assert done["status"] == "succeeded"
    assert done["epochs_completed"] == 5
    assert done["training_config"]["batch"] == 4
    assert done["published_path"] == "/models/artifacts/x"


def test_preprocess_logs() -> None:
    output = PrepareOutput(dataset="ds-1", splits={"train": 7}, total_images=14, total_polygons=90)
    spec = PrepareJob(upload="/x")
    done = record(JobState.SUCCEEDED, kind=JobKind.PREPARE, spec=spec, output=output)
    assert job_logs(done, "") == {
        "logs": "",
        "preprocess_summary": {
            "status": "succeeded", "splits": {"train": 7}, "total_images": 14, "total_polygons": 90,
        },
    }  # fmt: skip


def test_progress_is_throttled_and_completed_steps_stay(tmp_path: Path) -> None:
    now = [0.0]
    reporter = JobReporter(tmp_path, clock=lambda: 5.0, every_seconds=1.0, monotonic=lambda: now[0])
    progress = Folder(tmp_path).progress
    reporter.progress(0.25, "epoch 1 of 2", step=1, steps=2)
    now[0] = 0.5
    reporter.progress(0.3, "too soon")
    assert progress() == Progress(fraction=0.25, message="epoch 1 of 2", eta_seconds=0.0, step=1, steps=2)
    now[0] = 10.0
    reporter.progress(0.5, "measuring", steps=2)
    assert progress() == Progress(fraction=0.5, message="measuring", eta_seconds=10.0, step=1, steps=2)
    reporter.progress(7.0, "the last word is always written")
    last = progress()
    assert last is not None
    assert last.fraction == 1.0
