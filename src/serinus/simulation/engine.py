"""The rule of `evidence` for many rollouts at once, request by request.

What `evidence.replay.Course` does with slices of one request, this does with arrays: one Python step for the
t-th request of all rollouts. It decides as the scalar rule does, at the same positions (tests hold it to
that); it knows one stratum, users, and nothing is in flight.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from serinus.core.enums import Arm
from serinus.evidence import assignment, errors, latency, promotion
from serinus.evidence.analysis import Params
from serinus.evidence.counts import latency_bin
from serinus.evidence.outage import OVER_AFTER
from serinus.evidence.promotion import RECENT_AT_LEAST, RECENT_PART
from serinus.evidence.verdict import ALARM
from serinus.evidence.wealth import CAP
from serinus.simulation.latencies import Comparison
from serinus.simulation.streams import Bools, Floats, Ints, Source
from serinus.simulation.wealths import Wealths


class Code(IntEnum):
    """How a rollout ended."""

    UNDECIDED = 0
    ROLLED_BACK = 1
    PROMOTED = 2


@dataclass
class Judged:
    """The ends of all rollouts."""

    code: NDArray[np.int8]
    position: Ints
    """Requests until the decision; all of them where there was none."""
    canary: Ints
    """Canary requests among them."""
    latency: Bools
    """Rolled back for latency."""

    @classmethod
    def undecided(cls, streams: Source) -> "Judged":
        """`canary` is still to be told."""
        rollouts = len(streams)
        return cls(
            np.zeros(rollouts, np.int8),
            np.full(rollouts, streams.requests),
            np.zeros(rollouts, np.int64),
            np.zeros(rollouts, np.bool_),
        )


def judge(
    streams: Source, params: Params, *, window: int | None, tick: Callable[[], None] = lambda: None
) -> Judged:
    """Judges every rollout until its end or the end of its stream; steps are gone through as they are proved.

    `window`: requests, counted while it is not held, after which it may be promoted; None: never. `tick` is
    called now and then, and may raise to cancel.
    """
    judged = Judged.undecided(streams)
    alive = np.arange(len(streams))
    rollouts = _Rollouts(streams, params)
    for t in range(streams.requests):
        if t % 100 == 0:
            tick()
        blamed, for_latency = rollouts.step(t)
        done = blamed
        if window is not None:
            good = rollouts.good(window) & ~blamed
            judged.code[alive[good]] = Code.PROMOTED
            done = blamed | good
        rollouts.advance()
        if not done.any():
            continue
        judged.code[alive[blamed]] = Code.ROLLED_BACK
        judged.latency[alive[blamed]] = for_latency[blamed]
        judged.position[alive[done]] = t + 1
        judged.canary[alive[done]] = rollouts.canary.seen[done]
        alive = alive[~done]
        rollouts.only(~done)
        if not len(alive):
            break
    judged.canary[alive] = rollouts.canary.seen
    return judged


class _Arm:
    """The observations of one arm, by their number."""

    def __init__(self, rollouts: int, most: int) -> None:
        self.seen = np.zeros(rollouts, np.int64)
        self.failures = np.zeros(rollouts, np.int64)
        self.start = np.zeros(rollouts, np.int64)
        """Observations before the epoch."""
        self._failed = np.zeros((rollouts, most + 1), np.int32)
        """[n]: failures among the first n."""
        self._at = np.zeros((rollouts, most + 1), np.int32)
        """[n]: t of the n-th."""

    def add(self, which: Bools, failed: Bools, t: int) -> None:
        self.seen += which
        self.failures += which & failed
        rows = np.flatnonzero(which)
        self._failed[rows, self.seen[rows]] = self.failures[rows]
        self._at[rows, self.seen[rows]] = t

    def failures_before(self, n: Ints) -> Ints:
        found: Ints = self._failed[np.arange(len(n)), n].astype(np.int64)
        return found

    def newest(self, n: Ints) -> tuple[Ints, Ints]:
        """How many of the newest n of the epoch there are, and how many of them failed."""
        n = np.minimum(n, self.seen - self.start)
        return n, self.failures - self.failures_before(self.seen - n)

    def at(self, n: Ints) -> Ints:
        """t of the n-th observation."""
        found: Ints = self._at[np.arange(len(n)), np.maximum(n, 0)].astype(np.int64)
        return found

    def only(self, keep: Bools) -> None:
        self.seen, self.failures, self.start = self.seen[keep], self.failures[keep], self.start[keep]
        self._failed, self._at = self._failed[keep], self._at[keep]


class _Rollouts:
    """The evidence of all rollouts that go on."""

    def __init__(self, streams: Source, params: Params) -> None:
        rollouts, most = len(streams), streams.requests
        streams = streams.floored(latency_bin(params.latency_floor_seconds))
        self._streams = streams
        self._p0 = params.max_error_rate
        self._scale = params.threshold_scale
        self._control = max(streams.shares) < 1.0
        self._last = len(streams.shares) - 1
        self._step = np.zeros(rollouts, np.int64)
        self._step_began = np.zeros(rollouts, np.int64)
        """Requests of the canary before the step."""
        self._absolute = Wealths(errors.ABS, rollouts, most)
        self._relative = Wealths(errors.REL, rollouts, most)
        self._split = Wealths(assignment.SPLIT, rollouts, most)
        self._slower = self._proved = None
        if params.judge_latency:
            self._slower, self._proved = (
                Comparison(
                    blame=blame, rollouts=rollouts, most=most, bins=streams.span(), shares=streams.shares
                )
                for blame in (True, False)
            )
        self.canary, self.current = _Arm(rollouts, most), _Arm(rollouts, most)
        self._restarts = np.zeros(rollouts)
        self._clock = np.zeros(rollouts, np.int64)
        self._held = np.zeros(rollouts, np.bool_)
        self._held_at = np.zeros(rollouts, np.int64)
        self._factors = _Factors(self._p0, streams.shares)

    def step(self, t: int) -> tuple[Bools, Bools]:
        """One request of each: who is blamed now, and who for latency."""
        canary, failed, bins = self._streams.at(t, self._step, self.canary.seen)
        self.canary.add(canary, failed, t)
        self.current.add(~canary, failed, t)
        outcome = 2 * canary + failed
        self._absolute.step(self._factors.absolute[:, outcome], canary)
        if self._control:
            everyone = np.ones(len(canary), np.bool_)
            self._relative.step(self._factors.relative[self._step, :, outcome].T, everyone)
            self._split.step(self._factors.split[self._step, :, canary.astype(np.intp)].T, everyone)
        for test in (self._slower, self._proved):
            if test is not None:
                test.step(canary, failed, bins, self._step)
        self._e_abs = self._absolute.values
        self._relative.restart(self._e_abs <= errors.LOOKS_FINE)
        return self._judge(t)

    def _judge(self, t: int) -> tuple[Bools, Bools]:
        limit = errors.LIMIT * 2.0**self._restarts * self._scale
        guilty = self._e_abs >= limit
        by_errors = guilty & (self._relative.values >= limit) if self._control else guilty
        self._mismatch = self._split.values >= assignment.LIMIT
        blamed, for_latency = by_errors, np.zeros(len(by_errors), np.bool_)
        if self._slower is not None:
            self._e_slower = self._slower.wealths.values
            slow = self._e_slower >= latency.LIMIT * 2.0**self._restarts * self._scale
            for_latency = slow & ~self._mismatch & ~by_errors
            blamed = by_errors | for_latency
        self._hold(t, guilty & ~by_errors)
        return blamed, for_latency

    def _hold(self, t: int, suspicious: Bools) -> None:
        """Holds what fails in both arms; restarts the evidence where that is over."""
        was_held = self._held.copy()
        self._clock += ~was_held
        if suspicious.any():
            newest, failures = self.current.newest(np.full(len(suspicious), OVER_AFTER))
            shared = suspicious & (failures > newest * self._p0) & ~was_held
            self._held |= shared
            self._held_at[shared] = t
        if was_held.any():
            self._restart(was_held & self._over())

    def _over(self) -> Bools:
        """Whether the newest 50 requests of each arm since the hold are well."""
        of_canary, of_current = self.canary.seen - OVER_AFTER, self.current.seen - OVER_AFTER
        at_canary, at_current = self.canary.at(of_canary + 1), self.current.at(of_current + 1)
        enough = (of_canary >= 0) & (of_current >= 0) & (np.minimum(at_canary, at_current) > self._held_at)
        canary_first = at_canary <= at_current
        before_canary = np.where(canary_first, of_canary, at_current - of_current)
        before_current = np.where(canary_first, at_canary - of_canary, of_current)
        well = enough
        for arm, older in ((self.canary, before_canary), (self.current, before_current)):
            before = np.clip(older, 0, arm.seen)
            failures = arm.failures - arm.failures_before(before)
            well = well & (failures <= (arm.seen - before) * self._p0 / 2)
        return well

    def _restart(self, which: Bools) -> None:
        """A fresh epoch with limits doubled; the evidence about the split stays."""
        if not which.any():
            return
        for wealths in (self._absolute, self._relative):
            wealths.restart(which)
        for test in (self._slower, self._proved):
            if test is not None:
                test.restart(which)
        for arm in (self.canary, self.current):
            arm.start[which] = arm.seen[which]
        self._restarts[which] += 1
        self._held[which] = False

    def good(self, window: int) -> Bools:
        """Whose window is over and may be promoted now."""
        may: Bools = (self._clock >= window) & ~self._held & (self._step == self._last)
        if not may.any():
            return may
        doubled = 2.0**self._restarts
        may &= self._unopposed()
        if self._last:
            may &= self._step_proved()
        if self._slower is not None and self._proved is not None:
            requests, failures = self.current.newest(np.full(len(may), 1 << 60))
            incomparable = requests - failures < latency.ENOUGH_CURRENT
            if self._control:
                may &= incomparable | (self._proved.wealths.values >= latency.PROVED * doubled)
        if may.any():
            requests, failures = self.canary.newest(np.full(len(may), 1 << 60))
            may &= e_good(requests, failures, self._p0) >= promotion.LIMIT * doubled
            recent = np.maximum(RECENT_AT_LEAST, -(-requests // RECENT_PART))
            may &= e_good(*self.canary.newest(recent), self._p0) >= promotion.LIMIT * doubled
        return may

    def advance(self) -> None:
        """To the next step, where this one is proved."""
        if not self._last:
            return
        may = (self._step < self._last) & ~self._held
        if may.any():
            may &= self._unopposed() & self._step_proved()
            self._step += may
            self._step_began[may] = self.canary.seen[may]

    def _unopposed(self) -> Bools:
        """Nothing speaks against the canary, though not enough to blame it."""
        fine: Bools = ~self._mismatch & (self._absolute.values < ALARM)
        if self._slower is not None:
            fine &= self._slower.wealths.values < ALARM
        return fine

    def _step_proved(self) -> Bools:
        """`evidence.steps.proof` of every rollout."""
        before = np.maximum(self._step_began, self.canary.start)
        failures = self.canary.failures - self.canary.failures_before(before)
        proved: Bools = (
            e_good(self.canary.seen - before, failures, self._p0) >= promotion.LIMIT * 2.0**self._restarts
        )
        return proved

    def only(self, keep: Bools) -> None:
        """Forgets all other rollouts."""
        for wealths in (self._absolute, self._relative, self._split):
            wealths.only(keep)
        for test in (self._slower, self._proved):
            if test is not None:
                test.only(keep)
        self.canary.only(keep)
        self.current.only(keep)
        self._streams = self._streams.only(keep)
        self._restarts, self._clock = self._restarts[keep], self._clock[keep]
        self._held, self._held_at = self._held[keep], self._held_at[keep]
        self._step, self._step_began = self._step[keep], self._step_began[keep]


class _Factors:
    """Per bet (rows) the factor of each outcome."""

    def __init__(self, p0: float, shares: tuple[float, ...]) -> None:
        absolute = np.exp(np.array(errors.absolute_logs(p0)))
        fair = np.ones(len(absolute))
        self.absolute = np.stack([fair, fair, absolute[:, 1], absolute[:, 0]], axis=1)
        """[bet, 2 * is canary + failed]"""
        self.relative = np.stack([_relative(p0, share) for share in shares])
        """[step, bet, 2 * is canary + failed]"""
        self.split = np.stack([_split(share) for share in shares])
        """[step, bet, is canary]"""


def _relative(p0: float, share: float) -> Floats:
    logs = {arm: np.exp(np.array(errors.relative_logs(p0, share, arm))) for arm in Arm}
    return np.stack(
        [logs[arm][:, outcome] for arm in (Arm.CURRENT, Arm.CANARY) for outcome in (1, 0)], axis=1
    )


def _split(share: float) -> Floats:
    odds = np.array(assignment.ODDS)
    mean = share * odds + 1.0 - share
    factors: Floats = np.stack([np.ones(len(odds)), odds], axis=1) / np.where(mean, mean, 1.0)[:, None]
    return factors


def e_good(requests: Ints, failures: Ints, p0: float) -> Floats:
    """`evidence.promotion.e_good` of every rollout."""
    logs = np.array([errors.likelihood_ratio_logs(theta, p0) for theta in promotion.THETAS])
    each = np.log(promotion.WEIGHTS)[:, None] + logs[:, :1] * failures + logs[:, 1:] * (requests - failures)
    top = each.max(axis=0)
    total: Floats = top + np.log(np.exp(each - top).sum(axis=0))
    return np.exp(np.minimum(total, np.log(CAP)))
