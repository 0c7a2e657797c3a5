"""What the control API answers about data and jobs: uploads, data sets, and what was started."""

from typing import Any

import msgspec

from serinus.api.data_documents import UnfinishedUpload
from serinus.api.documents import JobView, UploadView
from serinus.jobs.model import CompareOutput, Point


class JobsPage(msgspec.Struct, frozen=True, kw_only=True):
    """Jobs, newest first."""

    jobs: tuple[JobView, ...]
    total: int
    """All that there are."""


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """A job that compares two versions."""

    job: JobView
    found: CompareOutput | None
    """None unless it succeeded."""


class ComparisonsPage(msgspec.Struct, frozen=True, kw_only=True):
    """Comparisons of two versions, newest first."""

    comparisons: tuple[Comparison, ...]


class Confirmation(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody must confirm for an import to go on, and how."""

    question: str
    pairs_found: int
    pairs_usable: int
    report: str
    """Path of the page that shows what would be lost."""
    post: str
    """Path to POST `form` to."""
    form: dict[str, str]


class JobDetail(msgspec.Struct, frozen=True, kw_only=True):
    """A job with everything that there is to see of it."""

    job: JobView
    spec: Any
    """What was asked for."""
    points: tuple[Point, ...]
    """Its curves; of many points a thousand, evenly."""
    confirmation: Confirmation | None = None
    output: Any = None
    """What came of it, by its kind; None before it is over."""


class LogLines(msgspec.Struct, frozen=True, kw_only=True):
    """The message `log` of a job's event stream."""

    lines: tuple[str, ...]


class UploadsPage(msgspec.Struct, frozen=True, kw_only=True):
    """All uploads, newest first."""

    uploads: tuple[UploadView, ...]
    unfinished: tuple[UnfinishedUpload, ...] = ()
    """Those that wait for their rest, newest first."""


class Uploaded(msgspec.Struct, frozen=True, kw_only=True):
    """Answer to an upload."""

    status: str = "ok"
    path: str
    """Where it lies; also names it to /trigger-preprocess."""
    id: str
    size: int
    """Bytes."""
    sha256: str


class Preparing(msgspec.Struct, frozen=True, kw_only=True):
    """A job on a data set or an upload was queued."""

    status: str = "started"
    message: str
    dataset: str
    job: str


class TrainingConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What the training was given."""

    model: str
    epochs: int
    img_size: int
    batch: int


class Training(msgspec.Struct, frozen=True, kw_only=True):
    """A training was queued."""

    status: str = "started"
    message: str
    config: TrainingConfig
    job: str


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """How a job ended."""

    type: str
    """`Complete` or `Failed`."""
    status: str
    reason: str
    message: str


class JobStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A job in the documented shape; counts are 0 or 1."""

    active: int
    succeeded: int
    failed: int
    conditions: tuple[Condition, ...]


class JobLogs(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The end of a job's log; with one of the summaries, by its kind."""

    logs: str
    preprocess_summary: dict[str, Any] | None = None
    """`{status, splits, total_images, total_polygons}`"""
    training_summary: dict[str, Any] | None = None
    """`{status, epochs_completed, total_epochs, final_metrics, best_metrics, ...}`"""
