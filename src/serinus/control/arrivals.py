"""Notices models from elsewhere: when a folder that a foreign trainer writes is complete and at rest.

The trainer says nothing when it is done, so rest is the only sign: all files are there, and no size and no
time of change moved for `settle_seconds` by our own monotonic clock (the times of files are another machine's
and only compared with each other). A folder in which a file is missing waits, for a trainer may think for
long between two files; one that nobody touched for `give_up_seconds` is taken as it is, so that it does not
hold the view back for ever, and its import says what was missing.
"""

import logging

import msgspec

from serinus.core.enums import Arm
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
        self._watched: dict[Arm, _Watched] = {}
        self._told: dict[Arm, str] = {}

    def turn(self, now: float) -> tuple[str, ...]:
        """Takes what has come to rest and gives its ids. `now`: monotonic seconds."""
        return tuple(name for role in Arm if (name := self._look(role, now)) is not None)

    def _look(self, role: Arm, now: float) -> str | None:
        contents = self._store.incoming.foreign(role)
        if contents is None:
            self._forget(role)
            return None
        seen = self._watched.get(role)
        if seen is None or seen.contents != contents:
            seen = self._watched[role] = _Watched(contents, now)
        if contents.missing:
            self._tell(role, f"{role}/ was written by somebody else and waits: {contents.missing} is missing")
        if now - seen.since < (self._give_up if contents.missing else self._settle):
            return None
        return self._take(role)

    def _take(self, role: Arm) -> str | None:
        try:
            name = self._store.incoming.take(role)
        except OSError as error:
            self._tell(
                role,
                f"{role}/ was written by somebody else and cannot be moved: {error.strerror}. "
                "Its trainer must let this user write into the folder.",
            )
            return None
        self._forget(role)
        if name is not None:
            log.info("%s/ was written by somebody else: it is imported", role, extra=logs.fields(source=name))
        return name

    def _tell(self, role: Arm, words: str) -> None:
        """Once, however often it is looked at."""
        if self._told.get(role) != words:
            log.warning("%s", words)
            self._told[role] = words

    def _forget(self, role: Arm) -> None:
        self._watched.pop(role, None)
        self._told.pop(role, None)
