"""Sticky units: with sticky routing the observation is the pinned user, not the request.

The coin is tossed once for a unit, so its requests are no independent observations of the arm: two users
with bad pictures, pinned to the canary, would bring dozens of "failures" and blame a healthy canary (19 %
false rollbacks). Counted is therefore one observation per unit, its *first request*: its arm is a fresh
toss of the coin, whatever the unit is like, so every test of this room holds as it stands and a slice needs
no other form. A cell counts observations: requests without sticky routing, units with it.

Who counts must know which units were counted already. That memory is bounded: the longest known of
`MOST_UNITS` units is forgotten first, and may then count a second time (after 100,000 others). A fresh epoch
of the evidence begins with fresh units.
"""

from collections import OrderedDict

MOST_UNITS = 100_000


class Units:
    """Which units were counted since the evidence last started afresh."""

    def __init__(self, most: int = MOST_UNITS) -> None:
        self._most = most
        self._known: OrderedDict[str, None] = OrderedDict()

    def is_observation(self, unit: str | None) -> bool:
        """Whether a request of `unit` counts: its first one does. Without a unit every request counts."""
        if unit is None:
            return True
        if unit in self._known:
            return False
        self._known[unit] = None
        if len(self._known) > self._most:
            self._known.popitem(last=False)
        return True

    def forget(self) -> None:
        """A new epoch: every unit counts once more."""
        self._known.clear()
