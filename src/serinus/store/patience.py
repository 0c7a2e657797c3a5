"""How a server that does not answer is asked again: with growing pauses, until patience runs out.

From then on it counts as *away*, and each request is tried once only until one is answered again: whoever
looks every second must not be held up each time for as long as the first one was. What is asked must be safe
to ask twice, since nobody knows which half of an exchange was lost.
"""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from serinus.core.errors import Unavailable
from serinus.core.ids import Clock

_LOG = logging.getLogger(__name__)
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 2.0
_SAID_AFTER = 1.0
"""Shorter troubles are not worth a line in the log."""
T = TypeVar("T")
Waiting = Callable[[float], None]
"""Told, before each pause, how many seconds were waited so far; may raise Cancelled."""


def go_on(_seconds: float) -> None:
    """Waits on, whatever was waited so far."""


class Patience:
    """With one server. Thread-safe: what several threads write here is a hint, not a decision."""

    def __init__(
        self,
        name: str,
        seconds: float,
        *,
        clock: Clock,
        waiting: Waiting = go_on,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._name = name
        self._seconds = seconds
        self._clock = clock
        self._waiting = waiting
        self._monotonic = monotonic
        self._sleep = sleep
        self._since: float | None = None
        """When the first of the failures in a row happened, UTC seconds."""
        self._said = False
        self._away = False

    @property
    def away_since(self) -> float | None:
        """Since when nothing was answered, UTC seconds, once patience has run out; None while all is well."""
        return self._since if self._away else None

    def ask(self, what: Callable[[], T]) -> T:
        """What `what` gives. Its Unavailable is tried again; raises the last one when patience runs out."""
        began = self._monotonic()
        pause = _FIRST_PAUSE
        while True:
            try:
                found = what()
            except Unavailable as error:
                self._failed(self._monotonic() - began, pause, error)
            except Exception:
                self._answered()  # a refusal is an answer
                raise
            else:
                self._answered()
                return found
            self._sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _failed(self, waited: float, pause: float, error: Unavailable) -> None:
        self._since = self._since or self._clock()
        if self._away or waited + pause > self._seconds:
            if not self._away:
                _LOG.error("%s is away: %s", self._name, error.message)
            self._away = self._said = True
            raise error
        if waited >= _SAID_AFTER and not self._said:
            self._said = True
            _LOG.warning(
                "%s does not answer; it is asked again for up to %g s: %s",
                self._name,
                self._seconds,
                error.message,
            )
        self._waiting(waited)

    def _answered(self) -> None:
        if self._said:
            _LOG.info("%s answers again.", self._name)
        self._since, self._said, self._away = None, False, False
