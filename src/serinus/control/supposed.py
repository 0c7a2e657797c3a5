"""Recorded requests of a file, judged as a rollout under a policy would judge them.

The same course as that of a recorded rollout (`control.retrace`), with what a file does not hold supposed:
both versions are loaded, nobody intervenes, no request is in flight. A request has no clock but `t`, which
serves only to slice, so the window ends with the file, and a hold lasts until it is over by itself or the
file ends. Of the policy count what is judged (`rule`, `min_requests`, rates, latency), `steps`, `on_shift`,
and, where `max_evaluation` is 1, `on_insufficient`. Golden sets, feedback, shadow pairs, signatures and the
past are not in a file: nothing is asked of them.
"""

from collections.abc import Iterable

import msgspec

from serinus.control.course import Course
from serinus.control.ledger import params_of
from serinus.core.ids import Digest, Version
from serinus.evidence.analysis import begin
from serinus.evidence.counts import Slice
from serinus.evidence.replay import Outcome, ReplayDecision, Row, slices
from serinus.rollout.events import Body, Event, Published, RolloutStarted, Verified
from serinus.rollout.policy import Policy, share_of_step
from serinus.rollout.state import State
from serinus.rollout.transitions import apply
from serinus.store import FrozenSlice

_CURRENT, _CANARY = Version(1), Version(2)


def judged_by(rows: Iterable[Row], policy: Policy, slice_seconds: float | None = None) -> Outcome:
    """Decides as a rollout under `policy` would whose window ends with the stream.

    `slice_seconds`: None judges after every request, else after every slice of that length.
    """
    course = Course(_begun(policy))
    position = k = 0
    for slice_, requests in slices(rows, slice_seconds):
        position += requests
        course.turn(_frozen(slice_, k, policy, clock=0.0))
        k += 1
        if course.over:
            break
    if not course.over:
        course.turn(_frozen((), k, policy, clock=policy.window_seconds))
    return Outcome(
        decision=course.decision,
        position=position if course.decision is ReplayDecision.ROLLBACK else None,
        why=course.blame,
        verdict=msgspec.structs.replace(course.verdict, words=course.words),
    )


def _begun(policy: Policy) -> State:
    """A journal in memory whose canary just got its traffic."""
    bodies: tuple[Body, ...] = (
        Published(version=_CURRENT, digest=Digest("current"), initial=True),
        Published(version=_CANARY, digest=Digest("canary")),
        RolloutStarted(rollout=1, version=_CANARY, policy=policy),
        Verified(rollout=1, share=share_of_step(policy, _CURRENT, 0)),
    )
    state = State()
    for body in bodies:
        event = Event(
            seq=state.seq + 1, id="", prev=state.head, time=0.0, actor="replay", reason="a file", body=body
        )
        state = apply(state, event, "")
    return state


def _frozen(slice_: Slice, k: int, policy: Policy, *, clock: float) -> FrozenSlice:
    """A slice as a controller would have frozen it; the course keeps the analysis itself."""
    return FrozenSlice(
        rollout=1,
        k=k,
        sources={},
        slice=slice_,
        clock_increment=clock,
        clock=clock,
        time=0.0,
        in_flight=0,
        analysis=begin(params_of(policy)),
        prev="",
    )
