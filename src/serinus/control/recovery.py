"""The frozen slices since a rollout was held, for the question whether a shared failure is over."""

from collections.abc import Iterator
from itertools import islice

from serinus.evidence.counts import Slice
from serinus.evidence.outage import is_over
from serinus.rollout.state import Rollout
from serinus.store import FrozenSlice, Store

_MOST_SLICES = 1000
"""Slices looked at; with fewer requests than needed in so many, the answer is no."""


def recovered(store: Store, rollout: Rollout, last: FrozenSlice | None) -> bool:
    """Whether both versions are well again since the rollout was held. `last`: the newest frozen slice."""
    slices = islice(_since(store, rollout, last), _MOST_SLICES)
    return is_over(slices, rollout.policy.max_error_rate)


def _since(store: Store, rollout: Rollout, last: FrozenSlice | None) -> Iterator[Slice]:
    # Slices are numbered: a clock that was set back must not make them look older than the hold.
    one = last
    while one is not None and one.k > rollout.held_k:
        yield one.slice
        one = store.frozen(rollout.number, one.k - 1) if one.k > 0 else None
