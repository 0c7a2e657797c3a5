"""What a rollout may do: one typed document that travels inside the event that starts it."""

from enum import StrEnum

import msgspec


class OnInsufficient(StrEnum):
    """What to do when `max_evaluation` windows brought too little evidence."""

    HOLD = "hold"
    PROMOTE = "promote"
    ROLLBACK = "rollback"


class OnNewVersion(StrEnum):
    """What a version published during a rollout does."""

    QUEUE = "queue"
    SUPERSEDE = "supersede"


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """Defaults are the documented ones: half of the traffic, three minutes, 5 % errors."""

    name: str = "default"
    share: float = 0.5
    """Share of requests that the canary gets, in (0, 1]."""
    window_seconds: float = 180.0
    """Shortest evaluation, in seconds of the window's clock."""
    max_error_rate: float = 0.05
    """p0 of the error tests, in (0, 1)."""
    max_evaluation: int = 5
    """Longest evaluation, in windows."""
    on_insufficient: OnInsufficient = OnInsufficient.HOLD
    on_new_version: OnNewVersion = OnNewVersion.QUEUE
    hold_for_seconds: float = 3600.0
    """How long a held rollout keeps its share; then the share is 0 until somebody decides."""
    rollback_window_seconds: float = 600.0
    """How long the previous version stays loaded after a promotion, so that undo is instant."""
    max_replicas: int = 16
    """A replica's own trip needs this many times the threshold (union bound over replicas)."""
    probes: bool = True
    """Whether the controller sends probes when users bring too little evidence."""
    probes_per_window: int = 160
    """Most probes sent in one window, spread evenly."""
    judge_latency: bool = False
    """Whether the latency test may roll back and must pass before promotion."""
    map50_margin: float = 0.05
    """Quality gate: the 95 % bound of mAP50(canary) - mAP50(current) must not lie below minus this."""
