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
    judge_latency: bool = True
    """Whether the latency test may roll back and must pass before promotion."""
    latency_floor_seconds: float = 0.01
    """Latencies below this are all alike to the latency test, in seconds."""
    map50_margin: float = 0.05
    """Quality gate: the 95 % bound of mAP50(canary) - mAP50(current) must not lie below minus this."""

    require_signature: bool = False
    """Whether a version must be signed with a trusted key before it gets traffic."""

    def problems(self) -> tuple[str, ...]:
        """What no rollout can obey, in words; empty for a sane policy."""
        sane = (
            (0 < self.share <= 1, f"share must be above 0 and at most 1, not {self.share:g}"),
            (
                0 < self.max_error_rate < 1,
                f"max_error_rate must be within 0 and 1, not {self.max_error_rate:g}",
            ),
            (self.window_seconds > 0, f"window_seconds must be above 0, not {self.window_seconds:g}"),
            (self.max_evaluation >= 1, f"max_evaluation must be at least 1, not {self.max_evaluation}"),
            (
                self.hold_for_seconds >= 0,
                f"hold_for_seconds must be at least 0, not {self.hold_for_seconds:g}",
            ),
            (
                0 <= self.latency_floor_seconds < float("inf"),
                f"latency_floor_seconds must be at least 0, not {self.latency_floor_seconds:g}",
            ),
            (self.max_replicas >= 1, f"max_replicas must be at least 1, not {self.max_replicas}"),
        )
        return tuple(problem for fine, problem in sane if not fine)
