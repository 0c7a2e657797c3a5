"""What one stratum's answers say, its model signals: evidence to blame the canary, or to hold it.

**Blame** (roll back). An answer that nobody may see (NaN, a box outside the picture) is one failure among
others for `errors`, and besides an accusation of its own: a healthy network never gives one, so its rate has
a p0 of its own, far below that of all failures. So has an empty answer to a golden pair that shows
buildings, which only probes know. Each accusation is the blame test of `errors` with another outcome:
E_abs at its own p0, and E_rel beside it, so that no canary is blamed for pictures that break both versions.

**Hold.** Shifts between the arms (see `signals`). Only what was answered has a category, so where one arm
fails often its answered requests are fewer for a reason that is not their content. While the newest requests
of an arm fail more often than p0 nothing is bet: a failing current must not bar its own repair.

**Drift** of both arms, users only: the golden pairs of probes do not drift.

`families` weighs both strata together.
"""

from collections.abc import Sequence
from typing import Annotated, TypeAlias

import msgspec

from serinus.core.enums import Arm, FailureKind, Signal
from serinus.evidence import errors, signals
from serinus.evidence.counts import Categories as Counted
from serinus.evidence.counts import Cell, added
from serinus.evidence.errors import ErrorEvidence
from serinus.evidence.signals import Categories, Drift, Shift

SHIFTING = (Signal.DETECTIONS, Signal.DOMINANT_CLASS)
"""Signals in which the arms are compared with each other and with the past."""
FOUND, EMPTY = "found", "empty"
"""Categories of `Signal.GOLDEN`."""

Cells: TypeAlias = Sequence[Cell]
Rate = Annotated[float, msgspec.Meta(gt=0.0, lt=1.0)]


class Tolerated(msgspec.Struct, frozen=True, kw_only=True):
    """p0 of each accusation."""

    invalid: Rate = 0.01
    """Of a version's answers those that nobody may see."""
    empty: Rate = 0.2
    """Of its answers to golden pairs with buildings those that find none."""


class Drifts(msgspec.Struct, frozen=True):
    """Drift of one signal in both arms."""

    canary: Drift
    current: Drift


class AnswerEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """What one stratum knows of the answers."""

    invalid: ErrorEvidence = errors.start()
    empty: ErrorEvidence = errors.start()
    shifts: dict[Signal, Shift] = msgspec.field(default_factory=lambda: dict.fromkeys(SHIFTING, Shift()))
    drifts: dict[Signal, Drifts] = {}
    """Empty where no past is known."""


def start(past: Counted) -> AnswerEvidence:
    """`past`: what current answered before the rollout; empty where that is not known."""
    begun = {signal: signals.begin_drift(past[signal]) for signal in SHIFTING if past.get(signal)}
    return AnswerEvidence(drifts={signal: Drifts(one, one) for signal, one in begun.items()})


def restart(evidence: AnswerEvidence) -> AnswerEvidence:
    """Fresh wealths beside the same past."""
    fresh = {signal: signals.restart_drift(one.canary) for signal, one in evidence.drifts.items()}
    return AnswerEvidence(drifts={signal: Drifts(one, one) for signal, one in fresh.items()})


def restart_shifts(evidence: AnswerEvidence) -> AnswerEvidence:
    """Fresh comparisons of the arms; accusations and drift stay."""
    return msgspec.structs.replace(evidence, shifts=AnswerEvidence().shifts)


def observe(evidence: AnswerEvidence, cells: Cells, tolerated: Tolerated, *, compare: bool) -> AnswerEvidence:
    """The evidence after one slice. `compare`: neither arm's newest requests failed too often before it."""
    invalid = [_with(cell, _invalid(cell), cell.successes + cell.failures) for cell in cells]
    golden = [(cell, cell.signals.get(Signal.GOLDEN, {})) for cell in cells]
    empty = [_with(cell, counts.get(EMPTY, 0), sum(counts.values())) for cell, counts in golden]
    return AnswerEvidence(
        invalid=errors.observe(evidence.invalid, invalid, tolerated.invalid),
        empty=errors.observe(evidence.empty, empty, tolerated.empty),
        shifts={
            signal: signals.observe_shift(one, _categories(cells, signal), bet=compare)
            for signal, one in evidence.shifts.items()
        },
        drifts={signal: _drifted(one, cells, signal) for signal, one in evidence.drifts.items()},
    )


def _invalid(cell: Cell) -> int:
    return cell.failed.get(FailureKind.INVALID_OUTPUT, 0)


def _with(cell: Cell, bad: int, of: int) -> Cell:
    """The cell as `errors` counts it, with another outcome in the place of failures."""
    return Cell(
        arm=cell.arm,
        stratum=cell.stratum,
        share=cell.share,
        ok={0: of - bad},
        failed={FailureKind.INVALID_OUTPUT: bad},
    )


def _categories(cells: Cells, signal: Signal) -> list[Categories]:
    return [
        Categories(arm=cell.arm, share=cell.share, counts=cell.signals[signal])
        for cell in cells
        if signal in cell.signals
    ]


def _drifted(drifts: Drifts, cells: Cells, signal: Signal) -> Drifts:
    canary, current = (
        added(cell.signals for cell in cells if cell.arm is arm).get(signal, {})
        for arm in (Arm.CANARY, Arm.CURRENT)
    )
    return Drifts(
        signals.observe_drift(drifts.canary, canary), signals.observe_drift(drifts.current, current)
    )


def e_blame(evidence: ErrorEvidence, *, control: bool) -> float:
    """The e-value of an accusation; without a control arm E_abs alone."""
    return min(evidence.e_abs, evidence.e_rel) if control else evidence.e_abs
