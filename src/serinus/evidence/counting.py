"""The prototype's rule: plain counting. Kept for comparison and for who has to follow its documents.

More failures than p0 among the canary's requests so far, once there are `min_requests` of them: rolled back.
Nothing of that kind until the window ends: promoted. It looks after every slice without paying for it: with
p0 = 5 % it rolls back 38 % of the canaries whose true error rate is 2 %, and it promotes a bad canary that
few people used. `serinus.evidence.analysis` judges the same slices beside it; its numbers are in the history.
"""

from serinus.core.enums import ReasonCode
from serinus.evidence.analysis import Analysis
from serinus.evidence.verdict import Verdict


def judge_by_counting(analysis: Analysis, p0: float, min_requests: int, told: Verdict) -> Verdict:
    """The verdict by counting alone. `told`: by evidence, for its numbers only."""
    canary = analysis.canary
    rate = canary.failures / canary.requests if canary.requests else 0.0
    failed = f"{canary.failures} of {canary.requests} canary requests failed"
    numbers = told.numbers | {"error_rate": rate, "limit_error_rate": p0, "min_requests": float(min_requests)}
    if canary.requests >= min_requests and rate > p0:
        return Verdict(
            blame=ReasonCode.ERRORS,
            numbers=numbers,
            words=f"{failed}: {rate:.1%}, more than {p0:.1%} (by plain counting)",
        )
    few = canary.requests < min_requests
    words = (
        f"{failed}; fewer than {min_requests} requests roll nothing back" if few else f"{failed}: {rate:.1%}"
    )
    return Verdict(good=True, numbers=numbers, words=f"{words} (by plain counting)")
