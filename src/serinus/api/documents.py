"""The documents that the control API answers with. Read models: made from the store, never written back."""

from enum import StrEnum
from typing import Any

import msgspec

from serinus.api.words import Entry, Headline, Mode
from serinus.artifact.signing import Finding
from serinus.control.history import Tone
from serinus.control.outlook import Outlook
from serinus.core.enums import Arm, JobKind, JobState, ReasonCode, RolloutPhase, VersionState
from serinus.core.ids import Digest, Version
from serinus.rollout.policy import Policy

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
    can_undo: bool = False
    """It was current before, and an undo may bring it back now."""


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
    step: int
    """Which of the policy's steps the share is, from 0."""
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
    dataset: str = ""
    """The newest data set that was made of it; empty: it was not imported yet."""


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
    undo_refused: str = ""
    """Why that version may not serve again, in words; empty when nothing is known against it."""
    promotion_refused: str = ""
    """Why the canary may not be promoted by hand, whatever is confirmed, in words; empty when it may."""
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


class Alive(msgspec.Struct, frozen=True, kw_only=True):
    """The process answers."""

    ok: bool = True
