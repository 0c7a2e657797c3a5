"""What current answers while no version is on trial: the past that data drift is told from."""

import threading
from collections import Counter

from serinus.core.ids import Digest
from serinus.evidence.counts import Answer, Categories, categories

_GENERATION = 5000


class Past:
    """The newest 5,000 to 10,000 answers of one version to users while no other was on trial.

    Two generations of counters: the older one is dropped when the younger one is full. Thread-safe.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of: Digest | None = None
        self._young: Counter[Answer] = Counter()
        self._old: Counter[Answer] = Counter()
        self._noted = 0

    def note(self, version: Digest, answer: Answer) -> None:
        """One answer of `version`; another version than before starts afresh."""
        with self._lock:
            if version != self._of:
                self._of, self._noted = version, 0
                self._young, self._old = Counter(), Counter()
            elif self._noted == _GENERATION:
                self._old, self._young, self._noted = self._young, Counter(), 0
            self._noted += 1
            self._young[answer] += 1

    def read(self) -> tuple[Digest | None, Categories]:
        """Whose answers, and how many of each category."""
        with self._lock:
            total, version = self._young + self._old, self._of
        return version, categories(total)
