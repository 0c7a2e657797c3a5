"""Replays a stream of single requests: what would have been decided, where, and why.

The end of the stream is the end of the window. The stream is read once and nothing is kept of it.
"""

from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Annotated

import msgspec

from serinus.core.enums import Arm, FailureKind, ReasonCode, Signal, Stratum
from serinus.evidence.analysis import Analysis, Params, begin, judge, observe, reset_epoch
from serinus.evidence.counts import Cell, Share, Slice, latency_bin, merge
from serinus.evidence.outage import Aftermath
from serinus.evidence.units import Units, number_of
from serinus.evidence.verdict import Verdict


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One request, in the order of arrival."""

    t: float
    """Seconds; serves only to slice."""
    arm: Arm
    ok: bool
    latency: Annotated[float, msgspec.Meta(ge=0.0)]
    """Seconds."""
    p: Share
    """Canary probability in force."""
    stratum: Stratum = Stratum.USERS
    unit: str | None = None
    """The pinned user, with sticky routing: he counts once for each toss (see `units`)."""
    failure: FailureKind = FailureKind.EXCEPTION
    """How it failed, unless it is ok."""
    signals: dict[Signal, str] = {}
    """What the answer was like: its category of each signal."""


class ReplayDecision(StrEnum):
    ROLLBACK = "rollback"
    PROMOTE = "promote"
    EXTEND = "extend"


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided."""

    decision: ReplayDecision
    position: int | None = None
    """How many requests had arrived at the rollback (the last one of its slice)."""
    why: ReasonCode | None = None
    """What the rollback blames."""
    verdict: Verdict
    """What the evidence said then."""


class Course:
    """A rollout on its way: slices are added until one of them blames the canary.

    A failure of both versions holds it; when it is over the evidence starts afresh. `clock` counts the slices
    that were added while it was not held, as the window's clock counts seconds.
    """

    def __init__(self, params: Params) -> None:
        self.params = params
        self.analysis: Analysis = begin(params)
        self.verdict: Verdict = judge(self.analysis, params)
        self.clock = 0
        self._held: Aftermath | None = None

    @property
    def good(self) -> bool:
        """Whether the canary could be promoted now, if the window were over."""
        return self._held is None and self.verdict.good

    def add(self, slice_: Slice) -> ReasonCode | None:
        """What the canary is blamed for after this slice."""
        self.analysis = observe(self.analysis, slice_, self.params)
        self.verdict = judge(self.analysis, self.params)
        if self.verdict.blame:
            return self.verdict.blame
        if self._held is None:
            self.clock += 1
            if self.verdict.shared_failure:
                self._held = Aftermath()
            return None
        self._held.add(slice_)
        if self._held.over(self.params.max_error_rate):
            self._held = None
            self.analysis = reset_epoch(self.analysis, self.params)
            self.verdict = judge(self.analysis, self.params)
        return None


def replay(rows: Iterable[Row], params: Params, slice_seconds: float | None = None) -> Outcome:
    """Decides as a rollout would whose window ends with the stream.

    `slice_seconds`: None judges after every request, else after every slice of that length.
    """
    course = Course(params)
    position = 0
    for slice_, requests in slices(rows, slice_seconds):
        position += requests
        if blame := course.add(slice_):
            return Outcome(
                decision=ReplayDecision.ROLLBACK, position=position, why=blame, verdict=course.verdict
            )
    decision = ReplayDecision.PROMOTE if course.good else ReplayDecision.EXTEND
    return Outcome(decision=decision, verdict=course.verdict)


def slice_of(row: Row) -> Slice:
    """The slice that holds this one request."""
    if not row.ok:
        return (Cell(arm=row.arm, stratum=row.stratum, share=row.p, failed={row.failure: 1}),)
    signals = {signal: {category: 1} for signal, category in row.signals.items()}
    ok = {latency_bin(row.latency): 1}
    return (Cell(arm=row.arm, stratum=row.stratum, share=row.p, ok=ok, signals=signals),)


def slices(rows: Iterable[Row], seconds: float | None) -> Iterator[tuple[Slice, int]]:
    """Slices with the number of their requests; `seconds`: see `replay`.

    A clock that jumps starts a new slice, whatever way it jumps.
    """
    units = Units()
    if seconds is None:
        yield from ((_observed(row, units), 1) for row in rows)
        return
    waiting: list[Slice] = []
    requests, open_ = 0, 0.0
    for row in rows:
        number = row.t // seconds
        if requests and number != open_:
            yield merge(waiting), requests
            waiting, requests = [], 0
        open_, requests = number, requests + 1
        waiting.append(_observed(row, units))
        if len(waiting) == _MERGE_EVERY:
            waiting = [merge(waiting)]
    if requests:
        yield merge(waiting), requests


def _observed(row: Row, units: Units) -> Slice:
    if row.unit is None:
        return slice_of(row)
    share = units.toss(number_of(row.unit), row.arm, row.p)
    return () if share is None else slice_of(msgspec.structs.replace(row, p=share))


_MERGE_EVERY = 1000
"""Requests of an open slice that are kept one by one: memory is bounded however long a slice is."""
