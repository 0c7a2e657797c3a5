"""What names an event beyond the journal's end: the proof that the newest part of the journal was lost.

Deleting the newest files leaves a journal that is sound and shorter. It may be read, but nothing may be
appended: the next event would get a number that was another one's. What survives and tells is

- a later event, where those before it are gone: its name is enough;
- a snapshot: its name is the number of an event, and it was written only after that event was durable;
- `routes.json` and the heartbeats: the number that their writer had read, which is durable too;
- MODEL_DIR: the last known state of a bucket.

Snapshots and the hint are looked at before each append, for the cost of a listing of three names and one
small file. The names of later events are listed before a process's first append only: on a disk that takes
longer the older the store is. `serinus store check` looks at all of them, and more (`checking.tail`).
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from serinus.artifact.files import sha256_bytes
from serinus.core.errors import Corrupt
from serinus.store.backend import Backend
from serinus.store.sealed import unseal

JOURNAL = "journal"
SNAPSHOTS = f"{JOURNAL}/snapshots"
ROUTES = "routes.json"
LAST_STATE = "last-state-"
"""How files begin that keep a state for a start without the store; each is a snapshot."""
NUMBERED = re.compile(r"(\d{10})\.json")


class Witness(NamedTuple):
    """Says that event `seq` happened."""

    seq: int
    name: str
    """Its file."""
    head: str = ""
    """sha256 of that event's file, where it tells."""
    own: bool = False
    """Whether the file is that event's own."""

    @property
    def words(self) -> str:
        return f"{self.name} {'is' if self.own else 'names'} event {self.seq}"


class _Told(msgspec.Struct):
    """The part of a snapshot, a heartbeat or a hint that says which event there was."""

    seq: int = 0
    head: str = ""
    state: "_Told | None" = None


def newest(backend: Backend) -> Witness:
    """The farthest event that a snapshot or the hint names; 0 when there is none. Constant cost."""
    seqs = snapshot_seqs(backend)
    farthest = max(seqs, default=0)
    found = Witness(farthest, backend.name(f"{SNAPSHOTS}/{farthest:010d}.json"))
    hint = _told(backend, ROUTES)
    return found if hint is None or hint.seq <= found.seq else hint


def later(backend: Backend, end: int) -> Witness | None:
    """The farthest event whose file lies beyond `end`. Lists names: once a process, not once an append."""
    farthest = max(numbered(backend.names(JOURNAL, after=f"{end:010d}.json")), default=0)
    return Witness(farthest, backend.name(f"{JOURNAL}/{farthest:010d}.json"), own=True) if farthest else None


def documents(backend: Backend) -> Iterator[Witness]:
    """Every one in the store, the trusted first: snapshots, the hint, heartbeats. Skips what is damaged.

    A snapshot's name alone is enough: nobody else makes files there.
    """
    for seq in snapshot_seqs(backend):
        key = f"{SNAPSHOTS}/{seq:010d}.json"
        told = _told(backend, key)
        same = told is not None and told.seq == seq
        yield told if told is not None and same else Witness(seq, backend.name(key))
    for key in (ROUTES, *(f"replicas/{name}" for name in sorted(backend.names("replicas")))):
        told = _told(backend, key)
        if told is not None:
            yield told


def last_state(root: Path, place: Backend) -> Path:
    """Where MODEL_DIR keeps the last known state of this bucket: it may have served another one before."""
    return root / f"{LAST_STATE}{sha256_bytes(place.name('').encode())[:12]}.json"


def remembered(path: Path) -> Witness | None:
    """What the last known state tells; None when it is not there or damaged."""
    return _decode(path.read_bytes(), str(path)) if path.is_file() else None


def snapshot_seqs(backend: Backend) -> list[int]:
    """Numbers of the snapshots that are there, ascending."""
    return sorted(numbered(backend.names(SNAPSHOTS)))


def numbered(names: list[str]) -> list[int]:
    """The numbers of those that are a numbered document's, in the order of `names`."""
    return [int(match[1]) for match in map(NUMBERED.fullmatch, names) if match]


def _told(backend: Backend, key: str) -> Witness | None:
    try:
        data = backend.read(key)
    except (OSError, Corrupt):
        return None
    return None if data is None else _decode(data, backend.name(key))


def _decode(data: bytes, name: str) -> Witness | None:
    """None when it is damaged: that proves nothing, and is found elsewhere."""
    try:
        told = msgspec.json.decode(unseal(data, name), type=_Told)
    except (Corrupt, msgspec.DecodeError, UnicodeDecodeError):
        return None
    told = told.state or told
    return Witness(told.seq, name, told.head)
