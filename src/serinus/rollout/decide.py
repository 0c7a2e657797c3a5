"""What to do about a rollout now: values in, at most one action out.

`decide` is stateless and idempotent: once the event of its action is in the journal, it asks for nothing
more. It never waits; the next time to look is part of the answer.

In this order: what condemns the canary (it does not load, the evidence blames it) acts in every phase with
traffic. A pause freezes promotion only. A hold ends by a person's hand, or by itself where both versions
failed together and are well again. A promotion is never earlier than the window's end.
"""

from typing import TypeAlias

import msgspec

from serinus.core.enums import ReasonCode, RolloutPhase
from serinus.core.ids import Version
from serinus.evidence.analysis import Verdict
from serinus.evidence.steps import StepProof
from serinus.rollout.feedback import FeedbackStanding, objection
from serinus.rollout.policy import OnDrift, OnInsufficient, OnNewVersion, OnShift, share_of_step
from serinus.rollout.state import Rollout, State, waiting


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """What the controller sees in one tick."""

    now: float
    """Seconds since 1970-01-01 UTC; serves only to end holds and to say when to look again."""
    clock: float
    """Seconds of evaluation recorded with the frozen slices; the window in force began at
    `Rollout.window_from`."""
    verdict: Verdict | None
    """None: nothing was observed yet."""
    load_failure: str = ""
    """Why a replica cannot load the canary; empty if none complains."""
    tripped: bool = False
    """A replica stopped sending traffic to this canary on its own evidence."""
    ready: bool = True
    """All replicas have the canary loaded."""
    outage_over: bool = False
    """Both versions are well again since the rollout was held for a shared failure."""
    vouched: tuple[str, ...] = ()
    """Who vouches for the canary's answers: golden sets, held-out pairs, feedback."""
    step: StepProof | None = None
    """What the canary's requests of the step in force prove; None where nothing was observed in it."""
    disagreement: str = ""
    """What shadow pairs say against the canary, in words; empty while they say nothing."""
    feedback: FeedbackStanding | None = None
    """What users judged; None where there is nothing to compare with."""


class Hold(msgspec.Struct, frozen=True):
    """Do nothing now."""

    reason: str
    recheck_at: float | None
    """When to look again, if nothing happens before; None: when something happens."""


class Promote(msgspec.Struct, frozen=True):
    code: ReasonCode
    reason: str


class RollBack(msgspec.Struct, frozen=True):
    code: ReasonCode
    reason: str


class Suspend(msgspec.Struct, frozen=True):
    """Hold the rollout (the event `held`): the evidence cannot decide, a person is asked."""

    code: ReasonCode
    reason: str


class Note(msgspec.Struct, frozen=True):
    """Answers changed, and that is explained (the event `noted`): the rollout goes on."""

    code: ReasonCode
    reason: str
    lenient: bool = False
    """It is explained by nobody, but the policy lets it pass."""


class ResetEpoch(msgspec.Struct, frozen=True):
    """A shared failure is over: back to canary with fresh evidence (`evidence.analysis.reset_epoch`)."""

    reason: str


class Advance(msgspec.Struct, frozen=True):
    """Change the canary's share; with `step`, to the policy's next one."""

    share: float
    reason: str
    step: int | None = None


Decision: TypeAlias = Hold | Promote | RollBack | Suspend | Note | ResetEpoch | Advance

_NOTHING_OBSERVED = Verdict(blockers=("nothing was observed yet",), words="nothing was observed yet")


def decide(state: State, situation: Situation) -> Decision:
    """The one thing to do about the active rollout now."""
    rollout = state.rollout
    if rollout is None:
        return Hold("no rollout is active", None)
    if rollout.phase is RolloutPhase.VERIFYING:
        return Hold("the version is being verified", None)
    verdict = situation.verdict or _NOTHING_OBSERVED
    if condemned := _condemned(situation, verdict):
        return condemned
    if rollout.phase is RolloutPhase.PAUSED:
        return Hold("paused: promotion is frozen, rollback stays armed", None)
    if rollout.phase is RolloutPhase.HELD:
        return _held(rollout, situation)
    return _canary(rollout, situation, verdict)


def next_start(state: State) -> tuple[Version, int | None] | None:
    """The version whose rollout should start now, and the rollout that it supersedes; None if there is none.

    The lowest published version that is newer than current: an older one is no update and is started by hand.
    """
    queued = waiting(state)
    rollout = state.rollout
    if rollout is None:
        return (queued[0], None) if queued else None
    newer = [version for version in queued if version > rollout.version]
    if newer and rollout.policy.on_new_version is OnNewVersion.SUPERSEDE:
        return newer[0], rollout.number
    return None


def _condemned(situation: Situation, verdict: Verdict) -> RollBack | None:
    if situation.load_failure:
        return RollBack(
            ReasonCode.LOAD_FAILURE, f"the canary does not load or stay alive: {situation.load_failure}"
        )
    if verdict.blame is not None:
        return RollBack(verdict.blame, verdict.words)
    return None


def _held(rollout: Rollout, situation: Situation) -> Decision:
    if rollout.code is ReasonCode.SHARED_FAILURE and situation.outage_over:
        return ResetEpoch("both versions are well again; the evidence starts afresh")
    if rollout.sequential:
        return Hold("held, and nobody else is loaded: resume, promote or roll back by hand", None)
    if rollout.share == 0.0:
        return Hold("held without traffic: resume, promote or roll back by hand", None)
    ends = (rollout.held_at or 0.0) + rollout.policy.hold_for_seconds
    if situation.now >= ends:
        return Advance(
            0.0, f"nobody decided within {rollout.policy.hold_for_seconds:g} s; the canary gets no traffic"
        )
    return Hold("held: resume, promote or roll back by hand", ends)


def _canary(rollout: Rollout, situation: Situation, verdict: Verdict) -> Decision:
    if strange := _strange(verdict) or _other_answers(rollout, situation, verdict):
        return strange
    window = rollout.policy.window_seconds
    gate, judged = rollout.policy.feedback, situation.feedback
    blockers = _blockers(situation, verdict)
    if gate is not None and judged is not None and judged.worse:
        blockers += (judged.words,)
    if not blockers and (advance := _advance(rollout, situation.step)):
        return advance
    left = window - (situation.clock - rollout.window_from)
    if left > 0.0:
        return Hold(f"the window is open for another {left:.0f} s", situation.now + left)
    verdict = _with_step(rollout, situation.step, verdict)
    if not blockers and (waiting := objection(gate, judged)):
        blockers = (*(() if verdict.good else verdict.blockers), waiting)
    if verdict.good and not blockers:
        said = f"; {judged.words}" if gate is not None and judged is not None else ""
        return Promote(ReasonCode.EVIDENCE_GOOD, verdict.words + said)
    missing = "; ".join(blockers or verdict.blockers)
    if situation.clock - rollout.evaluate_from >= rollout.policy.max_evaluation * window:
        return _insufficient(rollout, blockers, missing)
    return Hold(f"extended: {missing}", situation.now)


def _strange(verdict: Verdict) -> Suspend | None:
    """What makes the comparison of the versions worthless."""
    if verdict.shared_failure or verdict.mismatch:
        code = ReasonCode.SHARED_FAILURE if verdict.shared_failure else ReasonCode.ASSIGNMENT
        return Suspend(code, verdict.words)
    return None


def _other_answers(rollout: Rollout, situation: Situation, verdict: Verdict) -> Suspend | Note | None:
    """Changed answers never condemn a canary: they are explained and noted, or a person is asked.

    Labelled pairs explain why versions differ. They are of the past, so they explain no drift. That a policy
    let it pass is no explanation: a stricter one that takes its place holds.
    """
    policy = rollout.policy
    noted = policy.on_shift is OnShift.NOTE
    alone = policy.on_shift is OnShift.AUTO and not rollout.measured
    found = (
        (ReasonCode.DRIFT, verdict.drift, policy.on_drift is OnDrift.NOTE, ()),
        (ReasonCode.SIGNALS, verdict.shift, noted or alone, situation.vouched),
        (ReasonCode.DISAGREEMENT, situation.disagreement, noted, situation.vouched),
    )
    for code, words, passes, vouched in found:
        if not words or code in rollout.explained or (passes and code in rollout.let_pass):
            continue
        if vouched:
            return Note(code, f"{words}; vouched for by {' and '.join(vouched)}")
        if passes:
            why = _NOBODY_COULD if alone and code is ReasonCode.SIGNALS else _PASSES
            return Note(code, f"{words}; {why}", lenient=True)
        missing = "" if code is ReasonCode.DRIFT else "; nothing vouches for it"
        return Suspend(code, f"{words}{missing}")
    return None


_PASSES = "the policy lets it pass"
_NOBODY_COULD = "neither a golden set nor held-out pairs of its data set are there that could vouch"


def steps_left(rollout: Rollout) -> bool:
    """Whether the policy has a larger share in store."""
    return rollout.baseline is not None and rollout.step < len(rollout.policy.shares) - 1


def _advance(rollout: Rollout, proof: StepProof | None) -> Advance | None:
    """To the next step, once the canary's health in this one is proved."""
    if proof is None or not proof.proved or not steps_left(rollout):
        return None
    step = rollout.step + 1
    share = share_of_step(rollout.policy, rollout.baseline, step)
    return Advance(share, f"step {step + 1}, {share * 100:.4g} % of the requests: {proof.words}", step)


def _with_step(rollout: Rollout, proof: StepProof | None, verdict: Verdict) -> Verdict:
    """The verdict; not good, whatever the evidence of the whole rollout, short of the last step's proof."""
    if len(rollout.policy.shares) == 1 or rollout.baseline is None:
        return verdict
    if proof is not None and proof.proved and not steps_left(rollout):
        return verdict
    missing = "nothing was observed in this step yet" if proof is None else f"in this step {proof.words}"
    return msgspec.structs.replace(verdict, good=False, blockers=(*verdict.blockers, missing))


def _blockers(situation: Situation, verdict: Verdict) -> tuple[str, ...]:
    """What forbids a promotion, however good the evidence."""
    found: list[str] = []
    if situation.tripped:
        found.append("a replica stopped sending traffic to the canary on its own evidence")
    if not situation.ready:
        found.append("not every replica has the canary loaded")
    if verdict.alarm:
        found.append(f"the evidence speaks against the canary: {verdict.words}")
    return tuple(found)


def _insufficient(rollout: Rollout, blockers: tuple[str, ...], missing: str) -> Decision:
    windows = rollout.policy.max_evaluation
    reason = f"undecided after {windows} window{'s' if windows > 1 else ''}: {missing}"
    match rollout.policy.on_insufficient:
        case OnInsufficient.ROLLBACK:
            return RollBack(ReasonCode.INSUFFICIENT, reason)
        case OnInsufficient.PROMOTE if not blockers:
            return Promote(ReasonCode.INSUFFICIENT, reason)
        case _:
            return Suspend(ReasonCode.INSUFFICIENT, reason)
