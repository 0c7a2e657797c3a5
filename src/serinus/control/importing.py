"""Imports what waits in `incoming/`: one folder at a time, in a thread, with the reading in a child process.

The order makes a kill harmless at every point. The folder waits in `incoming/` until its event is in the
journal: `published` with the folder's id as its source, or `import_rejected`. Only then it is removed, or
moved to `incoming/rejected/`. Whoever starts next finds it still there: with an event, it ends what was left
to do; without one, it imports again. The journal takes each id once, so two controllers that import the same
folder make one version.

What says nothing about the model (no torch here, a full volume, a child that did not start) leaves the folder
where it is, is logged once, and is tried again.
"""

import logging
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from serinus.core.enums import ImportRefusal
from serinus.core.errors import Cancelled, Conflict, SerinusError
from serinus.engine.conversion import CannotHere, Killed, Refused, convert
from serinus.engine.limits import Limits
from serinus.observe import logs
from serinus.rollout.events import ImportRejected
from serinus.rollout.state import State
from serinus.store import Store

log = logging.getLogger(__name__)

ACTOR = "import"
_RETRY_SECONDS = 60.0
_CANNOT_SECONDS = 600.0
_MOST_KILLS = 3
_PATIENCE_SECONDS = 5.0
"""A trial run is not waited for at the end: it dies with this process, and nothing was written yet."""


class Importer:
    """`turn` never waits. To be used from one thread; any number of controllers may have one."""

    def __init__(
        self,
        store: Store,
        limits: Limits,
        *,
        size: int,
        monotonic: Callable[[], float] = time.monotonic,
        retry_seconds: float = _RETRY_SECONDS,
    ) -> None:
        self._store = store
        self._limits = limits
        self._size = size
        self._monotonic = monotonic
        self._retry = retry_seconds
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()
        self._again_at: dict[str, float] = {}
        """What could not be imported, and when it is tried again (monotonic seconds)."""
        self._told: dict[str, str] = {}
        self._kills: Counter[str] = Counter()

    @property
    def working(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def turn(self) -> None:
        """Starts the import of what has waited longest, when none is being made."""
        if self.working or self._closed.is_set():
            return
        now = self._monotonic()
        waiting = self._store.incoming.waiting()
        self._again_at = {name: at for name, at in self._again_at.items() if name in waiting}
        due = [name for name in waiting if self._again_at.get(name, now) <= now]
        if due:
            self._thread = threading.Thread(
                target=self._work, args=(due[0],), name=f"import-{due[0]}", daemon=True
            )
            self._thread.start()

    def close(self) -> None:
        """Gives up what is being made; the next start takes it up again."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join(_PATIENCE_SECONDS)

    def _work(self, name: str) -> None:
        try:
            if not self._ended(self._store.state(), name):
                self._import(name)
            self._told.pop(name, None)
        except Cancelled:
            return
        except CannotHere as error:
            self._wait(name, str(error), _CANNOT_SECONDS)
        except (SerinusError, OSError) as error:
            self._wait(name, f"{error}", self._retry)
        except Exception:
            # A thread's exception would be lost, and the folder must not be.
            log.exception("incoming/%s could not be imported; it waits", name)
            self._again_at[name] = self._monotonic() + _CANNOT_SECONDS

    def _wait(self, name: str, words: str, seconds: float) -> None:
        if self._told.get(name) != words:
            log.warning("incoming/%s waits: %s", name, words, extra=logs.fields(source=name))
            self._told[name] = words
        self._again_at[name] = self._monotonic() + seconds

    def _ended(self, state: State, name: str) -> bool:
        """Whether the journal says what became of it; then only the folder's way out is left."""
        if any(record.source == name for record in state.versions.values()):
            self._store.incoming.discard(name)
            # What another user's rights kept here is looked at no more, until the next start.
            self._again_at[name] = float("inf")
            return True
        if name in state.refused:
            self._store.incoming.refuse(name)
            return True
        return False

    def _import(self, name: str) -> None:
        folder = self._store.incoming.path(name)
        before = self._store.incoming.contents(folder)
        log.info("incoming/%s is being imported", name)
        try:
            with tempfile.TemporaryDirectory(prefix="serinus-import-") as scratch:
                made = convert(
                    folder,
                    Path(scratch),
                    self._limits,
                    size=self._size,
                    cancelled=self._closed.is_set,
                )
                if self._store.incoming.contents(folder) != before:
                    self._wait(name, "It changed while it was read; it is read again.", self._retry)
                    return
                version = self._store.publish(made.draft, note=made.note, actor=ACTOR, source=name)
        except Refused as error:
            self._refuse(name, error)
            return
        except Killed as error:
            self._kills[name] += 1
            if self._kills[name] < _MOST_KILLS:
                raise
            self._refuse(name, _killed_each_time(error))
            return
        log.info("incoming/%s is version %d", name, version, extra=logs.fields(source=name, version=version))
        self._ended(self._store.state(), name)

    def _refuse(self, name: str, error: Refused) -> None:
        kept = f"The files are in incoming/rejected/{name}."
        try:
            self._store.append(
                ImportRejected(source=name, code=error.code), actor=ACTOR, reason=f"{error} {kept}"
            )
        except Conflict:
            if name not in self._store.state().refused:
                raise
        log.warning(
            "incoming/%s was not imported: %s", name, error, extra=logs.fields(source=name, code=error.code)
        )
        self._ended(self._store.state(), name)


def _killed_each_time(error: Killed) -> Refused:
    return Refused(
        ImportRefusal.LIMITS,
        f"{error.message} That happened {_MOST_KILLS} times: the machine may be out of memory.",
        remedy="Lower IMPORT_MEMORY_MB or give the controller more memory, then put the folder there again.",
    )
