"""Runs cells: thousands of rollouts each, the rule of `evidence` and its rivals on the same streams."""

import math
from collections.abc import Callable, Sequence
from functools import partial

import msgspec
import numpy as np

from serinus.evidence.analysis import Params
from serinus.evidence.answers import Tolerated
from serinus.evidence.errors import LIMIT
from serinus.rollout.policy import Policy, Rule
from serinus.simulation.cells import Cell, Looks, Metric
from serinus.simulation.engine import Code, Judged, judge
from serinus.simulation.rivals import RIVALS, counting
from serinus.simulation.streams import draw, draw_lots

SERINUS = "Serinus"
REQUESTS_PER_SECOND = 10
CHUNK = 1000
"""Rollouts that are simulated at once; more take more memory and are no faster."""

Progress = Callable[[float, float, str], None]
"""(done, total, words); it may raise to cancel."""


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """How one rule did in one cell."""

    rolled_back: float
    """Share of the rollouts, as the next two."""
    rolled_back_for_errors: float
    promoted: float
    undecided: float
    mean: float | None
    """Canary requests until the rollback (until the promotion, where that is asked for), after the change
    where there is one; None when there was none."""
    median: float | None
    p95: float | None
    most: int | None

    def of(self, metric: Metric) -> float | None:
        return {
            Metric.ROLLED_BACK: self.rolled_back,
            Metric.FOR_ERRORS: self.rolled_back_for_errors,
            Metric.PROMOTED: self.promoted,
            Metric.MEAN: self.mean,
            Metric.MEDIAN: self.median,
            Metric.P95: self.p95,
            Metric.MOST: self.most,
        }[metric]


class Goal(msgspec.Struct, frozen=True, kw_only=True):
    """A goal and what was measured."""

    metric: Metric
    at_most: float
    measured: float | None
    met: bool


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One cell."""

    name: str
    words: str
    looks: Looks
    """When a promotion is possible."""
    requests: int
    """Of each stream, both arms."""
    wald: float | None
    """Wald's bound: no test with this alpha finds this error rate with fewer canary requests on average."""
    rules: dict[str, Figures]
    """Serinus first, then its rivals, on the same streams."""
    goals: tuple[Goal, ...]


def documented(policy: Policy) -> bool:
    """Whether the goals are set for this policy."""
    usual = Policy()
    names = ("share", "steps", "rule", "window_seconds", "max_error_rate", "judge_latency")
    return all(getattr(policy, name) == getattr(usual, name) for name in names)


def simulate(
    policy: Policy, cells: Sequence[Cell], *, rollouts: int, seed: int, progress: Progress
) -> list[Result]:
    """Every cell with so many rollouts. The same seed gives the same figures, whichever cells are asked for.

    `progress` may raise to cancel.
    """
    window = _window(policy)
    total = sum(rollouts * cell.windows * window for cell in cells)
    done = 0
    results = []
    for cell in cells:
        progress(done, total, cell.scenario.name)
        requests = cell.windows * window
        parts = []
        for first in range(0, rollouts, CHUNK):
            size = min(CHUNK, rollouts - first)
            tick = partial(progress, done, total, cell.scenario.name)
            parts.append(_chunk(policy, cell, size, seed=(seed, first), tick=tick))
            done += size * requests
            progress(done, total, cell.scenario.name)
        results.append(_result(policy, cell, requests, parts))
    return results


def _window(policy: Policy) -> int:
    """In requests."""
    return max(1, round(policy.window_seconds * REQUESTS_PER_SECOND))


def _chunk(
    policy: Policy, cell: Cell, rollouts: int, *, seed: tuple[int, int], tick: Callable[[], None]
) -> dict[str, Judged]:
    window = _window(policy)
    name = int.from_bytes(cell.scenario.name.encode(), "big")
    rng = np.random.default_rng([*seed, name])
    params = Params(
        max_error_rate=policy.max_error_rate,
        judge_latency=policy.judge_latency,
        latency_floor_seconds=policy.latency_floor_seconds,
        tolerated=Tolerated(invalid=policy.max_invalid_rate, empty=policy.max_empty_rate),
    )
    looks = {Looks.WINDOW: window, Looks.NEVER: None, Looks.ALWAYS: 1}[cell.looks]
    requests = cell.windows * window
    if policy.steps:
        lots = draw_lots(cell.scenario, rollouts, requests, policy.steps, rng)
        return {SERINUS: judge(lots, params, window=looks, tick=tick)}  # the rivals know one share
    streams = draw(cell.scenario, rollouts, requests, policy.share, rng)
    if policy.rule is Rule.COUNTING:
        judged = {SERINUS: counting(streams, policy.max_error_rate, window, policy.min_requests)}
    else:
        judged = {SERINUS: judge(streams, params, window=looks, tick=tick)}
    for rival, rule in RIVALS.items():
        judged[rival] = rule(streams, policy.max_error_rate, window)
    return judged


def _result(policy: Policy, cell: Cell, requests: int, parts: list[dict[str, Judged]]) -> Result:
    rules = {name: _figures(cell, [part[name] for part in parts]) for name in parts[0]}
    mine = rules[SERINUS]
    goals = tuple(
        Goal(metric=metric, at_most=most, measured=mine.of(metric), met=_met(mine.of(metric), most))
        for metric, most in (cell.goals if documented(policy) else ())
    )
    scenario = cell.scenario
    rate = scenario.canary if scenario.after is None else scenario.canary_then
    return Result(
        name=scenario.name,
        words=scenario.words,
        looks=cell.looks,
        requests=requests,
        wald=wald_bound(rate, policy.max_error_rate),
        rules=rules,
        goals=goals,
    )


def _met(measured: float | None, most: float) -> bool:
    return measured is not None and measured <= most


def _figures(cell: Cell, judged: list[Judged]) -> Figures:
    code, canary = (np.concatenate([getattr(one, name) for one in judged]) for name in ("code", "canary"))
    latency = np.concatenate([one.latency for one in judged])
    rolled_back = code == Code.ROLLED_BACK
    asked = code == Code.PROMOTED if cell.looks is Looks.ALWAYS else rolled_back
    changed = cell.scenario.after if cell.scenario.current_then is None else None
    delays = canary[asked] - (changed or 0)
    delays = delays[delays > 0]
    return Figures(
        rolled_back=float(rolled_back.mean()),
        rolled_back_for_errors=float((rolled_back & ~latency).mean()),
        promoted=float((code == Code.PROMOTED).mean()),
        undecided=float((code == Code.UNDECIDED).mean()),
        mean=float(delays.mean()) if len(delays) else None,
        median=float(np.median(delays)) if len(delays) else None,
        p95=float(np.quantile(delays, 0.95)) if len(delays) else None,
        most=int(delays.max()) if len(delays) else None,
    )


def wald_bound(rate: float, p0: float) -> float | None:
    """Fewest canary requests, on average, that refute "at most p0" at 1/200 when the error rate is `rate`.

    log(200) / KL(rate, p0) (Wald, *Sequential Analysis*, 1947); None where nothing is to be refuted.
    """
    if rate <= p0:
        return None
    good = (1.0 - rate) * math.log((1.0 - rate) / (1.0 - p0)) if rate < 1.0 else 0.0
    return math.log(LIMIT) / (rate * math.log(rate / p0) + good)
