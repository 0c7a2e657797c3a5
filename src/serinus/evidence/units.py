"""Sticky units, which pinned users were counted already: the unit is the user, not the request.

The coin is tossed once for a user, so his requests are no independent observations of his arm: two users
with bad pictures, pinned to the canary, would bring dozens of "failures" and blame a healthy canary. So a
user counts once for each toss, by his first request after it (without this rule: 19 % false rollbacks):

- at his first request in the rollout, with the share p then in force as the probability of the canary;
- when the share rises from p to q and he was beside the canary: given that, he is in the canary now with the
  probability (q - p) / (1 - p), which is the share that this observation declares. All tests of `evidence`
  hold for any shares that are known beforehand, so they hold for these.
- Who was in the canary stays there for any larger share: there is no toss, and nothing is counted.

Memory is bounded without counting anybody twice: users are numbered by a hash that is independent of their
arm, and only those below a limit count. When too many are known, the limit is halved and the rest forgotten
for good; a random part of the users is as good a sample as all of them.
"""

import hashlib

from serinus.core.enums import Arm

MOST_UNITS = 100_000
_ALL = 1 << 64
_IN_CANARY = 1.0


def number_of(name: str) -> int:
    """64 bits of a hash of a user's name in a recorded stream, whose coin had nothing to do with it."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest())


class Units:
    """The users of one rollout that were counted by one replica, or in one stream. Not thread-safe."""

    def __init__(self, most: int = MOST_UNITS) -> None:
        self._most = most
        self._below = _ALL
        self._seen: dict[int, float] = {}
        """User -> the largest share beside which he was seen; 1 once he was in the canary."""

    def __len__(self) -> int:
        return len(self._seen)

    def toss(self, unit: int, arm: Arm, share: float) -> float | None:
        """The probability with which this request came to the canary; None when no toss brought it.

        `unit`: 64 bits of a hash, independent of the arm. `share`: the canary's, in force now.
        """
        if unit >= self._below:
            return None
        before = self._seen.get(unit, 0.0)
        if share <= before:
            return None
        self._seen[unit] = _IN_CANARY if arm is Arm.CANARY else share
        while len(self._seen) > self._most:
            self._below //= 2
            self._seen = {one: largest for one, largest in self._seen.items() if one < self._below}
        return (share - before) / (1.0 - before)
