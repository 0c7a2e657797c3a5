"""What the inference API answers: the documented names first, ours beside them."""

from enum import StrEnum
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from serinus.core.enums import Arm, Device, RolloutPhase
from serinus.core.ids import Digest, Version

NOTICE = "Decision support, verify on the ground."


class DeploymentMode(StrEnum):
    PRODUCTION = "production"
    CANARY = "canary"


class OverlayChoice(StrEnum):
    """How the picture with boxes comes back, if at all."""

    NONE = "none"
    PNG = "png"
    JPEG = "jpeg"


class _Document(msgspec.Struct, frozen=True, kw_only=True):
    pass


class Detection(_Document, frozen=True, kw_only=True):
    id: int
    """Place in the list, from 0; the most confident first."""
    cls: int
    """Class id."""
    class_name: str
    conf: float
    """Confidence in [0, 1]."""
    xyxy: tuple[float, float, float, float]
    """Left, top, right, bottom in pixels of the picture that was sent."""


class ModelUsed(_Document, frozen=True, kw_only=True):
    version: Version
    sha256: Digest
    """Digest of the version's manifest."""
    role: Arm


class ImageSize(_Document, frozen=True, kw_only=True):
    width: int
    height: int


class TimingMs(_Document, frozen=True, kw_only=True):
    """Milliseconds."""

    decode: float
    model: float
    """Queue, model, check, and fall-back where there was one."""
    overlay: float
    total: float


class Findings(_Document, frozen=True, kw_only=True):
    """What was found in one pair."""

    detections: list[Detection]
    model_used: Arm
    """Role of the version that answered."""
    model: ModelUsed
    image_size: ImageSize
    counts: dict[str, int]
    """Class name -> buildings."""
    total: int
    damaged_pct: float
    """Share of buildings of any class but the first (no damage), in percent; 0 without buildings."""
    assigned: Arm
    """The arm that the request was assigned to: by a coin, by who sent it, or by a tester's wish."""
    override: bool
    """A tester's header decided; the request is no evidence."""
    fallback: bool
    """The assigned version could not answer this request; the other one did."""
    warnings: list[str]


class PredictReply(Findings, frozen=True, kw_only=True):
    """Answer of POST /predict."""

    overlay_png_base64: str | UnsetType = UNSET
    """The post picture with boxes; absent with `overlay=none` or `jpeg`."""
    overlay_jpeg_base64: str | UnsetType = UNSET
    """Instead of the PNG, with `overlay=jpeg`."""
    request_id: str
    timing_ms: TimingMs
    notice: str = NOTICE


class PairFindings(Findings, frozen=True, kw_only=True):
    """One pair of a batch, in results.json."""

    key: str
    """`<disaster>_<tile>`."""
    overlay: str | None
    """Name in the archive."""


class PairError(_Document, frozen=True, kw_only=True):
    """A pair of a batch that has no result."""

    key: str
    error: str
    remedy: str


class BatchResults(_Document, frozen=True, kw_only=True):
    """results.json of a batch."""

    request_id: str
    num_pairs: int
    pairs: list[PairFindings]
    errors: list[PairError]
    notice: str = NOTICE


class BatchReply(_Document, frozen=True, kw_only=True):
    """Answer of POST /batch_predict."""

    status: str
    """`success`, also when some pairs failed."""
    num_pairs: int
    download_url: str
    num_failed: int
    errors: list[PairError]
    """The first of them; all are in the archive's errors.csv."""
    request_id: str


class BatchProgress(_Document, frozen=True, kw_only=True):
    """How far a batch is that runs on this replica."""

    request_id: str
    pairs: int
    """In all."""
    done: int
    """Of these, failed ones among them."""
    failed: int


class VersionStamp(_Document, frozen=True, kw_only=True):
    version: Version
    timestamp: str
    """When it was published, UTC without a zone: `2024-01-15T10:30:00`."""


class RolloutNow(_Document, frozen=True, kw_only=True):
    """The active rollout as this replica obeys it."""

    number: int
    version: Version
    phase: RolloutPhase
    share: float
    """Share of requests that the canary gets here."""
    sequential: bool
    """The canary took the place of current, for want of memory: while it is loaded, nobody answers."""
    clock_seconds: float
    """The window's clock."""
    window_seconds: float


class Batches(_Document, frozen=True, kw_only=True):
    """Whether requests share runs of a version's model."""

    on: bool
    size: int
    """Most requests in one run."""
    wait_ms: float
    """How long the first of them waits for others, at most."""
    why: str
    """What was measured, in words."""
    measured_ms: dict[str, float]
    """Pictures in a batch -> time of the whole batch."""


class Loaded(_Document, frozen=True, kw_only=True):
    """A version that can be asked here."""

    version: Version
    workers: int
    """Processes that are ready for it."""
    batching: Batches


class ModelStatus(_Document, frozen=True, kw_only=True):
    """Answer of GET /model-status."""

    current_model: bool
    """A version serves."""
    canary_model: bool
    """A canary is loaded here."""
    deployment_mode: DeploymentMode
    canary_elapsed_minutes: float | UnsetType = UNSET
    """The window's clock; only while there is a canary."""
    ready_for_promotion: bool | UnsetType = UNSET
    """Whether the window is over; after a promotion it stays true until the next rollout."""
    canary_version: VersionStamp | UnsetType = UNSET
    """Only while there is a canary."""
    current_version: VersionStamp | UnsetType = UNSET
    rollout: RolloutNow | UnsetType = UNSET
    load_failures: dict[Digest, str] = {}
    """Versions that do not load here, and why."""
    store_reachable: bool = True
    """False while the store cannot be used; what is loaded goes on serving."""
    journal_seq: int = 0
    """The journal's event that this replica obeys; a smaller one than others have lags."""
    state_age_seconds: float = 0.0
    """How long ago it read the journal to its end."""
    replica: str = ""
    device: Device = Device.CPU
    """What runs the models here."""
    loaded: list[Loaded] = []
    """The newest first."""


class Health(_Document, frozen=True, kw_only=True):
    ok: bool


class Readiness(_Document, frozen=True, kw_only=True):
    ready: bool
    version: Version | None = None
    store_reachable: bool = True
    """False while the store cannot be used: a replica stays ready with what it has loaded, and says so."""
    state_age_seconds: float = 0.0
    """How long ago it read the journal to its end."""


class FeedbackPage(_Document, frozen=True, kw_only=True):
    """Answer of GET /feedback."""

    versions: list[dict[str, Any]]
    """Each: version, digest, pictures, and metrics {pictures, buildings, precision, recall, map50}, where a
    figure is {value, low, high}; null while no judged picture shows a building."""
