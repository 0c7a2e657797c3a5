"""From a decision to the event that says it."""

from serinus.control.ledger import Standing
from serinus.evidence.verdict import Verdict
from serinus.rollout.decide import Advance, Decision, Hold, Promote, ResetEpoch, RollBack, Suspend
from serinus.rollout.events import Body, EpochReset, Held, Promoted, RolledBack, ShareChanged
from serinus.rollout.state import Rollout


def body_of(decision: Decision, rollout: Rollout, at: Standing, verdict: Verdict) -> Body | None:
    """The event that `decision` asks for; None for Hold, which changes nothing."""
    number, version = rollout.number, rollout.version
    match decision:
        case Hold():
            return None
        case Promote(code=code):
            return Promoted(
                rollout=number, version=version, code=code, numbers=verdict.numbers, evidence=at.digest
            )
        case RollBack(code=code):
            return RolledBack(
                rollout=number, version=version, code=code, numbers=verdict.numbers, evidence=at.digest
            )
        case Suspend(code=code):
            return Held(rollout=number, code=code, k=at.k, numbers=verdict.numbers)
        case ResetEpoch():
            return EpochReset(rollout=number, k=at.k, clock=at.clock)
        case Advance(share=share):
            return ShareChanged(rollout=number, share=share)
