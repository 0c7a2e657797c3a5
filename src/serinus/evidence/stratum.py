"""The evidence of one stratum, users or probes. Strata are never pooled: each has its own wealths.

When the share becomes 1 there is no control arm any more (and when it leaves 1 there is one again). What was
gathered under the one design says nothing under the other, so the stratum starts afresh, with limits doubled.
"""

from collections.abc import Sequence
from typing import TypeAlias

import msgspec

from serinus.core.enums import Arm
from serinus.evidence import answers, assignment, errors, latency, outage, promotion
from serinus.evidence.answers import AnswerEvidence, Tolerated
from serinus.evidence.counts import Bin, Categories, Cell
from serinus.evidence.errors import ErrorEvidence
from serinus.evidence.latency import LatencyEvidence
from serinus.evidence.promotion import Recent, Tally
from serinus.evidence.wealth import Wealth

Cells: TypeAlias = Sequence[Cell]


class StratumEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of one stratum since its evidence last started afresh."""

    errors: ErrorEvidence
    split: Wealth
    latency: LatencyEvidence | None
    """None where the policy does not judge latency."""
    control: bool = True
    """Whether the traffic is split between the arms (the share is below 1)."""
    restarts: int = 0
    """How often the evidence started afresh; each doubles the limits."""
    canary: Tally = Tally()
    current: Tally = Tally()
    recent: Recent = Recent()
    """Canary; what the promotion test looks at a second time."""
    newest_current: Recent = Recent()
    """Current; what tells a shared failure from the canary's own."""
    answers: AnswerEvidence = AnswerEvidence()


def start(*, judge_latency: bool, past: Categories | None = None) -> StratumEvidence:
    """`past`: what current answered before the rollout."""
    return StratumEvidence(
        answers=answers.start(past or {}),
        errors=errors.start(),
        split=assignment.start(),
        latency=latency.start() if judge_latency else None,
    )


def restart(evidence: StratumEvidence, *, judge_latency: bool) -> StratumEvidence:
    """Fresh wealths with limits doubled. The split's evidence stays: its null does not depend on failures."""
    fresh = start(judge_latency=judge_latency)
    return msgspec.structs.replace(
        fresh,
        split=evidence.split,
        control=evidence.control,
        restarts=evidence.restarts + 1,
        answers=answers.restart(evidence.answers),
    )


def restart_split(evidence: StratumEvidence) -> StratumEvidence:
    """Fresh evidence about the split, and about what compares the arms through it: latency and shifts.

    What counts the canary's own failures stays: no split makes it wrong.
    """
    speed = latency.start() if evidence.latency else None
    compared = answers.restart_shifts(evidence.answers)
    return msgspec.structs.replace(evidence, split=assignment.start(), latency=speed, answers=compared)


def observe(
    evidence: StratumEvidence, cells: Cells, p0: float, tolerated: Tolerated, floor: Bin = 0
) -> StratumEvidence:
    """The evidence after one slice. `cells` are of this stratum; `floor`: see `latency.observe`.

    Where nobody tossed a coin nothing is learned: cells at share 0, and current's at share 1, are left out.
    In a slice during which the share became 1 (or left it) the design known so far goes first.
    """
    split = [cell for cell in cells if 0.0 < cell.share < 1.0]
    alone = [cell for cell in cells if cell.share == 1.0 and cell.arm is Arm.CANARY]
    designs = ((split, True), (alone, False))
    for part, control in designs if evidence.control else reversed(designs):
        if part:
            evidence = _observe(_under(evidence, control), part, p0, tolerated, floor)
    return evidence


def _under(evidence: StratumEvidence, control: bool) -> StratumEvidence:
    if evidence.control is control:
        return evidence
    if evidence.canary.requests + evidence.current.requests:
        evidence = restart(evidence, judge_latency=evidence.latency is not None)
    return msgspec.structs.replace(evidence, control=control)


def _observe(
    evidence: StratumEvidence, cells: Cells, p0: float, tolerated: Tolerated, floor: Bin
) -> StratumEvidence:
    canary, current = tallies(cells)
    canary_so_far = evidence.canary + canary
    failing = outage.fails(evidence.recent, p0) or outage.fails(evidence.newest_current, p0)
    return StratumEvidence(
        errors=errors.observe(evidence.errors, cells, p0),
        split=assignment.observe(evidence.split, cells),
        latency=latency.observe(evidence.latency, cells, floor) if evidence.latency else None,
        control=evidence.control,
        restarts=evidence.restarts,
        canary=canary_so_far,
        current=evidence.current + current,
        recent=promotion.remember(evidence.recent, canary, promotion.recent_of(canary_so_far.requests)),
        newest_current=promotion.remember(evidence.newest_current, current, outage.OVER_AFTER),
        answers=answers.observe(evidence.answers, cells, tolerated, compare=not failing),
    )


def tallies(cells: Cells) -> tuple[Tally, Tally]:
    """What the cells of canary and of current add up to."""
    return _tally(cells, Arm.CANARY), _tally(cells, Arm.CURRENT)


def _tally(cells: Cells, arm: Arm) -> Tally:
    mine = [cell for cell in cells if cell.arm is arm]
    failures = sum(cell.failures for cell in mine)
    return Tally(failures + sum(cell.successes for cell in mine), failures)
