"""A thread beside the controller: sees in the journal that there is something to tell, and has it told.

It shares nothing with the tick but the store, and tells through a function that may take minutes or fail.
Failures are tried again, later and later, a bounded number of times; after that the next outcome, a restart
or `serinus import mlflow-tags` tries again. While no imported version has an outcome, nothing is called.
"""

import logging
import threading
import time
from collections.abc import Callable

from serinus.store import Store
from serinus.tracking.outcomes import Outcomes

log = logging.getLogger(__name__)

BACKOFF_SECONDS = (5.0, 15.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 3600.0)


class Teller:
    """`tell` gives words for what went wrong, empty when all is told; it ends soon when `stop` is set.

    `follow`: any change of what is current is told, too (an alias follows it).
    """

    def __init__(
        self,
        store: Store,
        tell: Callable[[], str],
        *,
        follow: bool = False,
        poll_seconds: float = 2.0,
        backoff: tuple[float, ...] = BACKOFF_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._tell = tell
        self._follow = follow
        self._poll = poll_seconds
        self._backoff = backoff
        self._monotonic = monotonic
        self._outcomes = Outcomes()
        self._seen: tuple[int, int | None] = (0, None)
        self._failures = 0
        self._due: float | None = None
        self._trouble = ""

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set."""
        while not stop.is_set():
            self.turn()
            stop.wait(self._poll)

    def turn(self) -> None:
        """One look; never raises."""
        try:
            self._look()
            if self._due is not None and self._monotonic() >= self._due:
                self._try()
        except Exception as error:
            # The thread must outlive a store that is away; the controller's own tick tells in full.
            words = f"{type(error).__name__}: {error}"
            if words != self._trouble:
                log.exception("cannot see how rollouts ended; it tries again")
            self._trouble = words

    def _look(self) -> None:
        state = self._store.state()
        if state.seq > self._outcomes.seq:
            for event in self._store.events(after=self._outcomes.seq):
                self._outcomes.add(event)
        newest = max((ended.seq for ended in self._outcomes.ended.values()), default=0)
        now = (newest, state.current if self._follow and newest else None)
        if now != self._seen:
            self._seen, self._failures, self._due = now, 0, self._monotonic()

    def _try(self) -> None:
        try:
            trouble = self._tell()
        except OSError as error:  # no process, no memory: as if the server were away
            trouble = str(error)
        self._note(trouble)
        if not trouble:
            self._due = None
        elif self._failures < len(self._backoff):
            self._due = self._monotonic() + self._backoff[self._failures]
            self._failures += 1
        else:
            self._due = None
            log.error("MLflow was not told how rollouts ended; `serinus import mlflow-tags` tries again")

    def _note(self, trouble: str) -> None:
        """Logs when trouble begins or changes and when it ends."""
        if trouble and trouble != self._trouble:
            log.warning("MLflow was not told how rollouts ended: %s", trouble)
        elif self._trouble and not trouble:
            log.info("MLflow was told")
        self._trouble = trouble
