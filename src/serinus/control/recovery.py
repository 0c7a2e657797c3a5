"""The frozen slices since a rollout was held, for the question whether a shared failure is over."""

from collections import deque

from serinus.evidence.counts import Slice
from serinus.evidence.outage import is_over
from serinus.rollout.state import Rollout
from serinus.store import FrozenSlice, Store

_MOST_SLICES = 1000
"""Newest slices looked at; with fewer requests than needed in so many, the answer is no."""


class Recovery:
    """Reads each slice once: the question is asked every second, and a hold may last for days."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._held = (-1, -1)
        self._read = -1
        self._slices: deque[Slice] = deque(maxlen=_MOST_SLICES)

    def over(self, rollout: Rollout, last: FrozenSlice | None) -> bool:
        """Whether both versions are well again since `rollout` was held. `last`: its newest frozen slice."""
        if (rollout.number, rollout.held_k) != self._held:
            self._held, self._read = (rollout.number, rollout.held_k), rollout.held_k
            self._slices.clear()
        new: list[Slice] = []
        # Slices are numbered: a clock that was set back must not make them look older than the hold.
        one = last
        while one is not None and one.k > self._read and len(new) < _MOST_SLICES:
            new.append(one.slice)
            one = self._store.frozen(rollout.number, one.k - 1) if one.k > 0 else None
        self._slices.extend(reversed(new))
        self._read = self._read if last is None else max(self._read, last.k)
        return is_over(reversed(self._slices), rollout.policy.max_error_rate)
