"""A replica's own MODEL_DIR, where the store lies in a bucket: views for people, copies within their limit,
and the last known state for a start without the store.

It is done in a thread of its own: what waits for the store must not hold up the replica's loop.
"""

import logging
import threading

from serinus.core.errors import SerinusError
from serinus.core.ids import Digest
from serinus.observe.logs import fields
from serinus.rollout.state import State
from serinus.store import Store

log = logging.getLogger(__name__)

_TRIM_SECONDS = 60.0
_RETRY_SECONDS = 5.0


class Copies:
    """Does nothing where the store lies in MODEL_DIR itself: there the controller keeps the views."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._state = State()
        self._signature: tuple[int, tuple[Digest, ...]] | None = None
        self._moved = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="copies", daemon=True)

    def start(self) -> None:
        if self._store.remote:
            self._thread.start()

    def stop(self) -> None:
        """Ends after what it is at; does not wait for the store."""
        self._stopping = True
        self._moved.set()

    def follow(self, state: State, loaded: tuple[Digest, ...]) -> None:
        """Tells what the journal says and what is loaded here; cheap when nothing has changed."""
        signature = (state.seq, loaded)
        if signature != self._signature:
            self._state, self._signature = state, signature
            self._moved.set()

    def _run(self) -> None:
        failed = False
        wait = _TRIM_SECONDS
        while True:
            self._moved.wait(wait)
            if self._stopping:
                return
            self._moved.clear()
            try:
                self._turn()
            except (OSError, SerinusError) as error:
                if not failed:
                    log.warning(
                        "MODEL_DIR is not up to date; it is tried again.", extra=fields(cause=str(error))
                    )
                failed, wait = True, _RETRY_SECONDS
            else:
                failed, wait = False, _TRIM_SECONDS

    def _turn(self) -> None:
        if self._state.seq > 0:
            self._store.remember(self._state)
        self._store.refresh_views()
        self._store.trim_copies()
