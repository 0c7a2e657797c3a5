"""The mark of a copy that is not finished, `copying.json`, and what it forbids.

A copy sends events last, so a place with the mark may hold artifacts and no event: it reads as a new store,
or as one of long ago. Whoever appended there would give numbers that the source has used. So nothing is
appended, published or collected before the copy is finished; only the copy itself goes on.
"""

import msgspec

from serinus.core.errors import Corrupt, Misconfigured
from serinus.store.backend import Backend
from serinus.store.sealed import seal, unseal

MARK = "copying.json"
AGAIN = (
    "Run the same `serinus store copy SRC DST` again: it goes on where it stopped. If SRC is gone, "
    "`serinus store copy` from here into a new place makes a store of what arrived."
)


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What the mark says."""

    source: str
    seq: int
    """The event up to which the copy is to go."""
    time: float
    """When it began, UTC seconds."""


def mark(backend: Backend, told: Told) -> None:
    """Says that a copy into this place is not finished, durably."""
    backend.replace(MARK, seal(msgspec.json.encode(told)), durable=True)


def unmark(backend: Backend) -> None:
    """Takes the mark away, durably: a power cut must not bring back what would stop the next start."""
    backend.remove(MARK)
    backend.settle("")


def words(backend: Backend) -> str:
    """What is not finished in this place, in words; empty where nothing is. One look."""
    data = backend.read(MARK)
    if data is None:
        return ""
    try:
        told = msgspec.json.decode(unseal(data, MARK), type=Told)
    except (Corrupt, msgspec.DecodeError, UnicodeDecodeError):
        origin = ""
    else:
        origin = f" from {told.source}, up to event {told.seq},"
    return f"A copy{origin} into this store is not finished: {backend.name(MARK)} says so."


def refuse(backend: Backend) -> None:
    """Raises Misconfigured where a copy into this place is not finished."""
    found = words(backend)
    if found:
        raise Misconfigured(found, remedy=AGAIN)
