"""The journal, read from its first event: every seal, every link, every transition, and where it ends.

Snapshots are not believed here. What exists is listed before the reading begins, so a number that is listed
and not found is a gap, whatever others append meanwhile.
"""

from collections.abc import Iterator
from typing import NamedTuple

from serinus.core.errors import Conflict, Corrupt
from serinus.core.ids import Digest
from serinus.rollout.events import (
    EditionSaved,
    EpochReset,
    Event,
    Held,
    PolicyChanged,
    Promoted,
    Published,
    RolledBack,
    ShareChanged,
)
from serinus.rollout.state import State
from serinus.rollout.transitions import apply
from serinus.store import witness
from serinus.store.backend import Backend
from serinus.store.checking.findings import RESTORE, Kind, Problem, Severity, problem
from serinus.store.checking.ground import Ground
from serinus.store.checking.sequence import Part, parts
from serinus.store.checking.tail import Claim, claims
from serinus.store.journal import Entry, decode, decode_snapshot

FOLDER = witness.JOURNAL
_NO_BACKUP = f"{RESTORE} Nothing after it can be trusted without it."
_STRAY = "If the later one is not of this store, move it away."
_TAIL = (
    f"{RESTORE} Nothing can be appended until then. If no copy has it, `serinus store accept-loss` records "
    "the loss and goes on; if what names it is not of this store, move it away."
)
_AHEAD = (
    "If events were lost here, stop what runs and let `serinus store copy` bring them over; if somebody "
    "served from the other store, the two cannot be joined."
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

    def __init__(self, ground: Ground, keep: frozenset[int], *, copying: bool) -> None:
        self._ground = ground
        self._keep = keep
        self._copying = copying
        self.state = State()
        self.whole = True
        """Whether `state` is the fold of everything; else it ends before the first event that is damaged."""
        self.lost = False
        """Whether something names what came after the end."""
        self.end = 0
        """The last event that there is."""
        self.states: dict[int, State] = {}
        """After the events that were to be kept, as far as they are there."""
        self.digests: dict[int, Digest] = {}
        """sha256 of the files of these events, also beyond damage."""
        self.citations: list[Citation] = []
        self.editions: dict[tuple[str, int], Digest] = {}
        """sha256 of each edition that was saved, by its folder and number."""
        self.published: set[Digest] = set()
        """Artifacts that any readable event published, also beyond damage."""
        self._head: str | None = ""
        """sha256 of the event before; None when that one cannot be read."""
        self._before: tuple[State, str | None] = (State(), "")
        """The state and the head before the newest event."""

    def problems(self) -> Iterator[Problem]:
        yield from self._up_to(witness.numbered(self._ground.backend.names(FOLDER)))
        claim = self._claim()
        if claim is not None:
            self.lost = True
            yield claim
            yield from self._to_end()
            self.lost = self._claim() is not None
        yield from self._ahead()

    def _up_to(self, listed: list[int]) -> Iterator[Problem]:
        for part in parts(self._ground, _key, listed, start=1):
            yield from self._run(part) if part.found is None else self._event(part.first, part.found)
        self.end = max(listed, default=0)
        yield from self._to_end()

    def _run(self, run: Part) -> Iterator[Problem]:
        """Events that are missing; later ones are there."""
        yield problem(
            Severity.ERROR,
            Kind.MISSING,
            self._ground.name(_key(run.first)),
            f"{run.words('Event')} missing; later ones are there.",
            remedy=f"{_NO_BACKUP} {_STRAY}",
            heal=(lambda: self._restore_run(run)) if self._ground.other is not None else None,
        )
        seq = run.first
        while seq <= run.last and (found := self._ground.read(_key(seq))) is not None:
            yield from self._event(seq, found)
            seq += 1
        if seq <= run.last:
            self.whole, self._head = False, None

    def _to_end(self) -> Iterator[Problem]:
        """What was appended since the listing, or restored."""
        while (found := self._ground.read(_key(self.end + 1))) is not None:
            self.end += 1
            yield from self._event(self.end, found)

    def _event(self, seq: int, found: bytes | Corrupt) -> Iterator[Problem]:
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
            now = self._ground.read(_key(seq))
            again = wrong if now is None else self._take(seq, now)
        except Corrupt:
            again = wrong
        if again is not None:
            self.whole = False
            self._head = again.head

    def _take(self, seq: int, found: bytes | Corrupt) -> "_Wrong | None":
        """Goes on with event `seq`; gives what is wrong with it."""
        name = self._ground.name(_key(seq))
        try:
            event, digest = _decode(found, seq, name)
        except Corrupt as error:
            return _Wrong(Kind.CHANGED, error.message)
        if self._head is not None and event.prev != self._head:
            words = f"It does not follow event {seq - 1}: it names another predecessor than the one there."
            return _Wrong(Kind.CHAIN, words, digest)
        before = (self.state, self._head)
        if seq in self._keep:
            self.digests[seq] = digest
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
        body = event.body
        match body:
            case Published(digest=digest):
                self.published.add(digest)
            case (
                Promoted(rollout=rollout, evidence=evidence) | RolledBack(rollout=rollout, evidence=evidence)
            ):
                if evidence:
                    self.citations.append(Citation(name, rollout, evidence, -1))
            case Held() | EpochReset() | ShareChanged():
                self.citations.append(Citation(name, body.rollout, body.evidence, body.k))
            case PolicyChanged(rollout=rollout, k=k):
                self.citations.append(Citation(name, rollout, "", k))
            case EditionSaved(name=named, edition=number, sha256=sha256):
                self.editions[f"{body.what}/{named}", number] = sha256
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

    def _restore_run(self, run: Part) -> bool:
        """Backwards from the event that is there, each named by the next one's hash; without such a one
        forwards, as they follow one another."""
        follower, _ = _entry(self._ground.backend, run.last + 1)
        if follower is None:
            return self._restore_forwards(run)
        wanted, found = follower.event.prev, dict[int, bytes]()
        for seq in range(run.last, run.first - 1, -1):
            entry, data = _entry(self._ground.other, seq)
            if entry is None or entry.digest != wanted:
                break
            found[seq], wanted = data, entry.event.prev
        joined = len(found) == run.last + 1 - run.first and self._head in (None, wanted)
        return joined and all(self._ground.put_document(_key(seq), found[seq]) for seq in sorted(found))

    def _restore_forwards(self, run: Part) -> bool:
        state, head = self.state, self._head
        for seq in range(run.first, run.last + 1):
            entry, data = _entry(self._ground.other, seq)
            if entry is None or entry.event.prev != head or (self.whole and not _follows(state, entry)):
                return False
            if not self._ground.put_document(_key(seq), data):
                return False
            state, head = apply(state, entry.event, entry.digest) if self.whole else state, entry.digest
        return True

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
        """The farthest thing that must have come after the journal's end."""
        state = self.state if self.whole else None
        found = claims(self._ground, self.end, state, copying=self._copying)
        if not found or self._ground.backend.exists(_key(self.end + 1)):
            return None  # or it was appended meanwhile
        return problem(
            Severity.ERROR,
            Kind.LOST,
            self._ground.name(_key(self.end + 1)),
            f"The journal ends with event {self.end}, but {found[0].words}: the newest part is lost.",
            remedy=_TAIL,
            heal=(lambda: self._restore_tail(found)) if self._ground.other is not None else None,
        )

    def _restore_tail(self, found: list[Claim]) -> bool:
        """Restores what is known to have happened, and nothing beyond it."""
        state = self.state
        for claim in found:
            entry, _ = _entry(self._ground.other, claim.seq)
            if claim.head and entry is not None and entry.digest != claim.head:
                return False  # another history
        while not all(claim.done(state) for claim in found):
            seq = state.seq + 1
            entry, data = _entry(self._ground.other, seq)
            if not self.whole or entry is None or not _follows(state, entry):
                return False
            if not self._ground.put_document(_key(seq), data):
                return False
            state = apply(state, entry.event, entry.digest)
        return True

    def _ahead(self) -> Iterator[Problem]:
        """The other store may be newer, or this one older than it should be: nothing here tells."""
        entry, _ = _entry(self._ground.other, self.end + 1)
        if entry is None or not self.whole or not _follows(self.state, entry):
            return
        if not self._ground.backend.exists(_key(self.end + 1)):
            assert self._ground.other is not None
            yield problem(
                Severity.WARNING,
                Kind.LOST,
                self._ground.name(_key(self.end + 1)),
                f"The journal ends with event {self.end}; {self._ground.other.name('journal')} goes on.",
                remedy=_AHEAD,
            )


class _Wrong(NamedTuple):
    kind: Kind
    words: str
    head: str | None = None
    """What the next event must name all the same; None when that is not known."""


def snapshot_problems(ground: Ground, chronicle: Chronicle, listed: list[int]) -> Iterator[Problem]:
    """Compares the snapshots that were listed before the reading with what the events fold to.

    One beyond the journal's end, or of an event that is damaged, is a witness: it stays where it is.
    """
    for seq in listed:
        if seq > chronicle.end:
            continue  # said with the journal
        key = f"{witness.SNAPSHOTS}/{seq:010d}.json"
        severity = Severity.WARNING
        try:
            data = ground.read(key)
            state = None if data is None else decode_snapshot(data, ground.name(key))
            words = "" if state is None or state.seq == seq else f"It is of event {state.seq}."
        except Corrupt as error:
            state, words = None, error.message
        if state is not None and not words:
            if state.head != chronicle.digests.get(seq, state.head):
                severity = Severity.ERROR
                words = f"When it was written, event {seq} was another one: the journal was rewritten."
            elif chronicle.whole and state != chronicle.states.get(seq, state):
                words = f"It is not what events 1 to {seq} fold to."
        if words:
            able = chronicle.whole or severity is Severity.WARNING
            yield problem(
                severity,
                Kind.SNAPSHOT,
                ground.name(key),
                words,
                remedy="`serinus store check --repair` puts it aside and writes one anew.",
                heal=(lambda key=key: ground.put_aside(key)) if able else None,  # type: ignore[misc]
            )


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
    try:
        data = backend.read(_key(seq)) if backend is not None else None
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
