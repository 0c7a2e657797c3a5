"""What the journal folds to. Values are never changed: `apply` in `transitions` makes new ones."""

import msgspec

from serinus.core.enums import ReasonCode, RolloutPhase, VersionState
from serinus.core.ids import Digest, Version
from serinus.evidence.counts import Categories
from serinus.rollout.policy import Policy


class VersionRecord(msgspec.Struct, frozen=True, kw_only=True):
    version: Version
    digest: Digest
    state: VersionState
    published_at: float
    note: str = ""
    reason: str = ""
    """Why it is in this state, in words."""
    content: str = ""
    """See `events.Published`."""
    canary_at: float | None = None
    """When it last became the canary."""
    served: bool = False
    """It is or was current, and nobody undid that: it may stand in for a current that does not load."""
    source: str = ""
    """The folder of `incoming/` that it was imported from; empty when it was published otherwise."""


class Rollout(msgspec.Struct, frozen=True, kw_only=True):
    number: int
    version: Version
    baseline: Version | None
    """The current version when it started."""
    policy: Policy
    phase: RolloutPhase
    share: float
    started_at: float
    canary_at: float | None = None
    """When it became the canary (time of the `verified` event)."""
    ended_at: float | None = None
    held_at: float | None = None
    """By the clock of who held it; serves only to say when the hold ends."""
    held_k: int = -1
    """The newest frozen slice when it was held last."""
    evaluate_from: float = 0.0
    """Window clock from which `max_evaluation` counts (raised when a hold is resumed)."""
    window_from: float = 0.0
    """Clock at which the window in force began: later than 0 where another policy started the evidence
    afresh."""
    step: int = 0
    """The step of the policy that it has reached, from 0."""
    step_after: int = -1
    """Evidence of the step begins after this slice."""
    epoch: int = 0
    """How often the evidence was restarted, after a shared failure or with another policy."""
    epoch_after: int = -1
    """Evidence of the epoch begins after this slice."""
    split_restarts: int = 0
    """How often a hold because of the split was resumed: the evidence about it started afresh as often."""
    split_from: float = 0.0
    """Clock from which there is evidence about the split (raised when such a hold is resumed)."""
    past: Categories = {}
    """What current answered to users before the rollout."""
    vouched: tuple[str, ...] = ()
    """See `events.Verified`: who vouches for it when its answers differ from current's."""
    measured: bool = False
    """Whether there was anything to measure it on that could have vouched."""
    sequential: bool = False
    """See `events.Verified`: the canary is loaded in place of current."""
    explained: tuple[ReasonCode, ...] = ()
    """SIGNALS, DRIFT or DISAGREEMENT: vouched for, or seen by a person; it does not hold the rollout (again).
    """
    let_pass: tuple[ReasonCode, ...] = ()
    """The same, noted because the policy lets it pass: it is not noted again while a policy does."""
    code: ReasonCode | None = None
    reason: str = ""


class Edition(msgspec.Struct, frozen=True, kw_only=True):
    """The newest edition of a name, as far as events tell: older versions of Serinus did not write them."""

    number: int
    sha256: Digest


class State(msgspec.Struct, frozen=True, kw_only=True):
    """The registry and its rollouts after event `seq`."""

    seq: int = 0
    head: str = ""
    """sha256 of the last event's file."""
    versions: dict[Version, VersionRecord] = {}
    current: Version | None = None
    previous: Version | None = None
    """What undo restores; None when there is nothing to restore."""
    current_since: float = 0.0
    rollout: Rollout | None = None
    """The active rollout."""
    last: Rollout | None = None
    """The last rollout that ended."""
    rollouts: int = 0
    """How many rollouts were started, lost ones among them."""
    skipped: int = 0
    """Version numbers up to here may have been given by events that were lost."""
    editions: dict[str, Edition] = {}
    """By folder, `golden/<name>` or `policies/<name>`."""
    refused: tuple[str, ...] = ()
    """The newest folders of `incoming/` that were not imported, so that none is refused twice."""

    @property
    def next_version(self) -> Version:
        # The newest comes last: versions are published in the order of their numbers and never forgotten.
        return Version(max(next(reversed(self.versions), 0), self.skipped) + 1)

    @property
    def kept(self) -> set[Digest]:
        """Artifacts of versions that were not removed."""
        return {r.digest for r in self.versions.values() if r.state is not VersionState.REMOVED}

    @property
    def removed(self) -> set[Digest]:
        """Artifacts that only removed versions have."""
        return {r.digest for r in self.versions.values() if r.state is VersionState.REMOVED} - self.kept

    def sharing(self, content: str) -> Digest | None:
        """The artifact of a version with this content, unless it was removed."""
        found = (r.digest for r in self.versions.values() if content and r.content == content)
        return next((digest for digest in found if digest in self.kept), None)

    @property
    def canary(self) -> VersionRecord | None:
        """The version that gets canary traffic, if there is one."""
        if self.rollout is None or self.rollout.phase not in (
            RolloutPhase.CANARY,
            RolloutPhase.PAUSED,
            RolloutPhase.HELD,
        ):
            return None
        return self.versions[self.rollout.version]


def waiting(state: State) -> list[Version]:
    """Versions whose rollout is still to come, ascending: published, and newer than current."""
    return sorted(
        record.version
        for record in state.versions.values()
        if record.state is VersionState.PUBLISHED and record.version > (state.current or 0)
    )


def was_current(state: State, version: Version) -> bool:
    """Whether it served as current before and well, and can again."""
    if version == state.previous:
        return True
    record = state.versions.get(version)
    # RETIRED alone says little: a rollout that was superseded retires a version that nobody verified.
    return record is not None and record.served and record.state is VersionState.RETIRED


def once_current(state: State) -> list[VersionRecord]:
    """Versions that served as current before and well, the previous one first, then the newest first."""
    found = [record for record in state.versions.values() if was_current(state, record.version)]
    return sorted(found, key=lambda record: (record.version != state.previous, -record.version))
