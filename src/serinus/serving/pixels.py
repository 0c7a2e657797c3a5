"""How many decoded pixels are in memory at once."""

import threading
import weakref

import numpy as np
import numpy.typing as npt

from serinus.core.errors import Unavailable


class Pixels:
    """Room for `limit` pixels. It is given back when the array that took it is freed. Thread-safe."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._held = 0

    @property
    def held(self) -> int:
        return self._held

    def take(self, pixels: int) -> None:
        """Before decoding. A pair alone always finds room. Raises Unavailable when there is none."""
        with self._lock:
            if self._held and self._held + pixels > self._limit:
                raise Unavailable(
                    "The service holds as many pictures as its memory allows.",
                    remedy="Try again soon, or send smaller tiles.",
                    retry_after=1.0,
                )
            self._held += pixels

    def give_back(self, pixels: int) -> None:
        with self._lock:
            self._held -= pixels

    def tie(self, pixels: int, array: npt.NDArray[np.uint8]) -> None:
        """From now on what was taken belongs to `array`."""
        weakref.finalize(array, self.give_back, pixels).atexit = False
