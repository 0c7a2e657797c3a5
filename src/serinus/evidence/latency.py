"""The latency tests: is the canary slower than 1.2 times current, and is it proved not to be slower than
1.44 times?

Null of the blame test: y_canary is stochastically not larger than y_current, where y = latency / 1.2 for
the canary (two bins down) and the latency itself for current. No assumption on tails. The promotion test is
the same with the arms' roles exchanged and the margin 1.44: its null is that the canary is slower than
that.

Each request is one bet on its *arm*, given how slow it was (as E_rel in `errors`):

- four rank bets, factor 1 + k (1[canary] - p) g(y) / max(p, 1 - p), with g the pooled mid-rank in (-1, 1);
- four thresholds, factor f_arm(x) / (p f_canary(x) + (1 - p) f_current(x)), with x = "slower than" the pooled
  median (twice), current's p95, current's p99.

Ranks and quantiles come from the slices *before* (predictable), so the first slice makes no bet. Under the
null each factor has a mean of at most 1 (Waudby-Smith and Ramdas, *Estimating means by betting*; Lindon et
al., arXiv 2205.14762).

Latencies below a floor are all alike (bin of the floor, both arms, before the margin): what nobody notices is
no slowness, and at a millisecond it is the scheduler that differs, not the version. The nulls are about such
latencies then; one that is true of the latencies themselves is true of them, too.

In the blame test failures stay in, on the side that speaks for the canary: current's are slowest, the
canary's fastest. Else a failing current biases the comparison. The promotion test compares successes only.
"""

import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import accumulate

import msgspec

from serinus.core.enums import Arm
from serinus.evidence import wealth
from serinus.evidence.counts import BINS_PER_MARGIN, LAST_BIN, Bin, Cell, Count
from serinus.evidence.errors import arm_given_outcome_log
from serinus.evidence.wealth import Mixture, Wealth

LIMIT = 400.0
PROVED = 20.0
ENOUGH_CURRENT = 50
"""Successes of current that the promotion test needs; with fewer, a broken current would block its own
fix."""

MIXTURE = Mixture((0.15, 0.20, 0.20, 0.10, 0.10, 0.10, 0.08, 0.07))
RANK_STAKES = (0.15, 0.4, 0.75, 0.95)

MEDIAN = 0.5
TAIL = 0.95
FAR_TAIL = 0.99
BLAME_THRESHOLDS = ((0.8, 0.2), (0.97, 0.03), (0.12, 0.05), (0.06, 0.01))
"""P(slow) of (canary, current), at the pooled median twice, at current's p95 and p99."""
PROOF_THRESHOLDS = ((0.2, 0.8), (0.03, 0.97), (0.01, 0.05), (0.002, 0.01))
"""The same for the promotion test: the tail bets stand where current's own rates are."""

NEVER = LAST_BIN + 1
"""Place of a failure of current, slower than any success."""
AT_ONCE = -3 * BINS_PER_MARGIN
"""Place of a failure of the canary, faster than any success."""

Histogram = Mapping[int, int]
"""Place (latency bin, moved by the margin) -> requests."""


class LatencyEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """Both wealths and the latencies so far."""

    slower: Wealth
    """Against "not slower than 1.2 times"."""
    proved: Wealth
    """Against "slower than 1.44 times"."""
    canary: dict[Bin, Count] = {}
    current: dict[Bin, Count] = {}
    canary_failed: int = 0
    current_failed: int = 0

    @property
    def e_slower(self) -> float:
        return wealth.value(self.slower, MIXTURE)

    @property
    def e_proved(self) -> float:
        return wealth.value(self.proved, MIXTURE)

    @property
    def comparable(self) -> bool:
        """Whether current has enough successes to be compared with."""
        return sum(self.current.values()) >= ENOUGH_CURRENT


class Past:
    """Ranks and quantiles of what was seen before."""

    def __init__(self, histogram: Histogram) -> None:
        self._places = sorted(histogram)
        self._upto = list(accumulate(histogram[place] for place in self._places))

    @property
    def total(self) -> int:
        return self._upto[-1] if self._upto else 0

    def score(self, place: int) -> float:
        """The mid-rank of a new request among the past ones and itself, scaled to (-1, 1)."""
        below = self._count(bisect_left(self._places, place))
        upto = self._count(bisect_right(self._places, place))
        return (below + upto + 1) / (self.total + 1) - 1.0

    def quantile(self, q: float) -> int:
        """The lowest place with at least this share of the past requests at or below it."""
        return self._places[bisect_left(self._upto, math.ceil(q * self.total))]

    def _count(self, places: int) -> int:
        return self._upto[places - 1] if places else 0


def start() -> LatencyEvidence:
    return LatencyEvidence(slower=wealth.start(MIXTURE), proved=wealth.start(MIXTURE))


def observe(evidence: LatencyEvidence, cells: Sequence[Cell], floor: Bin = 0) -> LatencyEvidence:
    """The evidence after one slice. `cells` are of one stratum, with shares in (0, 1].

    `floor`: the bin below which latencies are alike.
    """
    canary, current = Counter(evidence.canary), Counter(evidence.current)
    for cell in cells:
        (canary if cell.arm is Arm.CANARY else current).update(cell.ok)
    return LatencyEvidence(
        slower=_bet_slower(evidence, cells, floor),
        proved=_bet_proved(evidence, cells, floor),
        canary=_in_order(canary),
        current=_in_order(current),
        canary_failed=evidence.canary_failed + _failures(cells, Arm.CANARY),
        current_failed=evidence.current_failed + _failures(cells, Arm.CURRENT),
    )


def _bet_slower(evidence: LatencyEvidence, cells: Sequence[Cell], floor: Bin) -> Wealth:
    canary = _places(evidence.canary, floor, -BINS_PER_MARGIN, evidence.canary_failed, AT_ONCE)
    current = _places(evidence.current, floor, 0, evidence.current_failed, NEVER)
    bets = _Bets(canary, current, RANK_STAKES, BLAME_THRESHOLDS)
    for cell in cells:
        if cell.arm is Arm.CANARY:
            bets.place(cell, _places(cell.ok, floor, -BINS_PER_MARGIN, cell.failures, AT_ONCE))
        else:
            bets.place(cell, _places(cell.ok, floor, 0, cell.failures, NEVER))
    return wealth.step(evidence.slower, MIXTURE, bets.logs, bets.count)


def _bet_proved(evidence: LatencyEvidence, cells: Sequence[Cell], floor: Bin) -> Wealth:
    canary = _places(evidence.canary, floor, -2 * BINS_PER_MARGIN)
    current = _places(evidence.current, floor, 0)
    bets = _Bets(canary, current, tuple(-stake for stake in RANK_STAKES), PROOF_THRESHOLDS)
    for cell in cells:
        bets.place(cell, _places(cell.ok, floor, -2 * BINS_PER_MARGIN if cell.arm is Arm.CANARY else 0))
    return wealth.step(evidence.proved, MIXTURE, bets.logs, bets.count)


class _Bets:
    """The log factors of one slice, for the eight bets."""

    def __init__(
        self,
        canary: Histogram,
        current: Histogram,
        stakes: tuple[float, ...],
        thresholds: tuple[tuple[float, float], ...],
    ) -> None:
        self._pooled = Past(Counter(canary) + Counter(current))
        self._stakes = stakes
        self._thresholds: list[tuple[int, float, float] | None] = []
        control = Past(current)
        sources = ((self._pooled, MEDIAN), (self._pooled, MEDIAN), (control, TAIL), (control, FAR_TAIL))
        for (past, q), (slow_canary, slow_current) in zip(sources, thresholds, strict=True):
            self._thresholds.append((past.quantile(q), slow_canary, slow_current) if past.total else None)
        self.logs = [0.0] * len(MIXTURE.weights)
        self.count = 0

    def place(self, cell: Cell, places: Histogram) -> None:
        if cell.share == 1.0 or not self._pooled.total:
            return  # no control arm, or nothing to rank against yet: no bet
        for place, requests in places.items():
            self.count += requests
            factors = (*self._rank_logs(cell, place), *self._threshold_logs(cell, place))
            self.logs = [log + requests * factor for log, factor in zip(self.logs, factors, strict=True)]

    def _rank_logs(self, cell: Cell, place: int) -> list[float]:
        side = (1.0 if cell.arm is Arm.CANARY else 0.0) - cell.share
        lean = side * self._pooled.score(place) / max(cell.share, 1.0 - cell.share)
        return [math.log1p(stake * lean) for stake in self._stakes]

    def _threshold_logs(self, cell: Cell, place: int) -> list[float]:
        return [
            0.0 if threshold is None else _threshold_log(cell, place, *threshold)
            for threshold in self._thresholds
        ]


def _threshold_log(cell: Cell, place: int, limit: int, slow_canary: float, slow_current: float) -> float:
    if place > limit:
        return arm_given_outcome_log(slow_canary, slow_current, cell.share, cell.arm)
    return arm_given_outcome_log(1.0 - slow_canary, 1.0 - slow_current, cell.share, cell.arm)


def _places(ok: Histogram, floor: int, shift: int, failures: int = 0, failed_at: int = 0) -> dict[int, int]:
    places: dict[int, int] = {}
    for bin_, requests in ok.items():
        place = max(bin_, floor) + shift
        places[place] = places.get(place, 0) + requests
    if failures:
        places[failed_at] = failures
    return places


def _failures(cells: Sequence[Cell], arm: Arm) -> int:
    return sum(cell.failures for cell in cells if cell.arm is arm)


def _in_order(histogram: Counter[int]) -> dict[int, int]:
    return dict(sorted(histogram.items()))
