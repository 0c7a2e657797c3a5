"""The journal, read from its first event: every seal, every link, every transition, and where it ends.

Snapshots are not believed here. What exists is listed before the reading begins, so a number that is listed
and not found is a gap, whatever others append meanwhile.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from serinus.core.errors import Conflict, Corrupt
from serinus.core.ids import Digest
from serinus.rollout.events import EpochReset, Event, Held, Promoted, Published, RolledBack
from serinus.rollout.state import State
from serinus.rollout.transitions import apply
from serinus.store.backend import Backend
from serinus.store.checking.findings import RESTORE, Kind, Problem, Severity, problem
from serinus.store.checking.ground import Ground
from serinus.store.journal import Entry, Journal, decode
from serinus.store.sealed import unseal

FOLDER = "journal"
SNAPSHOTS = f"{FOLDER}/snapshots"
NUMBERED = re.compile(r"(\d{10})\.json")
_NO_BACKUP = f"{RESTORE} Nothing after it can be trusted without it."
_TAIL = (
    f"{RESTORE} Without a backup: move the file that names it away, and know that what happened then is "
    "not recorded."
)


class Citation(NamedTuple):
    """An event that names evidence: a slice by its hash, or by its number."""

    name: str
    """The event's file."""
    rollout: int
    digest: str
    k: int


class Chronicle:
    """What the events say. Read it by exhausting `problems`; a healed one is read again and counts."""

    def __init__(self, ground: Ground, keep: frozenset[int]) -> None:
        self._ground = ground
        self._keep = keep
        self.state = State()
        self.whole = True
        """Whether `state` is the fold of everything; else it ends before the first event that is damaged."""
        self.states: dict[int, State] = {}
        """After the events that were to be kept, as far as they are there."""
        self.citations: list[Citation] = []
        self.published: set[Digest] = set()
        """Artifacts that any readable event published, also beyond damage."""
        self._head: str | None = ""
        """sha256 of the event before; None when that one cannot be read."""
        self._before: tuple[State, str | None] = (State(), "")
        """The state and the head before the newest event."""

    def problems(self) -> Iterator[Problem]:
        names = self._ground.backend.names(FOLDER)
        listed = max((int(m[1]) for m in map(NUMBERED.fullmatch, names) if m), default=0)
        yield from self._up_to(listed)
        claim = self._claim()
        if claim is not None:
            yield claim
            yield from self._to_end()

    def _up_to(self, listed: int) -> Iterator[Problem]:
        for key, found in self._ground.read_all(_key(seq) for seq in range(1, listed + 1)):
            yield from self._event(int(key[-15:-5]), found)
        self._end = listed
        yield from self._to_end()

    def _to_end(self) -> Iterator[Problem]:
        """What was appended since the listing, or restored."""
        while (found := self._ground.read(_key(self._end + 1))) is not None:
            self._end += 1
            yield from self._event(self._end, found)

    def _event(self, seq: int, found: bytes | Corrupt | None) -> Iterator[Problem]:
        wrong = self._take(seq, found)
        if wrong is None:
            return
        yield problem(
            Severity.ERROR,
            wrong.kind,
            self._ground.name(_key(seq)),
            wrong.words,
            remedy=_NO_BACKUP,
            heal=(lambda: self._restore(seq) or self._restore_predecessor(seq))
            if self._ground.other is not None
            else None,
        )
        try:
            again = self._take(seq, self._ground.read(_key(seq)))
        except Corrupt:
            again = wrong
        if again is not None:
            self.whole = False
            self._head = again.head

    def _take(self, seq: int, found: bytes | Corrupt | None) -> "_Wrong | None":
        """Goes on with event `seq`; gives what is wrong with it."""
        if found is None:
            return _Wrong(Kind.MISSING, f"Event {seq} is missing; later ones are there.")
        name = self._ground.name(_key(seq))
        try:
            event, digest = _decode(found, seq, name)
        except Corrupt as error:
            return _Wrong(Kind.CHANGED, error.message)
        if self._head is not None and event.prev != self._head:
            words = f"It does not follow event {seq - 1}: it names another predecessor than the one there."
            return _Wrong(Kind.CHAIN, words, digest)
        before = (self.state, self._head)
        if self.whole:
            try:
                self.state = apply(self.state, event, digest)
            except Conflict as error:
                return _Wrong(Kind.CHAIN, f"It cannot follow: {error.message}", digest)
            if seq in self._keep:
                self.states[seq] = self.state
        self._head, self._before = digest, before
        self._note(name, event)
        return None

    def _note(self, name: str, event: Event) -> None:
        match event.body:
            case Published(digest=digest):
                self.published.add(digest)
            case (
                Promoted(rollout=rollout, evidence=evidence) | RolledBack(rollout=rollout, evidence=evidence)
            ):
                if evidence:
                    self.citations.append(Citation(name, rollout, evidence, -1))
            case Held(rollout=rollout, k=k) | EpochReset(rollout=rollout, k=k):
                self.citations.append(Citation(name, rollout, "", k))
            case _:
                pass

    def now(self) -> State:
        """The state with what was appended since the reading, for what may have changed meanwhile."""
        state = self.state
        while self.whole:
            entry, _ = _entry(self._ground.backend, state.seq + 1)
            if entry is None or entry.event.prev != state.head or not _follows(state, entry):
                break
            state = apply(state, entry.event, entry.digest)
        return state

    # -- healing ---------------------------------------------------------------------------------------------

    def _restore(self, seq: int) -> bool:
        """From the other store, when what lies there is what the neighbours ask for."""
        entry, data = _entry(self._ground.other, seq)
        follower, _ = _entry(self._ground.backend, seq + 1)
        wanted = follower.event.prev if follower is not None else None
        if entry is None or (self._head is None and wanted is None):
            return False
        if self._head is not None and entry.event.prev != self._head:
            return False
        if wanted is not None and entry.digest != wanted:
            return False
        if self.whole and not _follows(self.state, entry):
            return False
        return self._ground.put_document(_key(seq), data)

    def _restore_predecessor(self, seq: int) -> bool:
        """Where event `seq` is genuine and the one before it, though well sealed, is not."""
        state, head = self._before
        entry, data = _entry(self._ground.other, seq - 1)
        follower, _ = _entry(self._ground.backend, seq)
        genuine = entry is not None and follower is not None and follower.event.prev == entry.digest
        if not self.whole or entry is None or not genuine or entry.event.prev != head:
            return False
        if not _follows(state, entry) or not self._ground.put_document(_key(seq - 1), data):
            return False
        self.state, self._head = state, head
        return self._take(seq - 1, data) is None

    def _claim(self) -> Problem | None:
        """The farthest event that something names, though the journal ends before it."""
        farthest, who = max(self._claims(), default=(0, ""))
        if farthest <= self._end or self._ground.backend.exists(_key(self._end + 1)):
            return None  # or it was appended meanwhile
        return problem(
            Severity.ERROR,
            Kind.LOST,
            self._ground.name(_key(self._end + 1)),
            f"The journal ends with event {self._end}, but {who} names event {farthest}: the newest part is "
            "lost.",
            remedy=_TAIL,
            heal=(lambda: self._restore_tail(farthest)) if self._ground.other is not None else None,
        )

    def _claims(self) -> Iterator[tuple[int, str]]:
        ground = self._ground
        keys: list[str] = [f"{SNAPSHOTS}/{name}" for name in ground.backend.names(SNAPSHOTS)]
        keys += [f"replicas/{name}" for name in ground.backend.names("replicas")] + ["routes.json"]
        for key in keys:
            try:
                data = ground.read(key)
                claimed = None if data is None else msgspec.json.decode(unseal(data, key), type=_Claim)
            except (Corrupt, msgspec.DecodeError, UnicodeDecodeError):
                continue  # what is damaged proves nothing, and is found elsewhere
            if claimed is not None:
                yield claimed.seq if claimed.state is None else claimed.state.seq, ground.name(key)

    def _restore_tail(self, farthest: int) -> bool:
        """Restores what is known to have happened, and nothing beyond it."""
        state = self.state
        for seq in range(self._end + 1, farthest + 1):
            entry, data = _entry(self._ground.other, seq)
            if not self.whole or entry is None or entry.event.prev != state.head:
                return False
            if not _follows(state, entry) or not self._ground.put_document(_key(seq), data):
                return False
            state = apply(state, entry.event, entry.digest)
        return True


class _Wrong(NamedTuple):
    kind: Kind
    words: str
    head: str | None = None
    """What the next event must name all the same; None when that is not known."""


class _Claim(msgspec.Struct):
    """The part of a heartbeat, a hint or a snapshot that says which event there was."""

    seq: int = 0
    state: "_Claim | None" = None


def snapshot_problems(ground: Ground, chronicle: Chronicle, listed: list[int]) -> Iterator[Problem]:
    """Compares the snapshots that were listed before the reading with what the events fold to."""
    journal = Journal(ground.backend)
    for seq in listed:
        key = f"{SNAPSHOTS}/{seq:010d}.json"
        words = ""
        try:
            state = journal.read_snapshot(seq)
            if state is not None and chronicle.whole and state != chronicle.states.get(seq, state):
                words = f"It is not what events 1 to {seq} fold to."
        except (Corrupt, OSError) as error:
            words = str(error)
        if words:
            yield problem(
                Severity.WARNING,
                Kind.SNAPSHOT,
                ground.name(key),
                words,
                remedy="`serinus store check --repair` puts it aside and writes one anew.",
                heal=lambda key=key: ground.put_aside(key),  # type: ignore[misc]
            )


def snapshots(backend: Backend) -> list[int]:
    """Numbers of the snapshots that are there, ascending."""
    return sorted(int(m[1]) for m in map(NUMBERED.fullmatch, backend.names(SNAPSHOTS)) if m)


def _decode(found: bytes | Corrupt, seq: int, name: str) -> Entry:
    """Raises Corrupt, naming the file `name`."""
    if isinstance(found, Corrupt):
        raise found
    entry = decode(found, name)
    if entry.event.seq != seq:
        raise Corrupt(f"{name} holds event {entry.event.seq}.")
    return entry


def _entry(backend: Backend | None, seq: int) -> tuple[Entry | None, bytes]:
    """Event `seq` of a store with its bytes, None when it is missing or damaged there."""
    data = backend.read(_key(seq)) if backend is not None else None
    try:
        entry = decode(data, "") if data is not None else None
    except Corrupt:
        return None, b""
    return (entry, data or b"") if entry is not None and entry.event.seq == seq else (None, b"")


def _follows(state: State, entry: Entry) -> bool:
    try:
        apply(state, entry.event, entry.digest)
    except Conflict:
        return False
    return True


def _key(seq: int) -> str:
    return f"{FOLDER}/{seq:010d}.json"
