"""The history for people: who did what, when, why, with which numbers."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeAlias

import msgspec

from serinus.core.enums import Named
from serinus.core.ids import Version
from serinus.rollout.events import (
    Aside,
    Body,
    EditionSaved,
    EpochReset,
    Event,
    Held,
    ImportRejected,
    Lost,
    Noted,
    Paused,
    PolicyChanged,
    Promoted,
    Published,
    Rejected,
    Removed,
    Resumed,
    RolledBack,
    RolloutStarted,
    ShareChanged,
    Undone,
    Verified,
)
from serinus.rollout.table import kind_name
from serinus.store import Store

Decided: TypeAlias = Promoted | RolledBack | Held | Noted | ShareChanged | EpochReset
"""What rests on frozen evidence, and names it."""


class Tone(StrEnum):
    """What an event means for its reader."""

    GOOD = "good"
    BAD = "bad"
    WAIT = "wait"
    PLAIN = "plain"


_TONES: Mapping[type[Body], Tone] = {
    Verified: Tone.WAIT,
    Paused: Tone.WAIT,
    Held: Tone.WAIT,
    Rejected: Tone.BAD,
    ImportRejected: Tone.BAD,
    Lost: Tone.BAD,
    RolledBack: Tone.BAD,
    Undone: Tone.BAD,
    Promoted: Tone.GOOD,
}


def tone(body: Body) -> Tone:
    """What this kind of event means for its reader."""
    return _TONES.get(type(body), Tone.PLAIN)


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One event."""

    seq: int
    time: float
    """Seconds since 1970-01-01 UTC."""
    actor: str
    kind: str
    """The event's kind as it stands in the journal, such as `rolled_back`."""
    what: str
    tone: Tone
    why: str
    version: Version | None
    """The version it is about."""
    rollout: int | None
    numbers: dict[str, float] = {}
    report: dict[str, Any] = {}
    """Of the checks before traffic."""
    evidence: str = ""
    """Digest of the frozen slice that it rests on."""


def history(store: Store, *, limit: int | None = None) -> list[Row]:
    """Oldest first; with `limit` only so many of the newest, read from the end.

    Raises Corrupt, naming a damaged file.
    """
    versions: dict[int, Version] = {}
    if limit is None:
        return [row_of(event, versions) for event in store.events()]
    newest: list[Event] = []
    for event in store.newest_events():
        body = event.body
        if len(newest) < limit:
            newest.append(event)
        elif isinstance(body, RolloutStarted):
            # One rollout at a time: of those told about, at most the oldest began before.
            versions[body.rollout] = body.version
            break
    return [row_of(event, versions) for event in reversed(newest)]


def row_of(event: Event, versions: dict[int, Version]) -> Row:
    """`versions`: rollout -> version, as far as it was told; a start adds to it."""
    body = event.body
    if isinstance(body, RolloutStarted):
        versions[body.rollout] = body.version
    rollout = None if isinstance(body, Aside) else body.rollout
    version: Version | None = None
    if isinstance(body, Published | RolloutStarted | Promoted | RolledBack | Undone):
        version = body.version
    elif isinstance(body, Removed):
        version = body.versions[0] if len(body.versions) == 1 else None
    elif not isinstance(body, Aside):
        version = versions.get(body.rollout)
    return Row(
        seq=event.seq,
        time=event.time,
        actor=event.actor,
        kind=kind_name(type(body)),
        what=what(body, version),
        tone=tone(body),
        why=event.reason,
        version=version,
        rollout=rollout,
        numbers=numbers_in(body),
        report=body.report if isinstance(body, Verified | Rejected) else {},
        evidence=body.evidence if isinstance(body, Decided) else "",
    )


def numbers_in(body: Body) -> dict[str, float]:
    """The numbers that an event carries; none where it rests on none."""
    return body.numbers if isinstance(body, Decided | PolicyChanged) else {}


_WORDS: Mapping[type[Body], str] = {
    Paused: "paused",
    Resumed: "resumed",
    PolicyChanged: "obeys another policy",
    EpochReset: "evidence starts afresh",
}


def what(body: Body, version: Version | None) -> str:
    """What happened, in a few words. `version`: the one it is about."""
    if isinstance(body, ImportRejected | EditionSaved | Lost):
        return _noted(body)
    match body:
        case Published(initial=initial, source=source):
            words = "imported from elsewhere" if source else "published"
            words += " as the first version" if initial else ""
        case RolloutStarted(supersedes=None):
            words = "checks before traffic begin"
        case RolloutStarted(supersedes=number):
            words = f"checks before traffic begin, rollout {number} superseded"
        case Verified(share=share) | ShareChanged(share=share):
            kind = "is the canary" if isinstance(body, Verified) else "share changed"
            words = f"{kind}, {share:.0%} of the requests"
        case Rejected(code=code):
            words = f"rejected before traffic ({code})"
        case Held(code=code) | Noted(code=code):
            words = f"{kind_name(type(body))} ({code})"
        case Promoted(override=override):
            words = "promoted by override" if override else "promoted"
        case RolledBack(code=code):
            words = f"rolled back ({code})"
        case Undone(undone=undone):
            words = f"current again, promotion of version {undone} undone"
        case Removed(versions=versions):
            numbers = ", ".join(map(str, versions))
            return f"version{'s' if len(versions) > 1 else ''} {numbers}: removed to save space"
        case _:
            words = _WORDS[type(body)]
    return f"version {version}: {words}"


def _noted(body: ImportRejected | EditionSaved | Lost) -> str:
    """What is about no version."""
    match body:
        case ImportRejected(code=code):
            return f"a model from elsewhere was not imported ({code})"
        case EditionSaved(what=what, name=name, edition=edition):
            return f"{'golden set' if what is Named.GOLDEN else 'policy'} {name}: edition {edition}"
        case Lost():
            return "the event that had this number is lost"
