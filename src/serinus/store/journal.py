"""The journal: one event a file, created by put-if-absent, each holding its predecessor's hash.

Creating the next number is compare-and-append: of two writers that saw the same end, one wins and the other
reads on. The end is found by asking for the next number, not by listing (a listing may lag on network
volumes).
"""

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from serinus.artifact.files import sha256_bytes
from serinus.core.errors import Conflict, Corrupt, InvalidInput
from serinus.core.ids import Digest
from serinus.rollout.events import Event
from serinus.rollout.state import State
from serinus.rollout.transitions import apply
from serinus.store.local import Disk
from serinus.store.sealed import seal, unseal

_NAME = re.compile(r"(\d{10})\.json")
_RESTORE = "Restore the journal from a backup; nothing is decided or served anew from it meanwhile."


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


class Journal:
    """Reads, folds and appends. Thread-safe; any number of processes may share one folder."""

    def __init__(self, folder: Path, disk: Disk) -> None:
        self._folder = folder
        self._disk = disk
        self._lock = threading.Lock()
        self._state = State()
        self._end_checked = False

    def path(self, seq: int) -> Path:
        return self._folder / f"{seq:010d}.json"

    def read(self, seq: int) -> Entry | None:
        """Event `seq`, None when it has not happened. Raises Corrupt when its file was changed."""
        path = self.path(seq)
        data = self._disk.read(path)
        if data is None:
            return None
        entry = decode(data, str(path))
        if entry.event.seq != seq:
            raise Corrupt(f"{path} holds event {entry.event.seq}.", remedy=_RESTORE)
        return entry

    def state(self) -> State:
        """The fold of all events. One look for the next file when nothing is new.

        Raises Corrupt, naming the file, at a gap, a broken chain, or an event that its state does not allow.
        """
        with self._lock:
            while (entry := self.read(self._state.seq + 1)) is not None:
                self._state = self._fold(self._state, entry)
            if not self._end_checked:
                self._refuse_gap(self._state.seq)
                self._end_checked = True
            return self._state

    def _fold(self, state: State, entry: Entry) -> State:
        path = self.path(entry.event.seq)
        _check_link(path, entry.event, state.head)
        try:
            return apply(state, entry.event, entry.digest)
        except Conflict as error:
            raise Corrupt(
                f"{path} holds an event that cannot follow: {error.message}", remedy=_RESTORE
            ) from error

    def _refuse_gap(self, end: int) -> None:
        """A number beyond a missing one. Whoever appends now is no gap: its predecessor is there by then."""
        found = map(_NAME.fullmatch, self._disk.names(self._folder))
        last = max((int(match[1]) for match in found if match), default=0)
        if last > end and not self.path(end + 1).exists():
            raise Corrupt(f"{self.path(end + 1)} is missing, {self.path(last)} is there.", remedy=_RESTORE)

    def events(self, after: int = 0) -> Iterator[Event]:
        """All events with a number above `after`, in order. Raises Corrupt as `state` does."""
        end = self.state().seq
        head: str = ""
        for seq in range(max(after, 1), end + 1):
            entry = self.read(seq)
            if entry is None:
                raise Corrupt(f"{self.path(seq)} is missing, {self.path(end)} was there.", remedy=_RESTORE)
            if seq > after:
                _check_link(self.path(seq), entry.event, head)
                yield entry.event
            head = entry.digest

    def offer(self, state: State, event: Event) -> Event | None:
        """Appends `event`, made for `state`. None: somebody else's event has that number; read on.

        `apply` runs first: raises its Conflict, and nothing is written.
        """
        data, (stored, digest) = encode(event)
        apply(state, stored, digest)
        path, following = self.path(event.seq), self.path(event.seq + 1)
        if following.exists() and not path.exists():
            raise Corrupt(f"{path} is missing, {following} is there.", remedy=_RESTORE)
        return stored if self._disk.put_if_absent(path, data) else None


def _check_link(path: Path, event: Event, head: str) -> None:
    if event.prev != head:
        raise Corrupt(
            f"{path} does not follow its predecessor: it names {event.prev or 'none'}, "
            f"that one is {head or 'none'}.",
            remedy=_RESTORE,
        )
