"""Replays a stream of single requests: what would have been decided, where, and why."""

from collections.abc import Iterable, Iterator
from enum import StrEnum

import msgspec

from serinus.core.enums import Arm, FailureKind, ReasonCode, Stratum
from serinus.evidence.analysis import Params, begin, judge, observe, reset_epoch
from serinus.evidence.counts import Cell, Share, Slice, latency_bin, merge
from serinus.evidence.outage import is_over


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One request, in the order of arrival."""

    t: float
    """Seconds; serves only to slice."""
    arm: Arm
    ok: bool
    latency: float
    """Seconds."""
    p: Share
    """Canary probability in force."""
    stratum: Stratum = Stratum.USERS


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


def replay(rows: Iterable[Row], params: Params, slice_seconds: float | None = None) -> Outcome:
    """Decides as a rollout would whose window ends with the stream.

    `slice_seconds`: None judges after every request, else after every slice of that length.
    """
    analysis = begin(params)
    position = 0
    since_outage: list[Slice] = []
    for slice_, requests in _slices(rows, slice_seconds):
        position += requests
        analysis = observe(analysis, slice_, params)
        verdict = judge(analysis, params)
        if verdict.blame:
            return Outcome(decision=ReplayDecision.ROLLBACK, position=position, why=verdict.blame)
        if verdict.shared_failure or since_outage:
            since_outage.append(slice_)
        if since_outage and is_over(reversed(since_outage), params.max_error_rate):
            analysis, since_outage = reset_epoch(analysis, params), []
    good = judge(analysis, params).good
    return Outcome(decision=ReplayDecision.PROMOTE if good else ReplayDecision.EXTEND)


def slice_of(row: Row) -> Slice:
    """The slice that holds this one request."""
    outcome = {"ok": {latency_bin(row.latency): 1}} if row.ok else {"failed": {FailureKind.EXCEPTION: 1}}
    return (Cell(arm=row.arm, stratum=row.stratum, share=row.p, **outcome),)


def _slices(rows: Iterable[Row], seconds: float | None) -> Iterator[tuple[Slice, int]]:
    """Slices with the number of their requests. A clock that jumps starts a new slice, whatever way it
    jumps."""
    if seconds is None:
        yield from ((slice_of(row), 1) for row in rows)
        return
    waiting: list[Slice] = []
    open_ = 0.0
    for row in rows:
        number = row.t // seconds
        if waiting and number != open_:
            yield merge(waiting), len(waiting)
            waiting = []
        open_ = number
        waiting.append(slice_of(row))
    if waiting:
        yield merge(waiting), len(waiting)
