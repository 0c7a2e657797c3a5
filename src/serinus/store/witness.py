"""What names an event beyond the journal's end: the proof that the newest part of the journal was lost.

Deleting the newest files leaves a journal that is sound and shorter. It may be read, but nothing may be
appended: the next event would get a number that was another one's. What survives and tells is

- a snapshot: its name is the number of an event, and it was written only after that event was durable;
- `routes.json` and the heartbeats: the number that their writer had read, which is durable too;
- MODEL_DIR: the last known state of a bucket.

Snapshots and the hint are looked at before each append, for the cost of a listing of three names and one
small file; all of them, and more, by `serinus store check` (`checking.tail`).
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

SNAPSHOTS = "journal/snapshots"
ROUTES = "routes.json"
LAST_STATE = "last-state-"
"""How files begin that keep a state for a start without the store; each is a snapshot."""
_NUMBERED = re.compile(r"(\d{10})\.json")


class Witness(NamedTuple):
    """Says that event `seq` happened."""

    seq: int
    name: str
    """Its file."""
    head: str = ""
    """sha256 of that event's file, where it tells."""


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
    return sorted(int(m[1]) for m in map(_NUMBERED.fullmatch, backend.names(SNAPSHOTS)) if m)


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
