"""The analysis of one rollout: a state that slices are added to, and what it says.

    analysis = begin(params)
    analysis = observe(analysis, slice_, params)      # once per frozen slice
    verdict = judge(analysis, params)                 # as often as one likes

The state is a value of bounded size that goes through JSON bit for bit: whoever reads it goes on exactly
where the writer stood, and whoever replays the slices arrives at the same state.
"""

from typing import Annotated

import msgspec

from serinus.core.enums import Stratum
from serinus.evidence import stratum
from serinus.evidence.answers import Tolerated
from serinus.evidence.counts import Categories, Slice, latency_bin
from serinus.evidence.families import families
from serinus.evidence.promotion import Tally
from serinus.evidence.stratum import StratumEvidence
from serinus.evidence.verdict import Verdict, read, verdict_of

__all__ = ["Analysis", "Params", "Verdict", "begin", "judge", "observe", "reset_epoch", "restart_split"]


class Params(msgspec.Struct, frozen=True, kw_only=True):
    """What the policy says about judging."""

    max_error_rate: Annotated[float, msgspec.Meta(gt=0.0, lt=1.0)] = 0.05
    """p0: the error rate above which a canary is bad, in (0, 1)."""
    judge_latency: bool = True
    """Whether the latency tests run. Must stay the same from `begin` on."""
    latency_floor_seconds: Annotated[float, msgspec.Meta(ge=0.0)] = 0.01
    """Latencies below this are all alike."""
    tolerated: Tolerated = Tolerated()
    """How much of what no version should answer is no reason to blame the canary."""
    threshold_scale: Annotated[float, msgspec.Meta(ge=1.0)] = 1.0
    """Multiplies the limits of rollback: a replica that judges alone has this many siblings that do."""


class Analysis(msgspec.Struct, frozen=True, kw_only=True):
    """The whole evidence of a rollout after `slices` slices."""

    users: StratumEvidence
    probes: StratumEvidence
    slices: int = 0
    split_restarts: int = 0
    """How often the evidence about the split was started afresh by hand."""
    epochs: int = 0
    """How often all evidence was restarted by an event of the journal."""
    canary: Tally = Tally()
    """All requests since `begin`, both strata, all epochs: for people, not for tests."""
    current: Tally = Tally()


def begin(params: Params, past: Categories | None = None) -> Analysis:
    """Nothing observed. `past`: what users were answered before the rollout, for the test of drift."""
    return Analysis(
        users=stratum.start(judge_latency=params.judge_latency, past=past),
        probes=stratum.start(judge_latency=params.judge_latency),
    )


def observe(analysis: Analysis, slice_: Slice, params: Params) -> Analysis:
    """The analysis after one more slice."""
    p0, odd, floor = params.max_error_rate, params.tolerated, latency_bin(params.latency_floor_seconds)
    canary, current = stratum.tallies(slice_)
    return Analysis(
        users=stratum.observe(analysis.users, _of(slice_, Stratum.USERS), p0, odd, floor),
        probes=stratum.observe(analysis.probes, _of(slice_, Stratum.PROBES), p0, odd, floor),
        slices=analysis.slices + 1,
        split_restarts=analysis.split_restarts,
        epochs=analysis.epochs,
        canary=analysis.canary + canary,
        current=analysis.current + current,
    )


def reset_epoch(analysis: Analysis, params: Params) -> Analysis:
    """After a shared failure: fresh wealths, limits doubled (so alpha adds up to at most twice its value)."""
    return msgspec.structs.replace(
        analysis,
        epochs=analysis.epochs + 1,
        users=stratum.restart(analysis.users, judge_latency=params.judge_latency),
        probes=stratum.restart(analysis.probes, judge_latency=params.judge_latency),
    )


def restart_split(analysis: Analysis, times: int) -> Analysis:
    """Fresh evidence about the split, unless it was started afresh `times` times already.

    For a hold because of the split that a person resumed: the old evidence would hold it again at once. With
    the declared split such a hold has a probability of 1/1000 at most, so no limit is doubled.
    """
    if analysis.split_restarts >= times:
        return analysis
    return msgspec.structs.replace(forget_split(analysis), split_restarts=times)


def forget_split(analysis: Analysis) -> Analysis:
    """Nothing is known about the split, nor what compares the arms through it."""
    return msgspec.structs.replace(
        analysis,
        users=stratum.restart_split(analysis.users),
        probes=stratum.restart_split(analysis.probes),
    )


def judge(analysis: Analysis, params: Params, in_flight: int = 0) -> Verdict:
    """What the evidence says now.

    `in_flight`: canary requests of users that are not settled yet; they count as failures against promotion
    (never towards blame).
    """
    p0 = params.max_error_rate
    users = read(Stratum.USERS, analysis.users, p0, params.threshold_scale, in_flight)
    probes = read(Stratum.PROBES, analysis.probes, p0, params.threshold_scale, 0)
    told = families(analysis.users, analysis.probes, params.threshold_scale)
    return verdict_of(users, probes, told, canary=analysis.canary, current=analysis.current)


def _of(slice_: Slice, which: Stratum) -> Slice:
    return tuple(cell for cell in slice_ if cell.stratum is which)
