"""Jobs: preparing data, training, batches, as child processes that outlive whoever started them."""

from serinus.jobs.compat import job_logs, job_status
from serinus.jobs.local import LocalJobs, Needs
from serinus.jobs.model import (
    BatchJob,
    BatchOutput,
    BrokenJob,
    BrokenOutput,
    ComparedFigure,
    CompareJob,
    CompareOutput,
    DemoJob,
    EvaluateJob,
    EvaluateOutput,
    JobRecord,
    JobSpec,
    Output,
    Point,
    PrepareJob,
    PrepareOutput,
    Progress,
    TrainJob,
    TrainOutput,
)
from serinus.jobs.report import JobReporter

__all__ = [
    "BatchJob",
    "BatchOutput",
    "BrokenJob",
    "BrokenOutput",
    "CompareJob",
    "CompareOutput",
    "ComparedFigure",
    "DemoJob",
    "EvaluateJob",
    "EvaluateOutput",
    "JobRecord",
    "JobReporter",
    "JobSpec",
    "LocalJobs",
    "Needs",
    "Output",
    "Point",
    "PrepareJob",
    "PrepareOutput",
    "Progress",
    "TrainJob",
    "TrainOutput",
    "job_logs",
    "job_status",
]
