"""What a promotion still takes: the smallest number of good requests in a row with which E_good suffices.

E_good rises with each success, by (1 - theta)/(1 - p0) > 1 in every bet, so the number is found by doubling
and halving. It is the best case; where requests fail on the way, more are needed.
"""

from serinus.evidence import promotion
from serinus.evidence.promotion import Tally
from serinus.evidence.stratum import StratumEvidence
from serinus.evidence.wealth import doubled

_MOST = 1 << 40


def good_requests(evidence: StratumEvidence, p0: float) -> int:
    """Canary requests without a failure that this stratum still needs for its proof of health."""
    limit = promotion.LIMIT * doubled(evidence.restarts)
    return max(_missing(evidence.canary, p0, limit), _missing(evidence.recent.total, p0, limit))


def fewest_requests(p0: float, limit: float = promotion.LIMIT) -> int:
    """The same with nothing observed before."""
    return _missing(Tally(), p0, limit)


def _missing(tally: Tally, p0: float, limit: float) -> int:
    def suffices(more: int) -> bool:
        return promotion.e_good(tally + Tally(more, 0), p0) >= limit

    if suffices(0):
        return 0
    high = 1
    while not suffices(high) and high < _MOST:
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if suffices(middle) else (middle, high)
    return high
