"""How the controller works, as values; what a rollout may do is in its policy."""

from dataclasses import dataclass, field
from pathlib import Path

from serinus.control.trust import Trust
from serinus.engine.limits import Limits
from serinus.rollout.policy import Policy


@dataclass(frozen=True, kw_only=True)
class ControllerSettings:
    """Defaults suit one machine and a small cluster alike."""

    policy: Policy = field(default_factory=Policy)
    """The policy named `default`, with what the settings say."""
    policy_name: str = "default"
    """Name of the policy that a rollout gets when it starts by itself."""
    trust: Trust = field(default_factory=Trust)
    """Whose signatures count, and whether one is required whatever a rollout's policy says."""
    tick_seconds: float = 1.0
    """How often the controller looks."""
    clamp_ticks: float = 5.0
    """The window's clock moves at most this many ticks at once, however long ago the last look was."""
    clock_slice_seconds: float = 5.0
    """Without counts, a slice that only moves the clock is frozen this often."""
    replica_fresh_seconds: float = 10.0
    """A replica whose heartbeat is older counts as gone."""
    replica_forget_seconds: float = 600.0
    """Heartbeats older than this are removed."""
    candidate_seconds: float = 600.0
    """A version that passed its checks and is not loaded by every replica after so long gets no traffic."""
    users_suffice: int = 140
    """With this many canary requests of users, probes are not needed."""
    trial_seconds: float = 120.0
    """Time limit of one sandboxed run."""
    trial_memory_mb: int = 2048
    """Memory limit of one sandboxed run, in MiB."""
    datasets: Path | None = None
    """Folder of the data sets, for pairs that a version did not see in training; None: none are to be had."""
    held_out_pairs: int = 64
    """Most of them that are measured."""
    held_out_seconds: float = 60.0
    """How long one version's pictures of them may take to be read."""
    retry_seconds: float = 10.0
    """How long to wait after checks that could not be made (not: that failed)."""
    bootstrap_samples: int = 1000
    """Resamples of the quality gate."""
    heal_seconds: float = 30.0
    """How often the views are regenerated although nothing changed."""
    import_settle_seconds: float = 10.0
    """A complete folder from elsewhere is taken when nothing in it moved for so long."""
    import_give_up_seconds: float = 1800.0
    """An incomplete one that nobody touched for so long is taken as it is."""
    import_size: int = 640
    """Longest side fed to an imported model that does not say another, pixels."""
    import_limits: Limits = field(default_factory=Limits)
    """What the import of one folder may use."""
