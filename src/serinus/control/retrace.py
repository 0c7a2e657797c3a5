"""A recorded rollout judged once more: from its frozen slices, by its own policy or by another one.

The same `decide` and the same table of transitions run over a journal in memory (`control.course`). What is
taken from the recording is what no policy decides: the slices with their clock, whether the canary was
loaded, the trips, and what people did (pauses, resumptions), each at its place. So with the recorded policy
the decision falls at the slice at which it fell; with another one this tells what would have been. It cannot
tell what traffic another policy would have brought: a what-if decides on the requests that were recorded, and
may run out of them.
"""

from collections.abc import Callable, Iterator

import msgspec

from serinus.control.course import Course, Step, step_of
from serinus.control.judged import FeedbackWatch
from serinus.control.placed import placed
from serinus.core.enums import ReasonCode
from serinus.core.errors import Conflict, InvalidInput, NotFound
from serinus.evidence.replay import ReplayDecision
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
from serinus.rollout.policy import Policy
from serinus.rollout.state import State
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


def retrace(
    store: Store, number: int, policy: Policy | None = None, *, window: float | None = None
) -> Retraced:
    """Judges rollout `number` again.

    `policy`: from its start to its end, in place of the recorded ones; None for those, each from where it was
    in force. `window`: seconds, in place of that of each policy.

    Raises NotFound when there was no such rollout, Conflict when its version never had traffic, InvalidInput
    for a policy that cannot be obeyed, Corrupt naming a damaged file.
    """

    def supposed(recorded: Policy) -> Policy:
        obeyed = recorded if policy is None else policy
        if window is not None:
            obeyed = msgspec.structs.replace(obeyed, window_seconds=window)
        if problems := obeyed.problems():
            raise InvalidInput(f"The policy {obeyed.name!r} cannot be obeyed: {'; '.join(problems)}.")
        return obeyed

    state, later = _begun(store, number, supposed)
    assert state.rollout is not None
    noted = {
        event.body.evidence: event.body.numbers.get("in_flight", 0.0)
        for event in later
        if isinstance(event.body, Promoted) and _by_evidence(event)
    }
    outside = [one for one in placed(later, state.rollout.epoch) if not _by_evidence(one.event)]
    if policy is not None:  # it asks of no other, nor of the settings for which a promotion had to wait
        outside = [one for one in outside if not isinstance(one.event.body, PolicyChanged | Held)]
    watch = FeedbackWatch(store)
    course = Course(
        state,
        outside=outside,
        promoted=noted,
        # Judgements stay in the store: those that had come then.
        feedback=lambda state, rollout, until: watch.standing(state, rollout, until=until),
    )
    for frozen in _slices(store, number):
        if course.over:
            break
        course.turn(frozen)
    course.finish()
    return _result(number, course, _recorded(store, number, later))


def _result(number: int, course: Course, recorded: Step | None) -> Retraced:
    last = course.decisions[-1] if course.decisions else None
    comparable = recorded is None or recorded.code in _BY_EVIDENCE
    return Retraced(
        rollout=number,
        policy=course.policy,
        decision=course.decision,
        position=course.counted if course.decision is ReplayDecision.ROLLBACK else None,
        why=course.blame,
        slice=course.standing.k,
        clock=course.standing.window,
        words=course.words,
        numbers=course.verdict.numbers,
        steps=tuple(course.decisions),
        recorded=recorded,
        same=_alike(last, recorded) if comparable else None,
    )


def _begun(store: Store, number: int, supposed: Callable[[Policy], Policy]) -> tuple[State, list[Event]]:
    """The state when the rollout's canary got its traffic, and what happened to it later."""
    events = list(store.events())
    digests = [event.prev for event in events[1:]] + [""]
    state, verified = State(), False
    later: list[Event] = []
    for recorded, digest in zip(events, digests, strict=True):
        event, body = recorded, recorded.body
        if isinstance(body, RolloutStarted | PolicyChanged) and body.rollout == number:
            body = msgspec.structs.replace(body, policy=supposed(body.policy))
            event = msgspec.structs.replace(event, body=body)
        if verified:
            if _rollout_of(body) == number:
                later.append(event)
            continue
        state = apply(state, event, digest)
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
            found = step_of(body, _cited(store, number, body.evidence), event.reason)
        elif isinstance(body, Held):
            found = step_of(body, body.k, event.reason)
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


def _alike(one: Step | None, other: Step | None) -> bool:
    if one is None or other is None:
        return one is other
    return (one.decision, one.code, one.slice) == (other.decision, other.code, other.slice)
