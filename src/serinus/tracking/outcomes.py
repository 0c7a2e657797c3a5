"""How the rollouts of imported versions ended, folded from the journal; and the tags that say it. Pure."""

from datetime import UTC, datetime
from enum import StrEnum

import msgspec

from serinus.core.ids import Digest, Version
from serinus.rollout.events import Event, Promoted, Published, Rejected, RolledBack, RolloutStarted, Undone
from serinus.tracking.source import ACTOR_SUFFIX

_LONGEST_REASON = 1000


class Outcome(StrEnum):
    """How a version's last rollout ended. `undone`: it was promoted, then a person took that back."""

    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"
    REJECTED = "rejected"
    SUPERSEDED = "superseded"
    UNDONE = "undone"


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """One end, the newest of its version."""

    version: Version
    digest: Digest
    outcome: Outcome
    reason: str
    evidence: str
    """Digest of the last frozen slice judged; empty when nothing was judged."""
    time: float
    seq: int


class Outcomes:
    """Add every event of the journal, in order."""

    def __init__(self) -> None:
        self.seq = 0
        self.ended: dict[Version, Ended] = {}
        """Of imported versions only."""
        self._imported: dict[Version, Digest] = {}
        self._rollouts: dict[int, Version] = {}

    def add(self, event: Event) -> None:
        self.seq = event.seq
        match event.body:
            case Published(version=version, digest=digest):
                if event.actor.endswith(ACTOR_SUFFIX):
                    self._imported[version] = digest
            case RolloutStarted(rollout=rollout, version=version, supersedes=supersedes):
                if supersedes is not None:
                    self._end(self._rollouts.get(supersedes), Outcome.SUPERSEDED, event)
                self._rollouts[rollout] = version
            case Promoted(version=version, evidence=evidence):
                self._end(version, Outcome.PROMOTED, event, evidence)
            case RolledBack(version=version, evidence=evidence):
                self._end(version, Outcome.ROLLED_BACK, event, evidence)
            case Rejected(rollout=rollout):
                self._end(self._rollouts.get(rollout), Outcome.REJECTED, event)
            case Undone(undone=version):
                self._end(version, Outcome.UNDONE, event)
            case _:
                pass

    def _end(self, version: Version | None, outcome: Outcome, event: Event, evidence: str = "") -> None:
        if version is not None and version in self._imported:
            self.ended[version] = Ended(
                version=version,
                digest=self._imported[version],
                outcome=outcome,
                reason=event.reason,
                evidence=evidence,
                time=event.time,
                seq=event.seq,
            )


def tags_of(ended: Ended) -> dict[str, str]:
    """The tags of the model version; empty ones are to be absent."""
    return {
        "serinus.version": str(ended.version),
        "serinus.sha256": ended.digest,
        "serinus.reason": ended.reason[:_LONGEST_REASON],
        "serinus.evidence": ended.evidence,
        "serinus.time": datetime.fromtimestamp(ended.time, UTC).isoformat(timespec="milliseconds"),
        "serinus.outcome": ended.outcome.value,  # the last: where it stands, the others do, too
    }
