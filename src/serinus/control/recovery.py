"""Whether a failure of both versions is over.

The verdict knows while its alarm still stands. But the good requests that prove the recovery also calm the
alarm, mostly before they are many enough, and a hold must not outlast both. So the newest requests since the
hold are looked at themselves, in the frozen slices.
"""

from serinus.core.enums import Arm, Stratum
from serinus.evidence.promotion import Tally
from serinus.evidence.stratum import OVER_AFTER, tallies
from serinus.rollout.state import Rollout
from serinus.store import FrozenSlice, Store

_MOST_SLICES = 1000
"""Slices looked at; with fewer requests than needed in so many, the answer is no."""


def recovered(store: Store, rollout: Rollout, last: FrozenSlice | None) -> bool:
    """Whether the newest 50 requests of each arm since the hold fail at half of the error limit or less.

    Every stratum that has requests among them must be well: healthy probes do not speak for users that fail.
    """
    counts = {(stratum, arm): Tally() for stratum in Stratum for arm in Arm}
    held_at, one, seen = rollout.held_at or 0.0, last, 0
    while one is not None and one.time > held_at and seen < _MOST_SLICES:
        seen += 1
        for stratum in Stratum:
            canary, current = tallies([cell for cell in one.slice if cell.stratum is stratum])
            counts[stratum, Arm.CANARY] += canary
            counts[stratum, Arm.CURRENT] += current
        if all(sum(counts[stratum, arm].requests for stratum in Stratum) >= OVER_AFTER for arm in Arm):
            limit = rollout.policy.max_error_rate / 2
            return all(tally.failures <= tally.requests * limit for tally in counts.values())
        one = store.frozen(rollout.number, one.k - 1) if one.k > 0 else None
    return False
