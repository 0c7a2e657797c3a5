"""States and kinds. Always these enums, never bare strings; their values are what files and replies hold."""

from enum import StrEnum


class Arm(StrEnum):
    """Which side of a rollout a request was *assigned* to (intent to treat), and the role of a version."""

    CURRENT = "current"
    CANARY = "canary"


class Stratum(StrEnum):
    """Where a request came from. Strata are never pooled."""

    USERS = "users"
    PROBES = "probes"


class FailureKind(StrEnum):
    """How a version failed a request. A client's bad input is none of these."""

    EXCEPTION = "exception"
    TIMEOUT = "timeout"
    CRASH = "crash"
    INVALID_OUTPUT = "invalid_output"
    UNAVAILABLE = "unavailable"
    """The version's worker is restarting or its queue is full."""


class Signal(StrEnum):
    """What an answer is like: of each signal an answered request is in one category."""

    DETECTIONS = "detections"
    """Bands of the number of detections."""
    DOMINANT_CLASS = "dominant_class"
    """The class that most detections have."""
    GOLDEN = "golden"
    """Only of probes whose pair shows buildings: `found` or `empty`."""


class VersionState(StrEnum):
    PUBLISHED = "published"
    VERIFYING = "verifying"
    CANARY = "canary"
    CURRENT = "current"
    RETIRED = "retired"
    REJECTED = "rejected"
    REMOVED = "removed"
    """Its artifact was taken away to save space; its number and its history stay."""


class RolloutPhase(StrEnum):
    """Where a rollout is. The last four are terminal."""

    VERIFYING = "verifying"
    CANARY = "canary"
    PAUSED = "paused"
    HELD = "held"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"
    REJECTED = "rejected"
    SUPERSEDED = "superseded"


class ReasonCode(StrEnum):
    """Why a rollout changed its state; the words for people stand beside it in the event."""

    EVIDENCE_GOOD = "evidence_good"
    ERRORS = "errors"
    LATENCY = "latency"
    SIGNALS = "signals"
    """Rolled back: invalid answers. Held or noted: the canary answers differently from current."""
    DRIFT = "drift"
    """Both versions answer differently from the past: the pictures are others."""
    LOAD_FAILURE = "load_failure"
    VERIFY_FAILED = "verify_failed"
    QUALITY_GATE = "quality_gate"
    TRAINED_ON_GOLDEN = "trained_on_golden"
    SIGNATURE = "signature"
    MEMORY = "memory"
    """A replica has no room for it beside current."""
    SHARED_FAILURE = "shared_failure"
    INSUFFICIENT = "insufficient"
    ASSIGNMENT = "assignment"
    DISAGREEMENT = "disagreement"
    """The versions answer too many pictures differently, and nothing vouches for the canary."""
    MANUAL = "manual"
    SUPERSEDED = "superseded"
    INITIAL = "initial"


class Role(StrEnum):
    """What whoever brings a token may do."""

    VIEWER = "viewer"
    """Look, and ask for predictions."""
    OPERATOR = "operator"
    """Change things, too."""


class ShadowDrop(StrEnum):
    """Why a picture that was to be asked of both versions was not."""

    LOAD = "load"
    """A user waited for a worker."""
    FULL = "full"
    """As many as may wait did already."""
    UNREADY = "unready"
    """The worker for it was not ready."""
    GONE = "gone"
    """The rollout ended, or the process did."""


class ImportRefusal(StrEnum):
    """Why a model from elsewhere was not imported; the words for people stand beside it in the event."""

    INCOMPLETE = "incomplete"
    """A file is missing."""
    UNSAFE_FILES = "unsafe_files"
    """Links, special files, odd names, too many or too large files."""
    UNREADABLE = "unreadable"
    """No file of a kind that is known, or a damaged one."""
    FOREIGN_CLASSES = "foreign_classes"
    """Reading it would run code that is on no list."""
    CONTRACT = "contract"
    """A model, but its input or output is not what serving gives and takes."""
    LIMITS = "limits"
    """The import took more time or memory than it may."""
    BROKEN = "broken"
    """It was read, and then failed its trial run."""


class Named(StrEnum):
    """What has editions under a name; the values are folders of the store."""

    GOLDEN = "golden"
    POLICY = "policies"


class SignatureStanding(StrEnum):
    """What a version's signature is worth, given the trusted keys."""

    UNSIGNED = "unsigned"
    TRUSTED = "trusted"
    UNKNOWN_KEY = "unknown_key"
    WRONG = "wrong"
    """It names a trusted key that did not sign this manifest."""


class Device(StrEnum):
    """What runs a version's model."""

    CPU = "cpu"
    CUDA = "cuda"


class JobKind(StrEnum):
    PREPARE = "preprocess"
    TRAIN = "train"
    EVALUATE = "evaluate"
    COMPARE = "compare"
    BATCH = "batch"
    DEMO = "demo"
    """Makes the demo data and imports it."""
    BROKEN = "broken"
    """Publishes a version that is broken on purpose, and sends it the pictures that show it."""


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
