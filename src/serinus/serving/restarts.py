"""How often a version's workers died or did not start, and how long the next start waits for that."""

import threading

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 3.0


class Restarts:
    """Of the workers of one version. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.deaths = 0
        """Of workers that were ready, in a row, without an answer between."""
        self.total = 0
        """All deaths of workers that were ready."""
        self.last_death = ""
        """What the last one died of."""
        self.failed_starts = 0
        """In a row."""

    def died(self, why: str) -> float:
        """A worker that was ready died. Gives how long to wait now, seconds: the first time not at all."""
        with self._lock:
            self.deaths += 1
            self.total += 1
            self.last_death = why
            return _pause(self.deaths - 1)

    def did_not_start(self) -> float:
        """A worker did not become ready. Gives how long to wait now, seconds."""
        with self._lock:
            self.failed_starts += 1
            return _pause(self.failed_starts)

    def started(self) -> None:
        """A worker is ready."""
        with self._lock:
            self.failed_starts = 0

    def answered(self) -> None:
        """A worker has answered a request."""
        if self.deaths:
            with self._lock:
                self.deaths = 0


def _pause(failures: int) -> float:
    if failures <= 0:
        return 0.0
    return float(min(FIRST_PAUSE_SECONDS * 2 ** min(failures - 1, 10), LONGEST_PAUSE_SECONDS))
