"""The documents that the control API answers with. Read models: made from the store, never written back."""

from enum import StrEnum
from typing import Annotated, Any

import msgspec

from serinus.api.words import Entry, Headline, Mode, Tone
from serinus.artifact.signing import Finding
from serinus.control.outlook import Outlook
from serinus.control.policies import Named
from serinus.core.enums import Arm, JobKind, JobState, ReasonCode, RolloutPhase, VersionState
from serinus.core.ids import Digest, Version
from serinus.rollout.policy import Policy
from serinus.store import PolicyRecord

__all__ = ["Entry", "Headline", "Mode", "Tone"]


class Health(StrEnum):
    """How a version is on the replicas."""

    LOADED = "loaded"
    LOADING = "loading"
    FAILED = "failed"
    IDLE = "idle"
    """Not meant to be loaded."""


class VersionView(msgspec.Struct, frozen=True, kw_only=True):
    """A version with its role now."""

    version: Version
    digest: Digest
    sha: str
    """First 12 characters of the digest, for people."""
    state: VersionState
    role: Arm | None = None
    """Its role in the traffic now; None when it gets none."""
    published_at: float
    note: str = ""
    reason: str = ""
    dataset: str = ""
    parent: Version | None = None
    metrics: dict[str, float] = {}
    health: Health = Health.IDLE
    loaded_on: int = 0
    """Replicas that have it loaded."""
    failed_on: dict[str, str] = {}
    """Replica -> why it cannot load or run it."""
    restarts: int = 0
    """How often workers died on the replicas that are alive, since they loaded it."""


class VersionDetail(msgspec.Struct, frozen=True, kw_only=True):
    """A version with its whole manifest."""

    version: VersionView
    manifest: Any
    signature: Finding
    """Who signed it, and whether that holds."""


class ArmView(msgspec.Struct, frozen=True, kw_only=True):
    """One side of the traffic during a rollout."""

    arm: Arm
    version: Version | None
    share: float
    requests: int = 0
    failures: int = 0


class EvidenceView(msgspec.Struct, frozen=True, kw_only=True):
    """What the last frozen slice was judged to say."""

    k: int
    """Number of the slice."""
    digest: str
    harm: float
    """Evidence that the canary fails too often, and more often than current: an e-value."""
    harm_limit: float
    """At this much evidence of harm the canary is rolled back."""
    good: float
    """Evidence that the canary's error rate is below the limit."""
    good_limit: float
    """At this much evidence of good it may be promoted, once the window is over."""
    words: str
    blockers: tuple[str, ...] = ()
    """Why it may not be promoted yet."""
    answers: str = ""
    """What the versions' answers say of each other and of the past; empty before any."""
    numbers: dict[str, float] = {}


class RolloutView(msgspec.Struct, frozen=True, kw_only=True):
    """A rollout, active or ended."""

    number: int
    version: Version
    baseline: Version | None
    phase: RolloutPhase
    share: float
    started_at: float
    canary_at: float | None = None
    ended_at: float | None = None
    code: ReasonCode | None = None
    reason: str = ""
    policy: Policy
    clock: float = 0.0
    """Seconds of evaluation so far."""
    window_seconds: float
    seconds_left: float
    """Until the end of the window; 0 when it is over."""
    arms: tuple[ArmView, ...] = ()
    probes: tuple[ArmView, ...] = ()
    """The same for the controller's own probes, which are never pooled with users."""
    evidence: EvidenceView | None = None


class ReplicaView(msgspec.Struct, frozen=True, kw_only=True):
    """An inference process, by its last heartbeat."""

    replica: str
    url: str
    time: float
    """Of the last heartbeat."""
    fresh: bool
    """Whether that is recent enough to count it as alive."""
    seq: int
    """Event of the journal that it obeys."""
    share: float
    in_flight: int
    loaded: tuple[Version, ...]
    loading: tuple[Version, ...] = ()
    failed: dict[str, str] = {}
    """Version -> why."""
    restarts: dict[str, int] = {}
    """Version -> how often its workers died since it was loaded."""
    tripped: bool = False
    """It stopped a canary on its own evidence."""


class JobView(msgspec.Struct, frozen=True, kw_only=True):
    """A job with its progress and, while it matters, the end of its log."""

    id: str
    kind: JobKind
    state: JobState
    title: str
    created: float
    started: float | None = None
    ended: float | None = None
    reason: str = ""
    fraction: float = 0.0
    message: str = ""
    eta_seconds: float | None = None
    metrics: dict[str, float] = {}
    log: str = ""
    outcome: str = ""
    """What came of it, in words."""


class DatasetView(msgspec.Struct, frozen=True, kw_only=True):
    """A prepared data set."""

    id: str
    time: float
    pairs: int | None = None
    splits: dict[str, int] = {}


class UploadView(msgspec.Struct, frozen=True, kw_only=True):
    """An uploaded archive."""

    id: str
    name: str
    size: int
    time: float


class StateView(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the dashboard shows, but the history."""

    seq: int
    """Number of the last event: send it as `expect` with a decision."""
    time: float
    headline: Headline
    current: VersionView | None
    canary: VersionView | None
    previous: VersionView | None
    """What undo restores."""
    can_undo: bool
    rollout: RolloutView | None
    """The active rollout."""
    outlook: Outlook | None = None
    """What the controller would decide about it now."""
    last: RolloutView | None
    """The last rollout that ended."""
    versions: tuple[VersionView, ...]
    """Newest first; /api/versions has all."""
    versions_total: int
    replicas: tuple[ReplicaView, ...]
    jobs: tuple[JobView, ...]
    """Newest first."""
    datasets: tuple[DatasetView, ...]
    """Newest first."""
    upload: UploadView | None
    """The newest upload."""
    newest_data: str
    """What a training uses that names no data, in words."""
    problems: tuple[str, ...] = ()
    """What could not be read, in words."""


class JobTick(msgspec.Struct, frozen=True, kw_only=True):
    """How far a running job is."""

    id: str
    fraction: float
    message: str
    eta_seconds: float | None = None


class Tick(msgspec.Struct, frozen=True, kw_only=True):
    """What moves from second to second: the message `tick` of the event stream, and its heartbeat."""

    version: int
    """Rises whenever anything in the state changes."""
    seq: int
    time: float
    headline: Headline
    rollout: RolloutView | None
    outlook: Outlook | None = None
    jobs: tuple[JobTick, ...]


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The message `state` of the event stream."""

    version: int
    state: StateView


class VersionsPage(msgspec.Struct, frozen=True, kw_only=True):
    """All versions, newest first."""

    versions: tuple[VersionView, ...]


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
    """An import was queued."""

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


class Alive(msgspec.Struct, frozen=True, kw_only=True):
    """The process answers."""

    ok: bool = True


class Decided(msgspec.Struct, frozen=True, kw_only=True):
    """Answer to a decision: the event that was appended."""

    status: str = "ok"
    seq: int
    entry: Entry


class ByHand(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every decision by hand says."""

    reason: str
    """Why, for the history; must not be empty."""
    expect: int | None = None
    """`seq` of the state that was looked at: 409 when something has happened since. None: decide anyway."""
    actor: str = ""
    """Who decides; empty: `operator via ui`."""


class Command(ByHand, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A decision by hand."""

    confirm: bool = False
    """Promotes although the evidence does not suffice, or speaks against it."""


class StartCommand(ByHand, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The decision to start a rollout."""

    version: Annotated[int, msgspec.Meta(ge=1)]
    """Also one that was rejected or retired."""
    policy: str = ""
    """Name of its policy; empty: the one that rollouts get which start by themselves."""


class ShareCommand(ByHand, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The decision that the canary gets another share."""

    share: Annotated[float, msgspec.Meta(gt=0.0, le=1.0)]


class PolicyCommand(ByHand, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The decision that the active rollout obeys another policy: by its name, or as a document."""

    name: str = ""
    """Of a policy that is there."""
    document: dict[str, Any] | None = None
    """A policy, see /api/policies/schema; with `name` beside it, under that name."""


class SetPolicyCommand(ByHand, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The decision what a name of a policy means from now on: as a document, or as people write it."""

    document: dict[str, Any] | None = None
    """A policy, see /api/policies/schema."""
    text: str = ""
    """A policy in YAML or JSON, in place of `document`."""


class PoliciesPage(msgspec.Struct, frozen=True, kw_only=True):
    """All policies, the built-in ones first."""

    policies: tuple[Named, ...]
    default: str
    """Name of the policy that rollouts get which start by themselves."""


class PolicyPage(msgspec.Struct, frozen=True, kw_only=True):
    """A policy and its editions, oldest first."""

    policy: Named
    editions: tuple[PolicyRecord, ...]
