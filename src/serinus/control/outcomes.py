"""From a decision to the event that says it, with the numbers that it rests on."""

from serinus.control.ledger import Standing
from serinus.evidence.steps import StepProof
from serinus.evidence.verdict import Verdict
from serinus.rollout.decide import Advance, Decision, Hold, Note, Promote, ResetEpoch, RollBack, Suspend
from serinus.rollout.events import Body, EpochReset, Held, Noted, Promoted, RolledBack, ShareChanged
from serinus.rollout.feedback import FeedbackStanding
from serinus.rollout.state import Rollout


def body_of(
    decision: Decision,
    rollout: Rollout,
    at: Standing,
    verdict: Verdict,
    *,
    step: StepProof | None = None,
    feedback: FeedbackStanding | None = None,
) -> Body | None:
    """The event that `decision` asks for; None for Hold, which changes nothing."""
    if isinstance(decision, Hold):
        return None
    number, version = rollout.number, rollout.version
    numbers, evidence, policy = (
        numbers_of(rollout, at, verdict, step=step, feedback=feedback),
        at.digest,
        rollout.policy.name,
    )
    match decision:
        case Promote(code=code):
            return Promoted(
                rollout=number, version=version, code=code, numbers=numbers, evidence=evidence, policy=policy
            )
        case RollBack(code=code):
            return RolledBack(
                rollout=number, version=version, code=code, numbers=numbers, evidence=evidence, policy=policy
            )
        case Suspend(code=code) | Note(code=code):
            held = Held(rollout=number, code=code, k=at.k, numbers=numbers, evidence=evidence, policy=policy)
            return held if isinstance(decision, Suspend) else _noted(held, lenient=decision.lenient)
        case ResetEpoch():
            return EpochReset(
                rollout=number, k=at.k, clock=at.clock, numbers=numbers, evidence=evidence, policy=policy
            )
        case Advance(share=share, step=next_step):
            return ShareChanged(
                rollout=number,
                share=share,
                step=next_step,
                k=at.k,
                clock=at.clock,
                numbers=numbers,
                evidence=evidence,
                policy=policy,
            )


def _noted(instead_of: Held, *, lenient: bool) -> Noted:
    return Noted(
        lenient=lenient,
        rollout=instead_of.rollout,
        code=instead_of.code,
        numbers=instead_of.numbers,
        evidence=instead_of.evidence,
        policy=instead_of.policy,
    )


def numbers_of(
    rollout: Rollout,
    at: Standing,
    verdict: Verdict,
    *,
    step: StepProof | None = None,
    feedback: FeedbackStanding | None = None,
) -> dict[str, float]:
    """The verdict's numbers, and what else a reader needs to judge the decision again."""
    proof = {}
    if step is not None:
        proof = {
            "step": float(rollout.step),
            "step_canary_requests": float(step.requests),
            "step_canary_failures": float(step.failures),
            "step_e_good": step.e_good,
            "step_limit_good": step.limit,
        }
    return {
        **verdict.numbers,
        **proof,
        **({} if at.shadow is None else at.shadow.numbers),
        **(feedback.numbers if feedback is not None and rollout.policy.feedback is not None else {}),
        "k": float(at.k),
        "share": rollout.share,
        "clock": at.window,
        "window_seconds": rollout.policy.window_seconds,
        "max_error_rate": at.params.max_error_rate,
    }
