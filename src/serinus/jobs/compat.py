"""Records in the shapes of the documented endpoints `/job-status/...` and `/job-logs/...`."""

from typing import Any

from serinus.core.enums import JobKind, JobState
from serinus.jobs.model import JobRecord, PrepareOutput, TrainJob, TrainOutput


def job_status(record: JobRecord) -> dict[str, Any]:
    """`{active, succeeded, failed, conditions [{type, status, reason, message}]}`, counts of 0 or 1."""
    failed = record.state in (JobState.FAILED, JobState.CANCELLED)
    return {
        "active": int(record.active),
        "succeeded": int(record.state is JobState.SUCCEEDED),
        "failed": int(failed),
        "conditions": [] if record.active else [_condition(record, failed)],
    }


def _condition(record: JobRecord, failed: bool) -> dict[str, str]:
    return {
        "type": "Failed" if failed else "Complete",
        "status": "True",
        "reason": record.state.capitalize(),
        "message": record.reason,
    }


def job_logs(record: JobRecord, logs: str) -> dict[str, Any]:
    """`{logs, preprocess_summary}`, `{logs, training_summary}` or `{logs}`, by the kind of the job."""
    if record.kind is JobKind.PREPARE:
        return {"logs": logs, "preprocess_summary": _preprocess_summary(record)}
    if record.kind is JobKind.TRAIN:
        return {"logs": logs, "training_summary": _training_summary(record)}
    return {"logs": logs}


def _preprocess_summary(record: JobRecord) -> dict[str, Any]:
    output = record.output if isinstance(record.output, PrepareOutput) else None
    return {
        "status": record.state.value,
        "splits": {} if output is None else output.splits,
        "total_images": 0 if output is None else output.total_images,
        "total_polygons": 0 if output is None else output.total_polygons,
    }


def _training_summary(record: JobRecord) -> dict[str, Any]:
    output = record.output if isinstance(record.output, TrainOutput) else None
    spec = record.spec if isinstance(record.spec, TrainJob) else TrainJob()
    asked = {"epochs": spec.epochs, "batch": spec.batch, "img_size": spec.img_size, "seed": spec.seed}
    return {
        "status": record.state.value,
        "epochs_completed": record.progress.step if output is None else output.epochs_completed,
        "total_epochs": spec.epochs if output is None else output.total_epochs,
        "final_metrics": record.progress.metrics if output is None else output.final_metrics,
        "best_metrics": {} if output is None else output.best_metrics,
        "model_info": {} if output is None else output.model_info,
        "training_config": asked if output is None else asked | output.training_config,
        "model_path": "" if output is None else output.model_path,
        "published_path": "" if output is None else output.published_path,
    }
