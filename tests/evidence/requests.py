"""Slices made by hand."""

from serinus.core.enums import Arm, FailureKind, Stratum
from serinus.evidence.counts import Cell, Slice, latency_bin

TENTH = latency_bin(0.1)


def cell(
    arm: Arm,
    good: int = 0,
    failed: int = 0,
    *,
    share: float = 0.5,
    stratum: Stratum = Stratum.USERS,
    bin_: int = TENTH,
) -> Cell:
    return Cell(
        arm=arm,
        stratum=stratum,
        share=share,
        ok={bin_: good} if good else {},
        failed={FailureKind.EXCEPTION: failed} if failed else {},
    )


def canary(good: int = 0, failed: int = 0, *, share: float = 0.5, stratum: Stratum = Stratum.USERS) -> Cell:
    return cell(Arm.CANARY, good, failed, share=share, stratum=stratum)


def current(good: int = 0, failed: int = 0, *, share: float = 0.5, stratum: Stratum = Stratum.USERS) -> Cell:
    return cell(Arm.CURRENT, good, failed, share=share, stratum=stratum)


def both(
    canary_good: int,
    canary_failed: int,
    current_good: int,
    current_failed: int,
    *,
    share: float = 0.5,
    stratum: Stratum = Stratum.USERS,
) -> Slice:
    return (
        canary(canary_good, canary_failed, share=share, stratum=stratum),
        current(current_good, current_failed, share=share, stratum=stratum),
    )
