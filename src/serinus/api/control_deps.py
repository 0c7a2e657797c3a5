"""What the control app is given: the things it works on, and its settings as values."""

from dataclasses import dataclass, field
from pathlib import Path

from serinus.api.tokens import Tokens
from serinus.control.trust import Trust
from serinus.core.ids import Clock, NewId
from serinus.jobs.cluster import ClusterQueue
from serinus.jobs.local import LocalJobs
from serinus.rollout.policy import Policy
from serinus.store import Store


@dataclass(frozen=True, kw_only=True)
class ControlSettings:
    """Settings of the control app and its pages."""

    infer_url: str
    """Where the inference service answers, without a slash at the end."""
    data_dir: Path
    """Holds `uploads/` and `datasets/`."""
    policy: Policy = field(default_factory=Policy)
    """The policy named `default`, with what the settings say."""
    policy_name: str = "default"
    """Name of the policy of a rollout that is started here and names none."""
    trust: Trust = field(default_factory=Trust)
    """Whose signatures count, and whether one is required whatever a policy says."""
    trainer: str = "compact"
    """Who trains when a request names nobody."""
    epochs: int = 10
    """Training epochs when a request names none."""
    batch: int = 8
    """Pairs per training step when a request names none."""
    img_size: int = 640
    """Longest side of training pictures, in pixels."""
    max_upload_bytes: int = 20_000_000_000
    uploads_keep_seconds: float = 2 * 24 * 3600.0
    """How long an upload that was cut off may wait for its rest."""
    max_predict_bytes: int = 64_000_000
    """Longest body that is passed on to the inference service."""
    infer_timeout_seconds: float = 60.0
    """How long the inference service may take to answer."""
    allowed_hosts: tuple[str, ...] = ()
    """Host names beside loopback ones that requests may name."""
    tokens: Tokens = field(default_factory=Tokens)
    """What a change from beyond loopback must bring; none: no such change."""
    anonymous_read: bool = True
    """Whether everybody may look."""
    trust_loopback: bool = True
    """Whether who connects from this machine may do everything without a token."""
    poll_seconds: float = 0.5
    """How often the state is read while somebody watches."""
    max_streams: int = 200
    """Most event streams at once; one more is answered 503."""
    stream_seconds: float = 3600.0
    """An event stream ends after this long; browsers connect again by themselves."""
    replica_fresh_seconds: float = 10.0
    """A replica whose heartbeat is older is not counted as alive."""


@dataclass(frozen=True, kw_only=True)
class ControlDeps:
    """Everything the control app works on."""

    store: Store
    jobs: LocalJobs
    settings: ControlSettings
    clock: Clock
    new_id: NewId
    cluster: ClusterQueue | None = None
    """Who runs trainings and imports in a cluster; None: they run here."""
    simulate: tuple[str, ...] = ()
    """What starts `serinus simulate`, for previews of policies; empty: no previews."""
    trainers: tuple[str, ...] = ()
    """What lists the trainers as JSON; empty: they are not listed."""
