"""The history in words, and what finds something in it: an index of a few fields of every event, in memory.

Of 10,000 events an answer reads the ones that it shows. The index is made when the first question needs it,
and goes on from there.
"""

import threading
from collections.abc import Iterator
from contextlib import suppress

import msgspec

from serinus.api.words import Entry, entry
from serinus.core.enums import ReasonCode, RolloutPhase
from serinus.core.errors import Unavailable
from serinus.core.ids import Version
from serinus.rollout.events import (
    Aside,
    Event,
    Promoted,
    Published,
    Rejected,
    RolledBack,
    RolloutStarted,
    Undone,
)
from serinus.store import Store

_NEWEST = 50


class HistoryPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the history. The next page: `after` = `next`, with the newest first `before` = `next`."""

    entries: tuple[Entry, ...]
    next: int | None = None
    """Number to go on from; None at the end."""
    total: int
    """Entries that match, on all pages."""


class RolloutLine(msgspec.Struct, frozen=True, kw_only=True):
    """One rollout of the past or of now."""

    number: int
    version: Version
    policy: str
    """Name of the policy that it was started with."""
    started_at: float
    ended_at: float | None = None
    outcome: RolloutPhase | None = None
    """How it ended; None while it is active."""
    code: ReasonCode | None = None
    reason: str = ""
    by: str = ""
    """Who ended it."""
    override: bool = False


class RolloutsPage(msgspec.Struct, frozen=True, kw_only=True):
    """Rollouts, newest first."""

    rollouts: tuple[RolloutLine, ...]
    total: int


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """What an entry must be like to be found; empty fields ask for nothing."""

    after: int = 0
    before: int | None = None
    kind: str = ""
    actor: str = ""
    """A part of the actor's name, whatever its case."""
    version: int | None = None
    rollout: int | None = None
    text: str = ""
    """A part of what happened or of the reason, whatever its case."""


class _Line(msgspec.Struct, frozen=True):
    seq: int
    kind: str
    actor: str
    version: Version | None
    rollout: int | None
    text: str

    def matches(self, wanted: Search) -> bool:
        return (
            self.seq > wanted.after
            and (wanted.before is None or self.seq < wanted.before)
            and (not wanted.kind or self.kind == wanted.kind)
            and (wanted.version is None or self.version == wanted.version)
            and (wanted.rollout is None or self.rollout == wanted.rollout)
            and wanted.actor.lower() in self.actor
            and wanted.text.lower() in self.text
        )


class Chronicle:
    """The history of a store. Thread-safe."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._lines: list[_Line] = []
        self._version_of: dict[int, Version] = {}
        self._rollouts: dict[int, RolloutLine] = {}
        self._recent: list[Entry] = []

    def recent(self) -> list[Entry]:
        """The newest entries, newest first; what was read last while the store is away."""
        with suppress(Unavailable), self._lock:
            seq = self._store.state().seq
            if not self._recent or self._recent[0].seq < seq:
                self._recent = self._newest()
        return self._recent

    def _newest(self) -> list[Entry]:
        """Reads from the end, as far as the entries and the starts of their rollouts lie."""
        events: list[Event] = []
        version_of: dict[int, Version] = {}
        for event in self._store.newest_events():
            body = event.body
            if isinstance(body, RolloutStarted):
                version_of[body.rollout] = body.version
            if len(events) < _NEWEST:
                events.append(event)
            elif isinstance(body, RolloutStarted):
                break  # one rollout at a time: of those shown only the oldest began before
        return [entry(event, version_of) for event in events]

    def page(self, wanted: Search, limit: int, *, newest_first: bool = False) -> HistoryPage:
        """At most `limit` entries that match."""
        with self._lock:
            self._catch_up()
            lines = [line for line in self._lines if line.matches(wanted)]
        if newest_first:
            lines.reverse()
        entries = tuple(self._entries([line.seq for line in lines[:limit]]))
        return HistoryPage(
            entries=entries, next=entries[-1].seq if len(lines) > limit else None, total=len(lines)
        )

    def all(self, wanted: Search) -> Iterator[Entry]:
        """Every entry that matches, oldest first, read as they are asked for."""
        with self._lock:
            self._catch_up()
            found = [line.seq for line in self._lines if line.matches(wanted)]
        return self._entries(found)

    def rollouts(self, limit: int, before: int | None = None) -> RolloutsPage:
        """The newest `limit` with numbers below `before`."""
        with self._lock:
            self._catch_up()
            found = [
                one for one in reversed(self._rollouts.values()) if before is None or one.number < before
            ]
        return RolloutsPage(rollouts=tuple(found[:limit]), total=len(self._rollouts))

    def kinds(self) -> list[str]:
        """Kinds of events that happened, in alphabetical order."""
        with self._lock:
            self._catch_up()
            return sorted({line.kind for line in self._lines})

    def _entries(self, seqs: list[int]) -> Iterator[Entry]:
        at = -1
        events: Iterator[Event] = iter(())
        for seq in seqs:
            if seq != at + 1:
                events = self._store.events(seq - 1)
            at = seq
            yield entry(next(events), self._version_of)

    def _catch_up(self) -> None:
        for event in self._store.events(self._lines[-1].seq if self._lines else 0):
            body = event.body
            if isinstance(body, RolloutStarted):
                self._version_of[body.rollout] = body.version
            self._note(event)
            told = entry(event, self._version_of)
            rollout = None if isinstance(body, Aside) else body.rollout
            version = self._version_of.get(rollout) if rollout is not None else None
            if isinstance(body, Published | Undone):
                version = body.version
            text = f"{told.what}\n{told.why}".lower()
            self._lines.append(_Line(event.seq, told.kind, event.actor.lower(), version, rollout, text))

    def _note(self, event: Event) -> None:
        """What the event means for the list of rollouts."""
        match event.body:
            case RolloutStarted(supersedes=old) as body:
                if old is not None:
                    self._end(old, event, RolloutPhase.SUPERSEDED, ReasonCode.SUPERSEDED)
                self._rollouts[body.rollout] = RolloutLine(
                    number=body.rollout,
                    version=body.version,
                    policy=body.policy.name,
                    started_at=event.time,
                )
            case Promoted() as body:
                self._end(body.rollout, event, RolloutPhase.PROMOTED, body.code, override=body.override)
            case RolledBack() as body:
                self._end(body.rollout, event, RolloutPhase.ROLLED_BACK, body.code)
            case Rejected() as body:
                self._end(body.rollout, event, RolloutPhase.REJECTED, body.code)

    def _end(
        self, number: int, event: Event, outcome: RolloutPhase, code: ReasonCode, *, override: bool = False
    ) -> None:
        if number in self._rollouts:
            self._rollouts[number] = msgspec.structs.replace(
                self._rollouts[number],
                ended_at=event.time,
                outcome=outcome,
                code=code,
                reason=event.reason,
                by=event.actor,
                override=override,
            )
