"""A recorded rollout judged once more: from its frozen slices, by its own policy or by another one.

The same `decide` and the same table of transitions run over a journal in memory. What is taken from the
recording is what no policy decides: the slices with their clock, whether the canary was loaded, the trips,
and what people did (pauses, resumptions), each at its place. So with the recorded policy the decision falls
at the slice at which it fell; with another one this tells what would have been. It cannot tell what traffic
another policy would have brought: a what-if decides on the requests that were recorded, and may run out of
them.
"""

from collections.abc import Iterator

import msgspec

from serinus.control.judged import FeedbackWatch
from serinus.control.ledger import Standing, begun, params_of, with_pairs
from serinus.control.outcomes import body_of
from serinus.core.enums import ReasonCode, RolloutPhase
from serinus.core.errors import Conflict, InvalidInput, NotFound
from serinus.evidence import steps
from serinus.evidence.analysis import Analysis, Params, observe, reset_epoch, restart_split
from serinus.evidence.outage import Aftermath
from serinus.evidence.pairs import PairEvidence
from serinus.evidence.replay import ReplayDecision
from serinus.rollout.decide import Situation, decide
from serinus.rollout.events import (
    Body,
    Event,
    Held,
    Paused,
    PolicyChanged,
    Promoted,
    Rejected,
    Resumed,
    RolledBack,
    RolloutStarted,
    Verified,
)
from serinus.rollout.feedback import vouched
from serinus.rollout.policy import Policy
from serinus.rollout.state import Rollout, State
from serinus.rollout.table import IllegalTransition
from serinus.rollout.transitions import apply
from serinus.store import FrozenSlice, Store

_BY_EVIDENCE = frozenset(
    {
        ReasonCode.EVIDENCE_GOOD,
        ReasonCode.ERRORS,
        ReasonCode.LATENCY,
        ReasonCode.SIGNALS,
        ReasonCode.DRIFT,
        ReasonCode.INSUFFICIENT,
        ReasonCode.SHARED_FAILURE,
        ReasonCode.ASSIGNMENT,
        ReasonCode.DISAGREEMENT,
    }
)
_BLAMES = frozenset({ReasonCode.ERRORS, ReasonCode.SIGNALS, ReasonCode.LATENCY})


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One decision."""

    decision: ReplayDecision
    """A hold extends the evaluation."""
    code: ReasonCode | None
    slice: int
    """Number of the frozen slice that it rests on; -1 when there was none."""
    reason: str
    """In words."""
    seq: int | None = None
    """Its event in the journal, where it was recorded."""


class Retraced(msgspec.Struct, frozen=True, kw_only=True):
    """What the evidence decides, and what was recorded."""

    rollout: int
    policy: Policy
    decision: ReplayDecision
    position: int | None
    """How many requests were counted at the rollback."""
    why: ReasonCode | None
    """What the rollback blames."""
    slice: int
    clock: float
    """The window's clock at the decision, or at the recording's end, seconds."""
    words: str
    numbers: dict[str, float]
    """The evidence then."""
    steps: tuple[Step, ...]
    """Every decision on the way, holds too."""
    recorded: Step | None
    """How it ended or was held in the journal; None when nothing was decided yet."""
    same: bool | None
    """Whether both decide alike at the same slice; None where it was not the evidence that decided."""


def retrace(store: Store, number: int, policy: Policy | None = None) -> Retraced:
    """Judges rollout `number` again. `policy`: None for the recorded one.

    Raises NotFound when there was no such rollout, Conflict when its version never had traffic, InvalidInput
    for a policy that cannot be obeyed, Corrupt naming a damaged file.
    """
    if policy is not None and (problems := policy.problems()):
        raise InvalidInput(f"The policy {policy.name!r} cannot be obeyed: {'; '.join(problems)}.")
    state, later = _begun(store, number, policy)
    if policy is not None:  # whoever asks what that one would do asks of no other
        later = [event for event in later if not isinstance(event.body, PolicyChanged)]
    course = _Course(state, later, FeedbackWatch(store))
    for frozen in _slices(store, number):
        if course.over:
            break
        course.turn(frozen)
    course.finish()
    return course.result(number, _recorded(store, number, later))


def recorded_policy(store: Store, number: int) -> Policy:
    """The policy of rollout `number`. Raises NotFound."""
    for event in store.events():
        if isinstance(event.body, RolloutStarted) and event.body.rollout == number:
            return event.body.policy
    raise _no_such(number)


class _Course:
    """A journal in memory: what was recorded from outside, and what is decided here."""

    def __init__(self, state: State, later: list[Event], feedback: FeedbackWatch) -> None:
        self._state = state
        self._feedback = feedback
        self._outside = [event for event in later if not _by_evidence(event)]
        self._promoted = {
            event.body.evidence: event.body.numbers.get("in_flight", 0.0)
            for event in later
            if isinstance(event.body, Promoted) and _by_evidence(event)
        }
        assert state.rollout is not None
        self._policy = state.rollout.policy
        self._analysis = self._step_began = begun(state.rollout)
        self._shadow: PairEvidence | None = None
        self._aftermath = Aftermath()
        self._position = 0
        self._last: FrozenSlice | None = None
        self._verdict = self._standing.verdict()
        self._steps: list[Step] = []

    @property
    def over(self) -> bool:
        return self._state.rollout is None

    def turn(self, frozen: FrozenSlice) -> None:
        """One more slice, after what happened before it was frozen."""
        while self._outside and self._outside[0].time < frozen.time:
            self._happened(self._outside.pop(0))
        if self._state.rollout is None:
            return
        self._last = frozen
        self._position += sum(cell.successes + cell.failures for cell in frozen.slice)
        self._analysis = observe(self._analysis, frozen.slice, self._params)
        self._shadow = with_pairs(self._shadow, frozen.pairs, self._policy)
        if self._state.rollout.phase is RolloutPhase.HELD:
            self._aftermath.add(frozen.slice)
        self._decide(frozen)

    def finish(self) -> None:
        """The recording ends: what happened after its last slice."""
        while self._outside and not self.over:
            self._happened(self._outside.pop(0))

    def result(self, number: int, recorded: Step | None) -> Retraced:
        ended = self._state.last if self._state.rollout is None else self._state.rollout
        assert ended is not None
        last = self._steps[-1] if self._steps else None
        decision = last.decision if last else ReplayDecision.EXTEND
        comparable = recorded is None or recorded.code in _BY_EVIDENCE
        return Retraced(
            rollout=number,
            policy=ended.policy,
            decision=decision,
            position=self._position if decision is ReplayDecision.ROLLBACK else None,
            why=last.code if last and decision is ReplayDecision.ROLLBACK and last.code in _BLAMES else None,
            slice=self._standing.k,
            clock=self._standing.clock,
            words=last.reason if last else self._undecided(),
            numbers=self._verdict.numbers,
            steps=tuple(self._steps),
            recorded=recorded,
            same=_alike(last, recorded) if comparable else None,
        )

    def _undecided(self) -> str:
        left = self._policy.window_seconds - self._standing.clock
        open_still = f"; the window is open for another {left:.0f} s" if left > 0 else ""
        return f"{self._verdict.words}{open_still}"

    @property
    def _standing(self) -> Standing:
        return Standing(self._last, self._analysis, self._params, self._policy, self._shadow)

    @property
    def _params(self) -> Params:
        return params_of(self._policy)

    def _decide(self, frozen: FrozenSlice) -> None:
        rollout = self._state.rollout
        assert rollout is not None
        at = self._standing
        noted = self._promoted.get(at.digest) if self._promoted else None
        in_flight = frozen.in_flight if noted is None else min(frozen.in_flight, int(noted))
        self._verdict = at.verdict(in_flight)
        # Judgements stay in the store: those that had come then.
        judged = self._feedback.standing(self._state, rollout, until=frozen.time)
        situation = Situation(
            now=frozen.time,
            clock=at.clock,
            verdict=self._verdict,
            ready=frozen.ready or noted is not None,
            tripped=frozen.tripped and noted is None,
            outage_over=self._aftermath.over(rollout.policy.max_error_rate),
            vouched=vouched(rollout, judged),
            step=steps.proof(self._analysis, self._step_began, self._params, in_flight)
            if rollout.policy.steps
            else None,
            disagreement="" if self._shadow is None else self._shadow.objection,
            feedback=judged,
        )
        decision = decide(self._state, situation)
        body = body_of(decision, rollout, at, self._verdict, step=situation.step, feedback=situation.feedback)
        if body is None:
            return
        if (step := _step(body, at.k, decision.reason)) is not None:
            self._steps.append(step)
        self._apply(body, time=frozen.time, reason=decision.reason)

    def _happened(self, event: Event) -> None:
        """Somebody did something; a what-if may be where it makes no sense, and passes over it."""
        body = event.body
        assert self._state.rollout is not None
        if isinstance(body, RolloutStarted):
            return  # another version took its place: the slices end here
        try:
            self._apply(body, time=event.time, reason=event.reason)
        except IllegalTransition:
            return
        if isinstance(body, Resumed) and self._last is not None:
            self._decide(self._last)

    def _apply(self, body: Body, *, time: float, reason: str) -> None:
        before = self._state.rollout
        event = Event(
            seq=self._state.seq + 1,
            id="",
            prev=self._state.head,
            time=time,
            actor="replay",
            reason=reason,
            body=body,
        )
        self._state = apply(self._state, event, "")
        if isinstance(body, Held):
            self._aftermath = Aftermath()
        if before is not None and self._state.rollout is not None:
            if self._state.rollout.step_after != before.step_after:
                self._step_began = self._analysis
            self._policy = self._state.rollout.policy
            self._analysis = _carried(self._analysis, before, self._state.rollout)
            self._shadow = with_pairs(self._shadow, None, self._policy)


def _carried(analysis: Analysis, before: Rollout, after: Rollout) -> Analysis:
    """The evidence with which a rollout goes on after an event (as `ledger.standing` has it)."""
    if after.epoch > before.epoch:
        analysis = reset_epoch(analysis, params_of(after.policy))
    return restart_split(analysis, after.split_restarts)


def _begun(store: Store, number: int, policy: Policy | None) -> tuple[State, list[Event]]:
    """The state when the rollout's canary got its traffic, and what happened to it later."""
    events = list(store.events())
    digests = [event.prev for event in events[1:]] + [""]
    state, verified = State(), False
    later: list[Event] = []
    for event, digest in zip(events, digests, strict=True):
        body = event.body
        if verified:
            if _rollout_of(body) == number:
                later.append(event)
            continue
        if isinstance(body, RolloutStarted) and body.rollout == number and policy is not None:
            body = msgspec.structs.replace(body, policy=policy)
        state = apply(state, msgspec.structs.replace(event, body=body), digest)
        verified = isinstance(body, Verified) and body.rollout == number
    if verified:
        return state, later
    if number < 1 or state.rollouts < number:
        raise _no_such(number)
    raise Conflict(f"The version of rollout {number} never had traffic: there is nothing to judge.")


def _no_such(number: int) -> NotFound:
    return NotFound(f"There is no rollout {number}.", remedy="`serinus rollout history` lists them.")


def _rollout_of(body: Body) -> int | None:
    """The rollout that an event belongs to; the one that it ends, where it starts another."""
    if isinstance(body, RolloutStarted):
        return body.supersedes
    return getattr(body, "rollout", None)


def _by_evidence(event: Event) -> bool:
    """Whether it was decided by what the slices say, so that it is decided again here."""
    body = event.body
    if isinstance(body, Paused | Resumed | RolloutStarted | Verified | Rejected | PolicyChanged):
        return False
    code = getattr(body, "code", None)
    return code is None or code in _BY_EVIDENCE


def _slices(store: Store, number: int) -> Iterator[FrozenSlice]:
    k = 0
    while (frozen := store.frozen(number, k)) is not None:
        yield frozen
        k += 1


def _recorded(store: Store, number: int, later: list[Event]) -> Step | None:
    """The last decision that the journal holds."""
    for event in reversed(later):
        body = event.body
        if isinstance(body, Promoted | RolledBack):
            found = _step(body, _cited(store, number, body.evidence), event.reason)
        elif isinstance(body, Held):
            found = _step(body, body.k, event.reason)
        elif isinstance(body, RolloutStarted):
            found = Step(
                decision=ReplayDecision.EXTEND, code=ReasonCode.SUPERSEDED, slice=-1, reason=event.reason
            )
        else:
            continue
        return None if found is None else msgspec.structs.replace(found, seq=event.seq)
    return None


def _cited(store: Store, number: int, digest: str) -> int:
    one = store.last_frozen(number)
    while one is not None and one.digest != digest:
        one = store.frozen(number, one.k - 1) if one.k > 0 else None
    return -1 if one is None else one.k


def _step(body: Body, k: int, reason: str) -> Step | None:
    match body:
        case Promoted(code=code):
            return Step(decision=ReplayDecision.PROMOTE, code=code, slice=k, reason=reason)
        case RolledBack(code=code):
            return Step(decision=ReplayDecision.ROLLBACK, code=code, slice=k, reason=reason)
        case Held(code=code):
            return Step(decision=ReplayDecision.EXTEND, code=code, slice=k, reason=reason)
        case _:
            return None


def _alike(one: Step | None, other: Step | None) -> bool:
    if one is None or other is None:
        return one is other
    return (one.decision, one.code, one.slice) == (other.decision, other.code, other.slice)
