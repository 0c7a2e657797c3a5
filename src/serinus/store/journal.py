"""The journal: one event a file, created by put-if-absent, each holding its predecessor's hash.

Creating the next number is compare-and-append: of two writers that saw the same end, one wins and the other
reads on. The end is found by asking for the next number, not by listing (a listing may lag on network
volumes, and takes longer the older the store is).

A *snapshot*, `snapshots/<seq>.json`, is the state after event `seq`, written by whoever appends a round
number. It saves a new reader the fold of everything before it and is nothing but a short cut: it counts only
when it is whole, was made by the same rules (`FOLD`), and names the hash of an event that is really there.

A journal that lost its newest events is sound and shorter. It is read as far as it goes, so serving goes on,
and the loss is said once; appending is refused, because the next number was another event's (`witness`).
"""

import logging
import threading
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from serinus.artifact.files import sha256_bytes
from serinus.core.errors import Conflict, Corrupt, InvalidInput, SerinusError, Unavailable
from serinus.core.ids import Digest
from serinus.rollout.events import Event, Lost
from serinus.rollout.state import State
from serinus.rollout.transitions import FOLD, apply
from serinus.store import witness
from serinus.store.backend import Backend
from serinus.store.sealed import seal, unseal

_LOG = logging.getLogger(__name__)
_RESTORE = (
    "Restore the journal from a backup (`serinus store check --repair --from BACKUP`); nothing is decided or "
    "served anew from it meanwhile."
)
_FIND = (
    "Restore them: `serinus store check --repair --from BACKUP`. If no copy has them: "
    "`serinus store accept-loss --reason TEXT` records the loss and goes on. If what tells of it is not of "
    "this store, move it away. `serinus store check` says more."
)
_ANEW = (
    "It is only a short cut: `serinus store check --repair` puts it aside and writes one anew. Do not remove "
    "it by hand: its name may be all that tells of lost events."
)
_FOLDER = witness.JOURNAL
_EVERY = 500
"""Events between two snapshots."""
_KEPT = 3
_FARTHEST = 2**20
"""How far beyond its end the journal is searched for events that a gap cut off."""


class Entry(NamedTuple):
    event: Event
    digest: Digest
    """sha256 of the event's file: the `prev` of the next one."""


class Encoded(NamedTuple):
    data: bytes
    """The file's bytes."""
    entry: Entry
    """What a reader of these bytes will see."""


def encode(event: Event) -> Encoded:
    """The file of `event`. Raises InvalidInput when it would not be read back (NaN, lone surrogates)."""
    try:
        data = seal(msgspec.json.encode(event))
        return Encoded(data, decode(data, f"event {event.seq}"))
    except (UnicodeEncodeError, Corrupt) as error:
        raise InvalidInput(
            f"Event {event.seq} cannot be stored: {error}",
            remedy="Give numbers that are finite and text that is valid Unicode.",
        ) from error


def decode(data: bytes, name: str) -> Entry:
    """Raises Corrupt, naming the file `name`."""
    try:
        event = msgspec.json.decode(unseal(data, name), type=Event)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Corrupt(
            f"{name} is no event that this version of Serinus knows: {error}.",
            remedy="Was it written by a newer version? Then run that one.",
        ) from error
    return Entry(event, sha256_bytes(data))


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    fold: int
    state: State


def encode_snapshot(state: State) -> bytes:
    return seal(msgspec.json.encode(Snapshot(fold=FOLD, state=state)))


def decode_snapshot(data: bytes, name: str) -> State | None:
    """None when it was made by other rules. Raises Corrupt, naming the file `name`."""
    document = unseal(data, name, remedy=_ANEW)
    try:
        if msgspec.json.decode(document, type=_Rules).fold != FOLD:
            return None
        return msgspec.json.decode(document, type=Snapshot).state
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Corrupt(f"{name} is no snapshot: {error}.", remedy=_ANEW) from error


class _Beyond(Corrupt):
    """A snapshot of an event that is not there any more."""


class Journal:
    """Reads, folds and appends. Thread-safe; any number of processes may share one."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._lock = threading.Lock()
        self._state = State()
        self._settled = 0
        """Events up to here are durable for certain."""
        self._opened = False
        self._listed = False
        """Whether no later event lay beyond the end when this process looked."""
        self._loss_said = False

    def read(self, seq: int) -> Entry | None:
        """Event `seq`, None when it has not happened. Raises Corrupt when its file was changed."""
        data = self._backend.read(_key(seq))
        if data is None:
            return None
        entry = decode(data, self._name(seq))
        if entry.event.seq != seq:
            raise Corrupt(f"{self._name(seq)} holds event {entry.event.seq}.", remedy=_RESTORE)
        return entry

    def state(self) -> State:
        """The fold of all events. One look for the next file when nothing is new.

        What it tells is durable, so that no effect outlives its event, and no event its predecessor.

        Raises Corrupt, naming the file, at a gap, a broken chain, or an event that its state does not allow.
        """
        with self._lock:
            if not self._opened and self._state.seq == 0:
                self._state = self._last_snapshot()
            while (entry := self.read(self._state.seq + 1)) is not None:
                self._state = self._fold(self._state, entry)
            if not self._opened:
                self._refuse_gap(self._state.seq)
                self._opened = True
                self._say(self._beyond(self._state.seq, witness.newest(self._backend)))
            if self._state.seq > self._settled:
                self._backend.settle(_FOLDER)
                self._settled = self._state.seq
            return self._state

    def confirm(self, state: State) -> None:
        """Raises Unavailable when the place does not hold the last event of `state`.

        A folder whose volume is gone reads as one in which nothing happens; a server says that it is away.
        """
        key = _key(state.seq)
        if state.seq > 0 and not self._backend.remote and not self._backend.exists(key):
            raise Unavailable(
                f"{self._name(state.seq)}, which was there, is not: is the store's volume still mounted?"
            )

    def _fold(self, state: State, entry: Entry) -> State:
        name = self._name(entry.event.seq)
        _check_link(name, entry.event, state.head)
        try:
            return apply(state, entry.event, entry.digest)
        except Conflict as error:
            raise Corrupt(
                f"{name} holds an event that cannot follow: {error.message}", remedy=_RESTORE
            ) from error

    def _refuse_gap(self, end: int) -> None:
        """Numbers beyond a missing one, looked for at distances 2, 4, 8 ...: a constant number of looks.

        Finds every gap that is shorter than what lies behind it. Whoever appends now is no gap: its
        predecessor is there by then.
        """
        distance = 2
        while distance <= _FARTHEST:
            if self._backend.exists(_key(end + distance)) and not self._backend.exists(_key(end + 1)):
                raise self._gap(end + 1, end + distance)
            distance *= 2

    def events(self, after: int = 0) -> Iterator[Event]:
        """All events with a number above `after`, in order. Raises Corrupt as `state` does."""
        end = self.state().seq
        head: str = ""
        for seq in range(max(after, 1), end + 1):
            entry = self._there(seq, end)
            if seq > after:
                _check_link(self._name(seq), entry.event, head)
                yield entry.event
            head = entry.digest

    def backwards(self) -> Iterator[Event]:
        """All events, the newest first. Raises Corrupt as `state` does."""
        state = self.state()
        expected = state.head
        for seq in range(state.seq, 0, -1):
            entry = self._there(seq, state.seq)
            if entry.digest != expected:
                raise Corrupt(f"{self._name(seq)} is not what its successor follows.", remedy=_RESTORE)
            yield entry.event
            expected = entry.event.prev

    def _there(self, seq: int, end: int) -> Entry:
        entry = self.read(seq)
        if entry is None:
            raise self._gap(seq, end)
        return entry

    def offer(self, state: State, event: Event) -> Event | None:
        """Appends `event`, made for `state`. None: somebody else's event has that number; read on.

        `apply` runs first: raises its Conflict, and nothing is written. Raises Corrupt when the number is
        one that a lost event had.
        """
        data, (stored, digest) = encode(event)
        after = apply(state, stored, digest)
        key, following = _key(event.seq), _key(event.seq + 1)
        if self._backend.exists(following) and not self._backend.exists(key):
            raise self._gap(event.seq, event.seq + 1)
        if not isinstance(event.body, Lost):
            self.refuse_loss(state)
        if not self._backend.put_if_absent(key, data):
            return None
        self._settled = event.seq
        if event.seq % _EVERY == 0:
            self._write_snapshot(after)
        return stored

    def refuse_loss(self, state: State) -> None:
        """Raises Corrupt when events after `state`, or its last one, happened and are not there any more.

        Looks at the witnesses first: whoever appends meanwhile writes the event before any of them.
        """
        found = self._lost(state)
        if found is not None:
            raise found
        last = self._backend.read(_key(state.seq)) if state.seq > 0 else b""
        if last is None:
            raise Corrupt(
                f"{self._name(state.seq)} is missing: this process has read it, and it was lost since. "
                "Nothing is appended, so that no number is given twice.",
                remedy=_FIND,
            )
        if state.seq > 0 and sha256_bytes(last) != state.head:
            raise Corrupt(
                f"{self._name(state.seq)} is another one than this process has read.",
                remedy="Run `serinus store check`; when nothing is wrong, start this process anew.",
            )
        unfinished = _accepted(last or b"", self._name(state.seq))
        if unfinished is not None:
            raise Corrupt(
                f"{unfinished.words}, and the journal ends before that: `serinus store accept-loss` was "
                "interrupted. Nothing is appended, so that no number is given twice.",
                remedy="Run `serinus store accept-loss` again; it goes on where it stopped.",
            )

    def lost(self) -> bool:
        """Whether events after the end are known to have happened; says so, once, in the log.

        Lists the names of later events: for who shows the whole to a person, not for who asks often.
        """
        found = self._lost(self.state())
        self._say(found)
        return found is not None

    def _lost(self, state: State) -> Corrupt | None:
        told = witness.newest(self._backend)
        if told.seq <= state.seq and not self._listed:
            later = witness.later(self._backend, state.seq)
            self._listed = later is None
            told = later or told
        return self._beyond(state.seq, told)

    def _beyond(self, end: int, told: witness.Witness) -> Corrupt | None:
        """The loss that `told` proves. That was looked at before the next event, which is written first."""
        if told.seq <= end or self._backend.exists(_key(end + 1)):
            return None
        return Corrupt(
            f"The journal ends with event {end}, but {told.words}: the newest part is lost. Nothing is "
            "appended, so that no number is given twice.",
            remedy=_FIND,
        )

    def _say(self, loss: Corrupt | None) -> None:
        if loss is not None and not self._loss_said:
            self._loss_said = True
            _LOG.warning("What is told is of before a loss. %s", loss)

    # -- snapshots -------------------------------------------------------------------------------------------

    def snapshot(self) -> State:
        """Writes one of now; gives the state that it holds."""
        state = self.state()
        if state.seq > 0:
            self._write_snapshot(state)
        return state

    def snapshots(self) -> list[int]:
        """Numbers of the snapshots that there are, ascending."""
        return witness.snapshot_seqs(self._backend)

    def read_snapshot(self, seq: int) -> State | None:
        """The state in snapshot `seq`; None when it was made by other rules or is there no more.

        Raises Corrupt when it is damaged or does not belong to this journal.
        """
        name = self._backend.name(_snapshot_key(seq))
        data = self._backend.read(_snapshot_key(seq))
        if data is None:
            return None
        state = decode_snapshot(data, name)
        if state is None:
            return None
        entry = self.read(seq)
        if entry is None:
            raise _Beyond(
                f"{name} was made of event {seq}, which is not there: the newest part of the journal is "
                "lost.",
                remedy=f"Do not remove it: it is the proof. {_FIND}",
            )
        if state.seq != seq:
            raise Corrupt(f"{name} is of event {state.seq}.", remedy=_ANEW)
        if entry.digest != state.head:
            raise Corrupt(
                f"When {name} was written, event {seq} was another one: the journal was rewritten.",
                remedy="Do not remove it; `serinus store check` says more.",
            )
        return state

    def _last_snapshot(self) -> State:
        """The newest one that can be believed; the empty state when there is none."""
        for seq in reversed(self.snapshots()):
            try:
                state = self.read_snapshot(seq)
            except _Beyond:
                continue  # said once the end is known
            except Corrupt as error:
                _LOG.warning("A snapshot is left out: %s", error)
                continue
            if state is not None:
                return state
        return State()

    def _write_snapshot(self, state: State) -> None:
        """Nothing rests on a snapshot, so whoever appends is not troubled by one that cannot be written."""
        try:
            self._backend.replace(_snapshot_key(state.seq), encode_snapshot(state), durable=True)
            for seq in self.snapshots()[:-_KEPT]:
                self._backend.remove(_snapshot_key(seq))
        except (OSError, SerinusError):
            _LOG.warning("The snapshot of event %d could not be written", state.seq, exc_info=True)

    # -- words -----------------------------------------------------------------------------------------------

    def _name(self, seq: int) -> str:
        return self._backend.name(_key(seq))

    def _gap(self, missing: int, there: int) -> Corrupt:
        return Corrupt(f"{self._name(missing)} is missing, {self._name(there)} is there.", remedy=_RESTORE)


def accepted(backend: Backend, end: int) -> witness.Witness | None:
    """What the last event, `end`, tells of events after it: a loss that was accepted in part."""
    try:
        data = backend.read(_key(end)) if end > 0 else None
        return _accepted(data or b"", backend.name(_key(end)))
    except Corrupt:
        return None  # said where the journal is read


def _accepted(data: bytes, name: str) -> witness.Witness | None:
    event = decode(data, name).event if data else None
    if event is None or not isinstance(event.body, Lost) or event.body.through <= event.seq:
        return None
    return witness.Witness(event.body.through, name)


class _Rules(msgspec.Struct, frozen=True):
    fold: int


def _key(seq: int) -> str:
    return f"{_FOLDER}/{seq:010d}.json"


def _snapshot_key(seq: int) -> str:
    return f"{witness.SNAPSHOTS}/{seq:010d}.json"


def _check_link(name: str, event: Event, head: str) -> None:
    if event.prev != head:
        raise Corrupt(
            f"{name} does not follow its predecessor: it names {event.prev or 'none'}, "
            f"that one is {head or 'none'}.",
            remedy=_RESTORE,
        )
