"""The assignment check: is the traffic split as declared?

Null: each request went to the canary by a coin of the probability p that it declares. Alternatives: the
odds of the canary are o times as large; the factor is the likelihood ratio o/(p o + 1 - p) for a canary
request and 1/(p o + 1 - p) otherwise (a sequential test of the sample ratio; Lindon and Malek:
*Anytime-valid inference for multinomial count data*, 2022). At 1000 the split is not the declared one, and
whatever compares the arms through p is not to be trusted: no rollback for latency, no promotion.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

from serinus.core.enums import Arm
from serinus.evidence import wealth
from serinus.evidence.counts import Cell
from serinus.evidence.wealth import Mixture, Wealth

LIMIT = 1000.0
ODDS = (0.0, 0.25, 0.5, 2.0, 4.0, 1e9)
SPLIT = Mixture((1 / 6,) * 6, reserve=0.0)


def start() -> Wealth:
    return wealth.start(SPLIT)


def e_split(evidence: Wealth) -> float:
    return wealth.value(evidence, SPLIT)


def observe(evidence: Wealth, cells: Sequence[Cell]) -> Wealth:
    """The evidence after one slice. `cells` are of one stratum, with shares in (0, 1]."""
    logs = [0.0] * len(ODDS)
    count = 0
    for cell in cells:
        requests = cell.successes + cell.failures
        if cell.share == 1.0 or requests == 0:
            continue  # there was no coin
        count += requests
        logs = [
            log + requests * factor for log, factor in zip(logs, _logs(cell.share, cell.arm), strict=True)
        ]
    return wealth.step(evidence, SPLIT, logs, count)


@lru_cache(maxsize=256)
def _logs(share: float, arm: Arm) -> tuple[float, ...]:
    factors = ((odds if arm is Arm.CANARY else 1.0) / (share * odds + 1.0 - share) for odds in ODDS)
    return tuple(math.log(factor) if factor else -math.inf for factor in factors)
