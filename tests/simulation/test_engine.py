"""The vectorised rule decides as the scalar one, at the same positions, on the same streams."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from serinus.core.enums import Arm, FailureKind, ReasonCode, RolloutPhase, Stratum
from serinus.core.ids import Version
from serinus.evidence import promotion
from serinus.evidence.analysis import Params
from serinus.evidence.counts import Cell, Slice, latency_bin
from serinus.evidence.promotion import Tally
from serinus.evidence.replay import Course
from serinus.evidence.steps import proof
from serinus.rollout.decide import Advance, Promote, Situation, decide
from serinus.rollout.policy import Policy
from serinus.rollout.state import Rollout, State
from serinus.simulation.engine import Code, Judged, e_good, judge
from serinus.simulation.streams import Lots, Scenario, Streams, draw, draw_lots, latency_bins

SCENARIOS = [
    Scenario(name="healthy", words=""),
    Scenario(name="allowed", words="", canary=0.04),
    Scenario(name="bad", words="", canary=0.12),
    Scenario(name="fails", words="", canary=0.9),
    Scenario(name="both fail", words="", canary=0.7, current=0.7),
    Scenario(name="current fails", words="", current=0.5),
    Scenario(
        name="outage", words="", after=150, canary_then=0.9, current_then=0.9, canary=0.01, current=0.01
    ),
    Scenario(name="change", words="", after=120, canary_then=0.4),
    Scenario(name="slow", words="", slower=1.5),
    Scenario(name="few", words="", share=0.1, canary=0.05),
    Scenario(name="alone", words="", share=1.0, canary=0.04),
]


def slice_of(canary: bool, failed: bool, bin_: int, share: float) -> Slice:
    return (
        Cell(
            arm=Arm.CANARY if canary else Arm.CURRENT,
            stratum=Stratum.USERS,
            share=share,
            ok={} if failed else {int(bin_): 1},
            failed={FailureKind.EXCEPTION: 1} if failed else {},
        ),
    )


def slices(streams: Streams, r: int) -> Iterator[Slice]:
    for canary, failed, bin_ in zip(streams.canary[r], streams.failed[r], streams.bins[r], strict=True):
        yield slice_of(canary, failed, bin_, streams.share)


def scalar(streams: Streams, r: int, params: Params, window: int | None) -> tuple[int, int, bool]:
    """(code, position, for latency) of one rollout."""
    course = Course(params)
    for t, slice_ in enumerate(slices(streams, r), 1):
        if blame := course.add(slice_):
            return Code.ROLLED_BACK, t, blame is ReasonCode.LATENCY
        if window is not None and course.clock >= window and course.good:
            return Code.PROMOTED, t, False
    return Code.UNDECIDED, streams.requests, False


def compare(streams: Streams, params: Params, window: int | None) -> Judged:
    judged = judge(streams, params, window=window)
    for r in range(len(streams)):
        found = (judged.code[r], judged.position[r], judged.latency[r])
        assert found == scalar(streams, r, params, window), r
        assert judged.canary[r] == streams.canary[r, : judged.position[r]].sum()
    return judged


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.name)
def test_the_same_decisions_at_the_same_positions(scenario: Scenario) -> None:
    streams = draw(scenario, 6, 700, 0.5, np.random.default_rng(7))
    compare(streams, Params(), window=200)


def test_epochs_and_other_parameters_too() -> None:
    """Outages that end: held, restarted with limits doubled, then promoted or rolled back."""
    streams = draw(SCENARIOS[6], 8, 1200, 0.5, np.random.default_rng(3))
    well = draw(SCENARIOS[0], 8, 1200, 0.5, np.random.default_rng(4))
    failed = streams.failed.copy()
    failed[:, 250:] = well.failed[:, 250:]
    ended = Streams(streams.canary, failed, streams.bins, streams.share)
    judged = compare(ended, Params(), window=300)
    assert (judged.code == Code.PROMOTED).sum() > 4
    again = failed.copy()
    again[:, 700:800] = streams.failed[:, 150:250]
    again[:, 1000:] |= streams.canary[:, 1000:]
    compare(Streams(streams.canary, again, streams.bins, streams.share), Params(), window=None)
    strict = Params(max_error_rate=0.01, threshold_scale=4.0, judge_latency=False)
    compare(draw(SCENARIOS[1], 6, 800, 0.3, np.random.default_rng(5)), strict, window=100)


def stepwise(lots: Lots, r: int, params: Params, window: int) -> tuple[int, int, int]:
    """(code, position, step) of one rollout, as the controller's own rule decides after every request."""
    course = Course(params)
    began, step, seen = course.analysis, 0, 0
    policy = Policy(steps=lots.shares, window_seconds=window, max_evaluation=1_000_000)
    one = lots.only(np.arange(len(lots)) == r)
    for t in range(lots.requests):
        (canary,), (failed,), (bin_,) = one.at(t, np.array([step]), np.array([seen]))
        seen += canary
        if course.add(slice_of(canary, failed, bin_, lots.shares[step])):
            return Code.ROLLED_BACK, t + 1, step
        held = course._held is not None
        rollout = Rollout(
            number=1,
            version=Version(2),
            baseline=Version(1),
            policy=policy,
            phase=RolloutPhase.HELD if held else RolloutPhase.CANARY,
            share=lots.shares[step],
            started_at=0.0,
            step=step,
        )
        situation = Situation(
            now=0.0,
            clock=course.clock,
            verdict=course.verdict,
            step=proof(course.analysis, began, params),
        )
        decision = decide(State(rollout=rollout), situation)
        if isinstance(decision, Promote):
            return Code.PROMOTED, t + 1, step
        if isinstance(decision, Advance):
            began, step = course.analysis, step + 1
    return Code.UNDECIDED, lots.requests, step


@pytest.mark.parametrize("name", ["healthy", "allowed", "bad", "outage", "change", "slow"])
def test_steps_are_gone_through_as_the_controller_does(name: str) -> None:
    (scenario,) = [one for one in SCENARIOS if one.name == name]
    lots = draw_lots(scenario, 5, 1000, (0.25, 0.4, 0.5), np.random.default_rng(11))
    judged = judge(lots, Params(), window=250)
    steps = []
    for r in range(len(lots)):
        code, position, step = stepwise(lots, r, Params(), 250)
        assert (judged.code[r], judged.position[r]) == (code, position), r
        steps.append(step)
    if name == "healthy":
        assert max(steps) == 2 and Code.PROMOTED in judged.code, "through all of them"


def test_one_step_is_one_share() -> None:
    lots = draw_lots(SCENARIOS[2], 8, 600, (0.5,), np.random.default_rng(12))
    canary = lots.coins < 0.5
    failed = lots.luck < np.where(canary, SCENARIOS[2].canary, SCENARIOS[2].current)
    streams = Streams(canary, failed, np.where(canary, lots.bins[1], lots.bins[0]), 0.5)
    one, other = judge(lots, Params(), window=200), judge(streams, Params(), window=200)
    assert (one.code == other.code).all() and (one.position == other.position).all()
    assert (one.canary == other.canary).all()


def test_a_wrong_split_suspends_the_same_things() -> None:
    drawn = draw(Scenario(name="", words="", slower=3.0, share=0.75), 12, 500, 0.5, np.random.default_rng(8))
    skewed = Streams(drawn.canary, drawn.failed, drawn.bins, 0.5)
    judged = compare(skewed, Params(), window=50)
    assert set(judged.code) == {Code.ROLLED_BACK, Code.UNDECIDED}, "some slow ones are suspended first"
    well = draw(Scenario(name="", words="", share=0.75), 12, 500, 0.5, np.random.default_rng(8))
    judged = compare(Streams(well.canary, well.failed, well.bins, 0.5), Params(), window=150)
    assert set(judged.code) == {Code.UNDECIDED}


shape = st.tuples(st.just(3), st.integers(1, 60))


@settings(max_examples=40, deadline=None)
@given(st.data(), shape, st.sampled_from([0.1, 0.5, 0.9, 1.0]), st.sampled_from([None, 1, 30]))
def test_any_stream_is_decided_alike(
    data: st.DataObject, size: tuple[int, int], share: float, window: int | None
) -> None:
    canary = data.draw(arrays.arrays(np.bool_, size)) | (share == 1.0)
    failed = data.draw(arrays.arrays(np.bool_, size))
    bins = data.draw(arrays.arrays(np.uint8, size, elements=st.integers(0, 255)))
    compare(Streams(canary, failed, bins, share), Params(), window)


@given(st.lists(st.floats(1e-6, 1e7), min_size=1))
def test_bins_are_those_of_the_evidence(seconds: list[float]) -> None:
    found = latency_bins(np.array(seconds))
    wanted = [latency_bin(one) for one in seconds]
    assert np.abs(found.astype(int) - wanted).max() <= 1  # at an edge the last digit may differ
    assert (found == wanted).mean() > 0.5


@given(st.integers(0, 10**6), st.integers(0, 1000), st.floats(0.001, 0.5))
def test_proof_is_that_of_the_evidence(good: int, failures: int, p0: float) -> None:
    found = e_good(np.array([good + failures]), np.array([failures]), p0)
    assert found[0] == pytest.approx(promotion.e_good(Tally(good + failures, failures), p0), rel=1e-6)


def test_the_same_generator_draws_the_same_streams_and_who_cancels_is_heard() -> None:
    one, other = (draw(SCENARIOS[7], 5, 400, 0.5, np.random.default_rng(1)) for _ in range(2))
    assert (one.failed == other.failed).all() and (one.bins == other.bins).all()
    late = one.canary.cumsum(axis=1) > 120
    assert one.failed[one.canary & late].mean() > 0.2 > one.failed[one.canary & ~late].mean()

    def cancel() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        judge(one, Params(), window=None, tick=cancel)
