"""Shadow pairs: one picture, both versions. What they said, added up, and the test for disagreement.

A pair disagrees when its agreement F1 (`serinus.evaluation.agreement`) lies below a threshold. E_abs of
`errors` tests "at most the tolerated rate of the pictures disagree": likelihood ratio theta/p0 for a
disagreement, (1 - theta)/(1 - p0) for an agreement. At its limit of 400 (alpha 0.0025) a rollout is held
unless something vouches for the canary. A better version answers differently, so nothing rolls back.

All sums are whole numbers: they do not depend on the order in which replicas are added up.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import msgspec

from serinus.core.enums import Arm, ShadowDrop
from serinus.evidence import errors, signals, wealth
from serinus.evidence.counts import Bin, Count
from serinus.evidence.wealth import Wealth

BANDS = 20
"""Of the agreement F1; band 20 is F1 = 1."""
MICRO = 1_000_000
NONE = -1
"""In a confusion matrix: this version has no box there."""
MOST_CLASSES = 64
"""Classes from here on are counted as the last one, so that counts stay small whatever a contract says."""

Band = Annotated[int, msgspec.Meta(ge=0, le=BANDS)]


class PairCounts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was counted of the shadow pairs of one slice, or of many."""

    f1: dict[Band, Count] = {}
    """Band of the agreement F1 (its floor in twentieths) -> pairs."""
    boxes_current: Count = 0
    boxes_canary: Count = 0
    matched: Count = 0
    agreed: Count = 0
    """Matched boxes with one class."""
    confusion: dict[int, dict[int, Count]] = {}
    """Class by current -> class by canary -> boxes; `NONE` where only one version has a box."""
    score_shift: int = 0
    """Sum over matched boxes of the canary's confidence minus current's, in millionths."""
    answered: dict[Arm, dict[Bin, Count]] = {}
    """Version that answered the user -> latency bin -> pairs."""
    shadowed: dict[Arm, dict[Bin, Count]] = {}
    """Version that was asked afterwards -> latency bin -> pairs."""
    slower: dict[Arm, int] = {}
    """Version that answered the user -> sum of ln(canary's latency / current's), in millionths."""
    failed: dict[Arm, Count] = {}
    """Version that was asked afterwards and failed -> pictures without a pair."""
    dropped: dict[ShadowDrop, Count] = {}

    @property
    def pairs(self) -> int:
        return sum(self.f1.values())

    def disagreed(self, below: float) -> int:
        """Pairs with an agreement F1 below `below`, in steps of 0.05."""
        return sum(n for band, n in self.f1.items() if band / BANDS < below)


def band(f1: float) -> int:
    """The band of an agreement F1 in [0, 1]."""
    return min(math.floor(f1 * BANDS + 1e-9), BANDS)


def add(counts: Iterable[PairCounts]) -> PairCounts:
    """Adds up. The order is canonical and nothing is zero: equal content gives equal bytes."""
    total: dict[str, Any] = {}
    for one in counts:
        for name in PairCounts.__struct_fields__:
            total[name] = _sum(total.get(name, 0), getattr(one, name))
    return PairCounts(**{name: value for name, value in total.items() if value})


def _sum(one: Any, other: Any) -> Any:
    """Of numbers, or of mappings key by key, sorted; 0 and empty ones are left out."""
    if not isinstance(one, Mapping) and not isinstance(other, Mapping):
        return one + other
    left, right = one or {}, other or {}
    summed = {key: _sum(left.get(key, 0), right.get(key, 0)) for key in sorted({*left, *right})}
    return {key: value for key, value in summed.items() if value}


class Tolerance(msgspec.Struct, frozen=True, kw_only=True):
    """What the policy tolerates."""

    below: float
    """Agreement F1 below which a pair disagrees."""
    rate: Annotated[float, msgspec.Meta(gt=0.0, lt=1.0)]
    """p0: the rate of disagreements that is fine."""


class PairEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """All that shadow pairs said so far."""

    tolerance: Tolerance
    """What is tested."""
    wealth: Wealth = wealth.start(errors.ABS)
    restarts: int = 0
    """How often the policy made it another test; each doubles the limit."""
    pairs: Count = 0
    """Tested since the last restart."""
    disagreed: Count = 0
    """Of them."""
    total: PairCounts = PairCounts()
    """Since the rollout began: for people."""

    @property
    def e_disagreement(self) -> float:
        return wealth.value(self.wealth, errors.ABS)

    @property
    def limit(self) -> float:
        return signals.LIMIT * wealth.doubled(self.restarts)

    @property
    def excessive(self) -> bool:
        """The versions disagree on more pictures than is tolerated."""
        return self.e_disagreement >= self.limit

    @property
    def words(self) -> str:
        """What the pairs say, for people."""
        return (
            f"the versions disagree on {self.disagreed} of {self.pairs} pictures"
            f" ({self.tolerance.rate * 100:.4g} % are tolerated)"
        )

    @property
    def objection(self) -> str:
        """`words` when the disagreement is excessive, else empty."""
        return self.words if self.excessive else ""

    @property
    def numbers(self) -> dict[str, float]:
        """For the history."""
        return {
            "shadow_pairs": float(self.pairs),
            "shadow_disagreed": float(self.disagreed),
            "e_disagreement": self.e_disagreement,
            "limit_disagreement": self.limit,
        }


def observe(evidence: PairEvidence | None, counts: PairCounts, tolerance: Tolerance) -> PairEvidence:
    """The evidence after one slice; None: nothing was observed yet. Another tolerance is another test."""
    if evidence is None:
        evidence = PairEvidence(tolerance=tolerance)
    if evidence.tolerance != tolerance:
        restarts = evidence.restarts + (evidence.pairs > 0)
        evidence = PairEvidence(tolerance=tolerance, restarts=restarts, total=evidence.total)
    disagreed = counts.disagreed(tolerance.below)
    agreed = counts.pairs - disagreed
    logs = [disagreed * lost + agreed * won for lost, won in errors.absolute_logs(tolerance.rate)]
    return msgspec.structs.replace(
        evidence,
        wealth=wealth.step(evidence.wealth, errors.ABS, logs, counts.pairs),
        pairs=evidence.pairs + counts.pairs,
        disagreed=evidence.disagreed + disagreed,
        total=add([evidence.total, counts]),
    )
