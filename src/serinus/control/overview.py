"""What is going on, for people and scripts: `serinus rollout status`."""

import msgspec

from serinus.control.judged import FeedbackWatch
from serinus.control.ledger import standing
from serinus.control.outlook import waits_for
from serinus.control.pairs import PairsView, classes_of, pairs_view
from serinus.core.enums import ReasonCode, RolloutPhase
from serinus.core.ids import Digest, Version
from serinus.rollout.state import Rollout, State
from serinus.store import Store


class Served(msgspec.Struct, frozen=True, kw_only=True):
    version: Version
    digest: Digest


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """A rollout, active or the last one."""

    rollout: int
    version: Version
    phase: RolloutPhase
    share: float
    clock: float
    """Seconds of evaluation so far."""
    window_seconds: float
    seconds_left: float
    """Of the window; 0 when it is over."""
    started_at: float
    """Seconds since 1970-01-01 UTC."""
    ended_at: float | None
    code: ReasonCode | None
    reason: str
    good: bool
    """The evidence suffices for a promotion (the window apart)."""
    evidence: str
    """What the evidence says, in words."""
    answers: str
    """What the versions' answers say of each other and of the past, in words; empty before any."""
    waits_for: str
    """Before traffic: which replicas have not loaded it, in words; empty while it is checked, and later."""
    blockers: tuple[str, ...]
    numbers: dict[str, float]
    pairs: PairsView | None
    """What shadow pairs say; None where there were none."""
    feedback: str = ""
    """Where the feedback gate stands, in words; empty without one, and for a rollout that is over."""


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    seq: int
    """The journal's last event: give it as `--expect` with a decision."""
    current: Served | None
    canary: Served | None
    previous: Version | None
    """What undo restores."""
    rollout: Progress | None
    """The active one."""
    last: Progress | None
    """The last one that ended."""
    words: str


def overview(store: Store) -> Overview:
    """Reads the store once. Raises Corrupt, naming a damaged file."""
    state = store.state()
    active = None if state.rollout is None else _active(store, state, state.rollout)
    last = None if state.last is None else _progress(store, state.last)
    canary = state.canary
    return Overview(
        seq=state.seq,
        current=_served(state, state.current),
        canary=None if canary is None else _served(state, canary.version),
        previous=state.previous,
        rollout=active,
        last=last,
        words=_words(state, active, last),
    )


def _active(store: Store, state: State, rollout: Rollout) -> Progress:
    progress = msgspec.structs.replace(_progress(store, rollout), waits_for=waits_for(store, state))
    if rollout.policy.feedback is None:
        return progress
    judged = FeedbackWatch(store).standing(state, rollout)
    return progress if judged is None else msgspec.structs.replace(progress, feedback=judged.words)


def _served(state: State, version: Version | None) -> Served | None:
    return None if version is None else Served(version=version, digest=state.versions[version].digest)


def _progress(store: Store, rollout: Rollout) -> Progress:
    at = standing(store, rollout)
    verdict = at.verdict()
    return Progress(
        rollout=rollout.number,
        version=rollout.version,
        phase=rollout.phase,
        share=rollout.share,
        clock=at.window,
        window_seconds=rollout.policy.window_seconds,
        seconds_left=max(0.0, rollout.policy.window_seconds - at.window),
        started_at=rollout.started_at,
        ended_at=rollout.ended_at,
        code=rollout.code,
        reason=rollout.reason,
        good=verdict.good,
        evidence=verdict.words,
        answers=verdict.answers,
        waits_for="",
        blockers=verdict.blockers,
        numbers=verdict.numbers,
        pairs=pairs_view(at.shadow, rollout.vouched, classes_of(store, rollout.version, rollout.baseline)),
    )


def _words(state: State, active: Progress | None, last: Progress | None) -> str:
    if state.current is None and active is None:
        return "No version yet. `serinus up` publishes the base model as version 1."
    lines = [] if state.current is None else [f"Version {state.current} is current."]
    if active is not None:
        lines += _active_words(active)
    elif last is not None:
        lines.append(f"Rollout {last.rollout}: version {last.version} {last.phase}. {last.reason}")
    return "\n".join(lines)


def _active_words(active: Progress) -> list[str]:
    if active.phase is RolloutPhase.VERIFYING:
        lines = [f"Version {active.version} is being verified; it gets no requests yet."]
        return lines + ([f"It passed its checks: {active.waits_for}."] if active.waits_for else [])
    clock = f"{active.clock:.0f} of {active.window_seconds:g} s of the window"
    lines = [f"Version {active.version} is {active.phase} with {active.share:.0%} of the requests, {clock}."]
    if active.phase in (RolloutPhase.PAUSED, RolloutPhase.HELD):
        lines.append(f"Why: {active.reason}")
    lines.append(f"Evidence: {active.evidence}.")
    if active.answers:
        lines.append(f"Answers: {active.answers}.")
    if active.pairs is not None:
        lines.append(f"Shadow pairs: {active.pairs.words}")
    if active.feedback:
        lines.append(f"{active.feedback[0].upper()}{active.feedback[1:]}.")
    return lines
