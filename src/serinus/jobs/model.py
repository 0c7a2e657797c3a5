"""What a job is: its specification, its progress, its result, and the record that people see."""

from typing import TypeAlias

import msgspec

from serinus.core.enums import JobKind, JobState
from serinus.core.errors import InvalidInput


class PrepareJob(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="preprocess"):
    """Make a data set version: of an uploaded archive, or of another version."""

    upload: str = ""
    """Absolute path of the archive; empty: `dataset` is split again."""
    name: str = ""
    """What the archive is called, for people; empty: as its file."""
    dataset: str = ""
    """Data set id; empty: `upload` is imported."""
    confirm: bool = False
    """Go on although more than a tenth of the pairs are unusable."""
    seed: int = 0
    """Another seed gives another split."""
    leave_out: str = ""
    """The disaster that is kept for testing; empty: none."""


class TrainJob(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="train"):
    """Train a version and publish it."""

    epochs: int = 10
    batch: int = 8
    img_size: int = 640
    """Longest side of the training pictures, in pixels; never more than the pictures have."""
    seed: int = 0
    base: str = ""
    """Version number to fine-tune from; empty: the current version; `none`: from scratch."""
    note: str = ""
    """What changed, in words for people."""
    trainer: str = ""
    """Name of the trainer; empty: as the setting TRAINER says."""
    size: str = ""
    """Of the network: n, s or m; empty: n."""
    dataset: str = ""
    """Data set id; empty: the newest."""
    upload: str = ""
    """Absolute path of an archive that is imported first when that was not done yet; empty: none."""
    confirm: bool = False
    """That import goes on although more than a tenth of the pairs are unusable."""
    baseline: bool = False
    """Train on the post picture alone as well, and say whether six channels beat it."""


class EvaluateJob(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="evaluate"):
    """Measure a version on a data set."""

    version: int
    dataset: str
    """Data set id."""
    split: str = "test"


class CompareJob(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="compare"):
    """Measure two versions on the same pictures."""

    a: int
    """Number of the version to compare with."""
    b: int
    """Number of the version that is better or worse."""
    dataset: str
    """Data set id."""
    split: str = "test"


def refuse_itself(a: int, b: int) -> None:
    """Raises InvalidInput where a version would be compared with itself."""
    if a == b:
        raise InvalidInput(f"Version {a} does not differ from itself.", remedy="Name two.", field="b")


class BatchJob(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="batch"):
    """Send an archive of pairs to the inference service and fetch the result."""

    archive: str
    """Absolute path."""
    name: str = ""
    """What the archive is called, for people."""


class DemoJob(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="demo"):
    """Make the demo data and import it."""

    pairs: int = 150
    seed: int = 7
    """Another seed gives other places."""


class BrokenJob(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="broken"):
    """Publish a version that is broken on purpose, and send the pictures that show it until it is decided."""

    actor: str = "operator"
    """Who wants it, for the history."""


JobSpec: TypeAlias = PrepareJob | TrainJob | EvaluateJob | CompareJob | BatchJob | DemoJob | BrokenJob
_KINDS: dict[type, JobKind] = {
    PrepareJob: JobKind.PREPARE,
    TrainJob: JobKind.TRAIN,
    EvaluateJob: JobKind.EVALUATE,
    CompareJob: JobKind.COMPARE,
    BatchJob: JobKind.BATCH,
    DemoJob: JobKind.DEMO,
    BrokenJob: JobKind.BROKEN,
}


def kind_of(spec: JobSpec) -> JobKind:
    return _KINDS[type(spec)]


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    fraction: float = 0.0
    """Done so far, in [0, 1]."""
    message: str = ""
    eta_seconds: float | None = None
    """Seconds still needed; None while unknown."""
    step: int = 0
    """Epochs (training) or pairs (preparing) completed."""
    steps: int = 0
    """Epochs or pairs in all; 0 while unknown."""
    metrics: dict[str, float] = {}


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """Metrics at one moment: a point of the curves."""

    time: float
    """Seconds since 1970-01-01 UTC."""
    step: int
    """Epoch at work, from 1."""
    fraction: float
    metrics: dict[str, float]


class PrepareOutput(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="preprocess"):
    dataset: str
    """Its id; empty when none was made."""
    pairs_found: int = 0
    pairs_usable: int = 0
    must_confirm: bool = False
    """Whether more than a tenth of the pairs was lost: a failed job needs `confirm` to go on."""
    splits: dict[str, int]
    """Pairs per split."""
    total_images: int
    total_polygons: int


class TrainOutput(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="train"):
    version: int
    epochs_completed: int
    total_epochs: int
    final_metrics: dict[str, float] = {}
    """Metrics of the last epoch."""
    best_metrics: dict[str, float] = {}
    """Metrics of the epoch that was kept."""
    model_info: dict[str, str | int | float] = {}
    training_config: dict[str, str | int | float] = {}
    model_path: str = ""
    """`best.pt` inside the artifact."""
    published_path: str = ""
    """Directory of the artifact."""
    baseline: str = ""
    """Whether six channels beat three, in words; empty when nobody asked."""


class EvaluateOutput(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="evaluate"):
    version: int
    dataset: str
    split: str
    metrics: dict[str, float]


class ComparedFigure(msgspec.Struct, frozen=True, kw_only=True):
    """One figure of two versions."""

    name: str
    a: float
    b: float
    difference: float
    """b - a"""
    low: float
    """Of the 95 % interval of the difference."""
    high: float
    verdict: str
    """Whether b is better, in words."""


class CompareOutput(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="compare"):
    a: int
    b: int
    dataset: str
    split: str
    pictures: int
    """That both were measured on."""
    words: str
    """Which is better, in a sentence."""
    warnings: tuple[str, ...]
    figures: tuple[ComparedFigure, ...]


class BatchOutput(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="batch"):
    pairs: int
    failed: int
    """Pairs without a result; the result's errors.csv says why."""


class BrokenOutput(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="broken"):
    version: int
    sent: int
    """Pictures that were sent as users would, while it was the canary."""
    fallbacks: int
    """Of these: answered by current, since the version failed."""
    failed: int
    """Of these: without an answer."""
    outcome: str
    """What was decided, in words."""


Output: TypeAlias = PrepareOutput | TrainOutput | EvaluateOutput | CompareOutput | BatchOutput | BrokenOutput


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What the child writes as its last act. Without one, the job did not end by itself."""

    state: JobState
    time: float
    """Seconds since 1970-01-01 UTC."""
    reason: str = ""
    """Why it failed and what to do next, in words; empty when it succeeded."""
    output: Output | None = None


class JobRecord(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    kind: JobKind
    state: JobState
    spec: JobSpec
    created: float
    """Seconds since 1970-01-01 UTC, as are the other two."""
    started: float | None = None
    ended: float | None = None
    reason: str = ""
    progress: Progress = Progress()
    output: Output | None = None

    @property
    def active(self) -> bool:
        """Whether it is still to be done or being done."""
        return self.state in (JobState.QUEUED, JobState.RUNNING)
