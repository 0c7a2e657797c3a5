"""The evidence of a rollout as frozen in the store: whoever judges starts from here and judges the same.

A slice is frozen before it is judged. Of two controllers one wins slice k; the other reads it and goes
on from there, so it does not matter which of them decides. The window's clock is the sum of the slices'
increments, each clamped, so neither a jump of a clock nor an absence of the controller moves it far.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from serinus.core.enums import RolloutPhase
from serinus.core.errors import Conflict
from serinus.core.ids import Clock, Digest
from serinus.evidence import pairs, steps
from serinus.evidence.analysis import (
    Analysis,
    Params,
    begin,
    forget_split,
    judge,
    observe,
    reset_epoch,
    restart_split,
)
from serinus.evidence.answers import Tolerated
from serinus.evidence.counting import judge_by_counting
from serinus.evidence.counts import Slice, merge
from serinus.evidence.pairs import PairCounts, PairEvidence, Tolerance
from serinus.evidence.steps import StepProof
from serinus.evidence.verdict import Verdict
from serinus.rollout.policy import DEFAULT, Policy, Rule
from serinus.rollout.state import Rollout
from serinus.store import FrozenSlice, Store


class Standing(NamedTuple):
    """Where a rollout's evidence stands."""

    last: FrozenSlice | None
    """The newest frozen slice."""
    analysis: Analysis
    """After it, and after a restart of the evidence that followed it."""
    params: Params
    policy: Policy = DEFAULT
    shadow: PairEvidence | None = None
    """What shadow pairs say; None when there were none."""
    window_from: float = 0.0
    """Clock at which the window in force began."""

    @property
    def clock(self) -> float:
        """Seconds of evaluation in all frozen slices."""
        return 0.0 if self.last is None else self.last.clock

    @property
    def window(self) -> float:
        """Seconds of the window in force that are over: its clock."""
        return max(0.0, self.clock - self.window_from)

    @property
    def k(self) -> int:
        """Number of the newest frozen slice; -1 when there is none."""
        return -1 if self.last is None else self.last.k

    @property
    def digest(self) -> str:
        """Of the newest frozen slice, for the event that rests on it; empty when there is none."""
        return "" if self.last is None else self.last.digest

    def verdict(self, in_flight: int | None = None) -> Verdict:
        """`in_flight` None: as many canary requests as when the slice was frozen."""
        noted = 0 if self.last is None else self.last.in_flight
        told = judge(self.analysis, self.params, in_flight=noted if in_flight is None else in_flight)
        if self.policy.rule is Rule.EVIDENCE:
            return told
        return judge_by_counting(self.analysis, self.params.max_error_rate, self.policy.min_requests, told)


def params_of(policy: Policy) -> Params:
    return Params(
        max_error_rate=policy.max_error_rate,
        judge_latency=policy.judge_latency,
        latency_floor_seconds=policy.latency_floor_seconds,
        tolerated=Tolerated(invalid=policy.max_invalid_rate, empty=policy.max_empty_rate),
    )


def begun(rollout: Rollout) -> Analysis:
    """Nothing observed. The past counts requests, so it is none for a policy that counts users."""
    return begin(params_of(rollout.policy), None if rollout.policy.sticky else rollout.past)


def tolerance_of(policy: Policy) -> Tolerance:
    return Tolerance(below=policy.shadow_agreement, rate=policy.max_disagreement)


def with_pairs(before: PairEvidence | None, counts: PairCounts | None, policy: Policy) -> PairEvidence | None:
    """What shadow pairs say after one more slice, by what the policy tolerates; None without any."""
    if before is None and counts is None:
        return None
    return pairs.observe(before, counts or PairCounts(), tolerance_of(policy))


def standing(store: Store, rollout: Rollout) -> Standing:
    """Reads where the evidence of `rollout` stands. Raises Corrupt, naming a damaged file."""
    params = params_of(rollout.policy)
    last = store.last_frozen(rollout.number)
    analysis = going_on(None if last is None else last.analysis, rollout)
    shadow = with_pairs(None if last is None else last.shadow, None, rollout.policy)
    return Standing(last, analysis, params, rollout.policy, shadow, rollout.window_from)


def going_on(analysis: Analysis | None, rollout: Rollout) -> Analysis:
    """The analysis after the newest slice, None where there is none yet, as `rollout` goes on from it.

    A restart of the evidence is an event, not a slice: whoever goes on first after it applies it. However
    many came since the slice, what it observed is dropped once; where nothing was observed, nothing is.
    """
    if analysis is None:
        return _of_epoch(begun(rollout), rollout)
    if analysis.epochs < rollout.epoch:
        analysis = _of_epoch(reset_epoch(analysis, params_of(rollout.policy)), rollout)
    return restart_split(analysis, rollout.split_restarts)


def observed(
    analysis: Analysis, counts: Slice, params: Params, *, clock: float, rollout: Rollout
) -> Analysis:
    """The analysis after one more slice, which ends at `clock`. Right after a hold because of the split was
    resumed its requests may be from before, so they say nothing about the split."""
    after = observe(analysis, counts, params)
    return forget_split(after) if clock < rollout.split_from else after


def _of_epoch(analysis: Analysis, rollout: Rollout) -> Analysis:
    return msgspec.structs.replace(analysis, epochs=rollout.epoch)


def step_proof(store: Store, rollout: Rollout, at: Standing, in_flight: int) -> StepProof | None:
    """What the observations of the step in force prove.

    None where the policy has no steps, or the slice is gone that the step began with. Raises Corrupt, naming
    a damaged file.
    """
    if not rollout.policy.steps:
        return None
    if rollout.step_after < 0:
        return steps.proof(at.analysis, begin(at.params), at.params, in_flight)
    began = store.frozen(rollout.number, rollout.step_after)
    return None if began is None else steps.proof(at.analysis, began.analysis, at.params, in_flight)


class WindowClock:
    """Seconds of evaluation that are not in a frozen slice yet. `clamp`: most seconds that one look adds."""

    def __init__(self, clamp: float) -> None:
        self._clamp = clamp
        self._looked: float | None = None
        self._ran = False
        self._seen: Digest | str = ""
        self.pending = 0.0

    def look(self, now: float, *, running: bool, frozen: Digest | str) -> None:
        """Adds the time since the last look, when the clock ran at both ends of it.

        `now`: monotonic seconds. `frozen`: digest of the newest slice; one that is new here was frozen by
        somebody else, who counted the same seconds.
        """
        if frozen != self._seen:
            self._seen, self.pending = frozen, 0.0
        elif self._looked is not None and running and self._ran:
            self.pending += min(max(0.0, now - self._looked), self._clamp)
        self._looked, self._ran = now, running

    def recorded(self, frozen: Digest | str) -> None:
        """What is pending is in this slice now."""
        self._seen, self.pending = frozen, 0.0


class Ledger:
    """Freezes what is new of one rollout."""

    def __init__(self, store: Store, *, clock: Clock, clamp: float, clock_slice: float) -> None:
        self._store = store
        self._clock = clock
        self._window = WindowClock(clamp)
        self._clock_slice = clock_slice
        self._froze_at: float | None = None

    def turn(
        self,
        rollout: Rollout,
        *,
        now: float,
        running: bool,
        in_flight: int,
        ready: bool = True,
        tripped: bool = False,
    ) -> Standing:
        """Freezes the next slice when there is something to freeze, and gives where the evidence stands then.

        `now`: monotonic seconds; `running`: whether the window's clock runs. What forbids a promotion besides
        the evidence is noted with the slice, so that the rollout can be retraced.
        """
        at = standing(self._store, rollout)
        self._window.look(now, running=running, frozen=at.digest)
        new = self._store.new_observations(rollout.number, {} if at.last is None else at.last.sources)
        counts = merge(slice_ for _, _, slice_ in new)
        shadows = self._new_pairs(rollout, at)
        if not counts and not shadows and not self._worth(rollout, at):
            return at
        if self._can_wait(rollout, counts, now):
            return at
        clock = at.clock + self._window.pending
        paired = pairs.add(one for _, _, one in shadows) if shadows else None
        frozen = FrozenSlice(
            rollout=rollout.number,
            k=at.k + 1,
            sources=_seen({} if at.last is None else at.last.sources, new),
            slice=counts,
            clock_increment=self._window.pending,
            clock=clock,
            time=self._clock(),
            in_flight=in_flight,
            ready=ready,
            tripped=tripped,
            analysis=observed(at.analysis, counts, at.params, clock=clock, rollout=rollout),
            pairs=paired,
            pair_sources=_seen({} if at.last is None else at.last.pair_sources, shadows),
            shadow=with_pairs(at.shadow, paired, rollout.policy),
            prev=at.digest,
        )
        try:
            won = self._store.freeze(frozen)
        except Conflict:
            won = False
        if won:
            self._window.recorded(frozen.digest)
            self._froze_at = now
            return at._replace(last=frozen, analysis=frozen.analysis, shadow=frozen.shadow)
        return standing(self._store, rollout)

    def _new_pairs(self, rollout: Rollout, at: Standing) -> list[tuple[str, int, PairCounts]]:
        """Nobody is asked where the policy wants no shadows and there were none before."""
        seen = {} if at.last is None else at.last.pair_sources
        wanted = rollout.policy.shadow_share > 0 or seen
        return self._store.new_pairs(rollout.number, seen) if wanted else []

    def _can_wait(self, rollout: Rollout, counts: Slice, now: float) -> bool:
        """Whether the counts stay where they are for now: a hold may last for days, a slice is a file.

        Failures never wait, so that a rollback is as fast as ever.
        """
        quiet = rollout.phase in (RolloutPhase.PAUSED, RolloutPhase.HELD)
        recent = self._froze_at is not None and 0.0 <= now - self._froze_at < self._clock_slice
        return quiet and recent and not any(cell.failures for cell in counts)

    def _worth(self, rollout: Rollout, at: Standing) -> bool:
        """Whether the clock alone is worth a slice: now and then, and when it ends the window."""
        window, pending = rollout.policy.window_seconds, self._window.pending
        ends = at.window < window <= at.window + pending
        return pending > 0 and (ends or pending >= self._clock_slice)


def _seen(before: Mapping[str, int], new: Sequence[tuple[str, int, object]]) -> dict[str, int]:
    """The highest number per replica; `new` is in the order of the numbers."""
    return {**before, **{replica: n for replica, n, _ in new}}
