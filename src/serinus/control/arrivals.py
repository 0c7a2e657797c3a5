"""Notices models from elsewhere: when a folder that a foreign trainer writes is complete and at rest.

The trainer says nothing when it is done, so rest is the only sign: all files are there, and no size and no
time of change moved for `settle_seconds` by our own monotonic clock (the times of files are another machine's
and only compared with each other). A folder in which a file is missing waits, for a trainer may think for
long between two files; one that nobody touched for `give_up_seconds` is taken as it is, so that it does not
hold the view back for ever, and its import says what was missing.
"""

import logging

import msgspec

from serinus.observe import logs
from serinus.store import Store
from serinus.store.incoming import Contents

log = logging.getLogger(__name__)


class _Watched(msgspec.Struct, frozen=True):
    """A foreign folder as it was seen last."""

    contents: Contents
    since: float
    """Monotonic seconds when it was first seen like this."""


class Arrivals:
    """To be used from one thread; remembers only what it saw, so that a restart just waits anew."""

    def __init__(self, store: Store, *, settle_seconds: float, give_up_seconds: float) -> None:
        self._store = store
        self._settle = settle_seconds
        self._give_up = give_up_seconds
        self._watched: dict[str, _Watched] = {}
        self._told: dict[str, str] = {}

    def turn(self, now: float) -> tuple[str, ...]:
        """Takes what has come to rest and gives its ids. `now`: monotonic seconds."""
        places = self._store.incoming.places()
        for gone in self._watched.keys() - places.keys():
            self._forget(gone)
        looked = [self._look(place, contents, now) for place, contents in places.items()]
        return tuple(name for name in looked if name is not None)

    def _look(self, place: str, contents: Contents, now: float) -> str | None:
        seen = self._watched.get(place)
        if seen is None or seen.contents != contents:
            seen = self._watched[place] = _Watched(contents, now)
        if contents.missing:
            self._tell(place, f"{_whose(place)} and waits: {contents.missing} is missing")
        if now - seen.since < (self._give_up if contents.missing else self._settle):
            return None
        return self._take(place)

    def _take(self, place: str) -> str | None:
        try:
            name = self._store.incoming.take(place)
        except OSError as error:
            self._tell(
                place,
                f"{_whose(place)} and cannot be moved: {error.strerror}. "
                "Its trainer must let this user write into the folder.",
            )
            return None
        self._forget(place)
        if name is not None:
            log.info("%s: it is imported", _whose(place), extra=logs.fields(source=name))
        return name

    def _tell(self, place: str, words: str) -> None:
        """Once, however often it is looked at."""
        if self._told.get(place) != words:
            log.warning("%s", words)
            self._told[place] = words

    def _forget(self, place: str) -> None:
        self._watched.pop(place, None)
        self._told.pop(place, None)


def _whose(place: str) -> str:
    into = " into, through a link of ours," if "/" in place else ""
    return f"{place}/ was written{into} by somebody else"
