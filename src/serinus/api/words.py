"""The words for what happened and what is going on: the same in the API, the pages and the history. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

import msgspec

from serinus.control.history import Tone, numbers_in, tone, what
from serinus.core.enums import ReasonCode, RolloutPhase
from serinus.core.ids import Version
from serinus.rollout.events import (
    Aside,
    Event,
    Published,
    Undone,
)
from serinus.rollout.state import Rollout, State
from serinus.rollout.table import kind_name
from serinus.store import Replica


class Mode(StrEnum):
    """What is going on, in one word."""

    EMPTY = "empty"
    PRODUCTION = "production"
    VERIFYING = "verifying"
    CANARY = "canary"
    PAUSED = "paused"
    HELD = "held"


class Headline(msgspec.Struct, frozen=True, kw_only=True):
    """The state in a title and a sentence."""

    mode: Mode
    tone: Tone
    title: str
    detail: str


_MODES = {
    RolloutPhase.VERIFYING: Mode.VERIFYING,
    RolloutPhase.CANARY: Mode.CANARY,
    RolloutPhase.PAUSED: Mode.PAUSED,
    RolloutPhase.HELD: Mode.HELD,
}

CODES: dict[ReasonCode, str] = {
    ReasonCode.EVIDENCE_GOOD: "the evidence is good",
    ReasonCode.ERRORS: "it failed too many requests",
    ReasonCode.LATENCY: "it is too slow",
    ReasonCode.SIGNALS: "its answers are invalid or empty",
    ReasonCode.DRIFT: "the pictures differ from those of before",
    ReasonCode.LOAD_FAILURE: "it does not load",
    ReasonCode.VERIFY_FAILED: "a check before traffic failed",
    ReasonCode.QUALITY_GATE: "it is worse on a golden set",
    ReasonCode.TRAINED_ON_GOLDEN: "it was trained on a golden set",
    ReasonCode.SIGNATURE: "nobody trusted has signed it",
    ReasonCode.MEMORY: "there is no room for it beside current",
    ReasonCode.SHARED_FAILURE: "both versions fail",
    ReasonCode.INSUFFICIENT: "there is too little evidence",
    ReasonCode.ASSIGNMENT: "the traffic split is not the declared one",
    ReasonCode.DISAGREEMENT: "the versions disagree too often",
    ReasonCode.MANUAL: "by hand",
    ReasonCode.SUPERSEDED: "a newer version took its place",
    ReasonCode.INITIAL: "first start",
}

_HELD = {
    ReasonCode.SIGNALS: "its answers differ from current's",
    ReasonCode.SIGNATURE: "its signature cannot be checked",
}
"""Where the reason of a hold is another one than that of a rollback with the same code."""


def span(seconds: float) -> str:
    """A duration for people: `45 s`, `2 min 5 s`, `1 h 3 min`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min" if whole % 3600 >= 60 else f"{whole // 3600} h"


def percent(share: float) -> str:
    """A share for people: `50 %`, `12.5 %`."""
    return f"{share * 100:.3g} %"


_REASONS = 3
"""So many different reasons of a failure fit a headline."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One event of the history, in words."""

    seq: int
    time: float
    """Seconds since 1970-01-01 UTC."""
    kind: str
    what: str
    tone: Tone
    who: str
    why: str
    numbers: dict[str, float] = {}
    event: Event
    """The whole event, as it is in the journal."""


def entry(event: Event, version_of: Mapping[int, Version]) -> Entry:
    """An event in words; `version_of` maps a rollout's number to its version."""
    body = event.body
    version: Version | None = None
    if isinstance(body, Published | Undone):
        version = body.version
    elif not isinstance(body, Aside):
        version = version_of.get(body.rollout)
    return Entry(
        seq=event.seq,
        time=event.time,
        kind=kind_name(type(body)),
        what=what(body, version),
        tone=tone(body),
        who=event.actor,
        why=event.reason,
        numbers=numbers_in(body),
        event=event,
    )


def headline(state: State, clock: float, replicas: Sequence[Replica]) -> Headline:
    """What is going on.

    `clock` is the window's clock of the active rollout, in seconds; `replicas` are those heard of lately.
    """
    trouble = _trouble(state, replicas)
    if state.rollout is not None:
        active = _active(state.rollout, clock)
        if not trouble:
            return active
        detail = f"Version {state.current} is current and does not load: {trouble} {active.detail}"
        return Headline(mode=active.mode, tone=Tone.BAD, title=active.title, detail=detail)
    if trouble:
        title = f"Version {state.current} is current and does not load"
        return Headline(mode=Mode.PRODUCTION, tone=Tone.BAD, title=title, detail=trouble)
    if state.current is None:
        return Headline(
            mode=Mode.EMPTY,
            tone=Tone.WAIT,
            title="No version yet",
            detail="The first start publishes the packaged base model as version 1. "
            "Start the inference service, or publish a version.",
        )
    ended = "" if state.last is None else _ended(state.last, state.current)
    detail = f"{ended} Version {state.current} answers every request; the next one comes as a canary.".strip()
    return Headline(
        mode=Mode.PRODUCTION, tone=Tone.GOOD, title=f"Version {state.current} is in production", detail=detail
    )


def _trouble(state: State, replicas: Sequence[Replica]) -> str:
    """Why current loads on no replica, who answers instead, and what to do; empty when it loads somewhere.

    A replica that has neither loaded it nor failed to is still loading, and is no trouble yet.
    """
    if state.current is None:
        return ""
    digest = state.versions[state.current].digest
    reasons = sorted({each.failed[digest].rstrip(". ") for each in replicas if digest in each.failed})
    if not reasons or any(digest in each.loaded for each in replicas):
        return ""
    # The canary answers its own share only; it takes nobody's place.
    canary = None if state.canary is None else state.canary.version
    loaded = {one for each in replicas for one in each.loaded}
    able = [v for v, record in state.versions.items() if record.digest in loaded and v != canary]
    instead = (
        f"Version {_either(able)} answers instead." if able else "No other version answers in its place."
    )
    undo = False
    if state.previous is not None and state.rollout is None:
        undo = not any(state.versions[state.previous].digest in each.failed for each in replicas)
    remedy = "Undo its promotion, or publish or start" if undo else "Publish or start"
    return f"{'; '.join(reasons[:_REASONS])}. {instead} {remedy} another version."


def _either(versions: Iterable[Version]) -> str:
    return " or ".join(str(version) for version in sorted(versions, reverse=True))


def _ended(last: Rollout, current: Version) -> str:
    why = f": {CODES[last.code]}" if last.code is not None else ""
    undone = last.phase is RolloutPhase.PROMOTED and last.version != current
    return {
        RolloutPhase.PROMOTED: f"The promotion of version {last.version} was undone."
        if undone
        else f"Version {last.version} was promoted{why}.",
        RolloutPhase.ROLLED_BACK: f"Version {last.version} was rolled back{why}.",
        RolloutPhase.REJECTED: f"Version {last.version} was rejected before traffic{why}.",
    }.get(last.phase, "")


def _active(rollout: Rollout, clock: float) -> Headline:
    name, mode, left = (
        f"Version {rollout.version}",
        _MODES[rollout.phase],
        rollout.policy.window_seconds - clock,
    )
    share = percent(rollout.share)
    match mode:
        case Mode.VERIFYING:
            title = f"{name} is being checked"
            detail = "Hashes, a trial run in a sandbox, and the golden sets. It has seen no traffic yet."
        case Mode.PAUSED:
            title = f"{name} is paused"
            detail = (
                f"The clock stands still at {span(clock)}; {share} of the traffic still goes to the canary, "
            )
            detail += "and it is still rolled back if it does harm."
        case Mode.HELD:
            why = f": {_HELD.get(rollout.code, CODES[rollout.code])}" if rollout.code is not None else ""
            title = f"{name} is held{why}"
            detail = f"{rollout.reason.rstrip('.')}." if rollout.reason else ""
            if rollout.code is not ReasonCode.SIGNATURE:  # which asks for other settings, not for a decision
                detail += " The evidence cannot decide. Promote it, roll it back, or resume."
            detail = detail.strip()
        case _:
            title = f"{name} is on trial"
            detail = f"{share} of the requests go to the canary. "
            detail += (
                f"It can be promoted in {span(left)}, if nothing speaks against it."
                if left > 0
                else "The window is over; it is promoted as soon as the evidence is good enough."
            )
    return Headline(mode=mode, tone=Tone.WAIT, title=title, detail=detail)
