"""Remembers answers until the replica's loop writes them to the store, so that feedback can judge them.

The hot path appends to a list under a lock and nothing more. While the store is away answers wait, up to a
bound; probes are not remembered, for their truth is known.
"""

import threading

import msgspec
import numpy as np
import numpy.typing as npt

from serinus.core.ids import Clock
from serinus.imagery.decode import Data
from serinus.serving.prediction import Prediction
from serinus.store import Answered, Keeper, Pair, Store

_MOST_WAITING = 2000
_MOST_PICTURE_BYTES = 256 << 20


class Recorder:
    """`most`: answers of this process that the store keeps (0: none); `pictures`: whether these are kept;
    `most_picture_bytes`: of pictures that wait for the store."""

    def __init__(
        self,
        store: Store,
        replica: str,
        *,
        most: int,
        pictures: bool,
        clock: Clock,
        most_picture_bytes: int = _MOST_PICTURE_BYTES,
    ) -> None:
        self._keeper: Keeper | None = store.predictions.keeper(replica, most=most) if most else None
        self._pictures = pictures
        self._most_picture_bytes = most_picture_bytes
        self._clock = clock
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._waiting: list[Answered] = []
        self._pairs: dict[str, Pair] = {}
        self._bytes = 0

    def note(self, request_id: str, prediction: Prediction, pre: Data = b"", post: Data = b"") -> None:
        """Remembers an answer, with its pictures where they are kept, were sent as such, and have room."""
        if self._keeper is None:
            return
        size = len(pre) + len(post)
        with self._lock:
            if len(self._waiting) >= _MOST_WAITING:
                return
            keeps = self._pictures and size > 0 and self._bytes + size <= self._most_picture_bytes
            if keeps:
                self._forget(request_id)  # the client chose it, perhaps again
                self._pairs[request_id] = Pair(pre=bytes(pre), post=bytes(post))
                self._bytes += size
            self._waiting.append(answered_of(request_id, prediction, self._clock(), pictures=keeps))

    def send(self) -> None:
        """Writes what waits. Raises what the store raises; then it goes on waiting."""
        if self._keeper is None:
            return
        with self._sending:
            with self._lock:
                batch, pairs = list(self._waiting), dict(self._pairs)
            if not batch:
                return
            self._keeper.put(batch, pairs)
            with self._lock:
                del self._waiting[: len(batch)]
                for request_id, pair in pairs.items():
                    if self._pairs.get(request_id) is pair:
                        self._forget(request_id)

    def _forget(self, request_id: str) -> None:
        pair = self._pairs.pop(request_id, None)
        if pair is not None:
            self._bytes -= len(pair.pre) + len(pair.post)


def answered_of(request_id: str, prediction: Prediction, now: float, *, pictures: bool = False) -> Answered:
    """An answer as it is kept. `now`: UTC seconds."""
    return recorded(
        Answered(
            request_id=request_id,
            time=now,
            version=prediction.target.version,
            digest=prediction.target.digest,
            role=prediction.role,
            rollout=None if prediction.override or prediction.fallback else prediction.rollout,
            width=prediction.size[0],
            height=prediction.size[1],
            pictures=pictures,
        ),
        prediction.detections,
    )


def recorded(answered: Answered, detections: npt.NDArray[np.float32]) -> Answered:
    """`answered` with these detections, [K, 6]."""
    rows = np.round(detections.astype(np.float64), 4)
    return msgspec.structs.replace(
        answered,
        boxes=tuple((row[0], row[1], row[2], row[3]) for row in rows[:, :4].tolist()),
        scores=tuple(rows[:, 4].tolist()),
        classes=tuple(int(label) for label in rows[:, 5].tolist()),
    )
