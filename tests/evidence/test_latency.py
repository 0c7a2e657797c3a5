"""The latency tests: fair bets, margins, failures, and what they find."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serinus.core.enums import Arm, Stratum
from serinus.evidence import latency
from serinus.evidence.counts import BINS_PER_MARGIN, LAST_BIN, Cell, latency_bin
from serinus.evidence.latency import LatencyEvidence, Past
from tests.evidence.requests import canary, cell, current


def after(*slices: tuple[Cell, ...]) -> LatencyEvidence:
    evidence = latency.start()
    for slice_ in slices:
        evidence = latency.observe(evidence, slice_)
    return evidence


def traffic(
    seed: int,
    requests: int,
    slower: float,
    *,
    sigma: float = 0.5,
    current_fails: float = 0.0,
    share: float = 0.5,
) -> list[tuple[Cell, ...]]:
    """Slices of ten requests, log-normal latencies around 0.1 s; the canary's are `slower` times as long."""
    rng = random.Random(seed)
    slices = []
    for _ in range(requests // 10):
        cells = []
        for _ in range(10):
            arm = Arm.CANARY if rng.random() < share else Arm.CURRENT
            seconds = 0.1 * rng.lognormvariate(0.0, sigma) * (slower if arm is Arm.CANARY else 1.0)
            if arm is Arm.CURRENT and rng.random() < current_fails:
                cells.append(cell(arm, 0, 1, share=share))
            else:
                cells.append(cell(arm, 1, share=share, bin_=latency_bin(seconds)))
        slices.append(tuple(cells))
    return slices


def peak(slices: list[tuple[Cell, ...]]) -> float:
    evidence, top = latency.start(), 0.0
    for slice_ in slices:
        evidence = latency.observe(evidence, slice_)
        top = max(top, evidence.e_slower)
    return top


bins = st.integers(0, 20)
histories = st.lists(st.tuples(st.sampled_from(Arm), bins, st.booleans()), min_size=1, max_size=25)


@given(histories, bins, st.sampled_from([0.05, 0.5, 0.9]))
def test_the_arm_is_a_fair_coin_given_the_latency(
    history: list[tuple[Arm, int, bool]], bin_: int, share: float
) -> None:
    """At exactly the margin, both tests are fair games, whatever the past was."""
    slices = [(cell(arm, int(ok), int(not ok), share=share, bin_=at),) for arm, at, ok in history]
    before = after(*slices)
    for name, margin in (("e_slower", BINS_PER_MARGIN), ("e_proved", 2 * BINS_PER_MARGIN)):
        of_canary = latency.observe(before, (cell(Arm.CANARY, 1, share=share, bin_=bin_ + margin),))
        of_current = latency.observe(before, (cell(Arm.CURRENT, 1, share=share, bin_=bin_),))
        mean = share * getattr(of_canary, name) + (1 - share) * getattr(of_current, name)
        assert mean == pytest.approx(getattr(before, name), rel=1e-9)


def test_ranks_are_symmetric_and_never_certain() -> None:
    past = Past({3: 2, 5: 1, 9: 1})
    assert past.score(0) == pytest.approx(-0.8)
    assert past.score(9) == pytest.approx(0.6)
    assert past.score(100) == pytest.approx(0.8)
    assert Past({7: 1}).score(7) == 0.0
    assert [past.quantile(q) for q in (0.25, 0.5, 0.75, 0.99)] == [3, 3, 5, 9]


def test_the_first_slice_makes_no_bet() -> None:
    evidence = after((canary(500), current(500)))
    assert evidence.e_slower == pytest.approx(1.0)
    assert evidence.slower.steps == 0


def test_a_slow_canary_is_found() -> None:
    for seed in range(5):
        assert peak(traffic(seed, 1000, 2.0)) >= latency.LIMIT


@pytest.mark.parametrize("slower", [1.0, 1.15, 1.2])
@pytest.mark.parametrize("sigma", [0.05, 0.5])
def test_within_the_margin_nobody_is_blamed(slower: float, sigma: float) -> None:
    """Also where latencies hardly vary, so that 15 % more is a clear difference."""
    for seed in range(4):
        assert peak(traffic(seed, 1000, slower, sigma=sigma)) < latency.LIMIT


def test_a_failing_current_does_not_make_the_canary_slow() -> None:
    for seed in range(5):
        assert peak(traffic(seed, 1000, 1.0, current_fails=0.4)) < latency.LIMIT


def test_a_canary_that_is_as_fast_proves_it_and_a_slow_one_does_not() -> None:
    for seed in range(5):
        assert after(*traffic(seed, 400, 1.0)).e_proved >= latency.PROVED
        assert after(*traffic(seed, 400, 1.5)).e_proved < 1.0


def test_too_few_successes_of_current_are_no_comparison() -> None:
    assert not after((current(49, 1000), canary(1000))).comparable
    assert after((current(50), canary(1))).comparable


def test_without_control_there_is_no_bet() -> None:
    evidence = after(*[(canary(50, share=1.0),)] * 5)
    assert evidence.slower.steps == 0


def test_memory_is_bounded_and_counts_may_be_huge() -> None:
    everything = [
        (
            Cell(arm=arm, stratum=Stratum.USERS, share=0.5, ok=dict.fromkeys(range(LAST_BIN + 1), 10**9))
            for arm in Arm
        )
    ]
    evidence = latency.start()
    for slice_ in (tuple(cells) for cells in everything * 2):
        evidence = latency.observe(evidence, slice_)
    assert len(evidence.canary) <= LAST_BIN + 1
    assert 0.0 <= evidence.e_slower < 1e201


def test_below_the_floor_all_latencies_are_alike() -> None:
    floor = latency_bin(0.01)
    slow, fast = cell(Arm.CANARY, 20, bin_=latency_bin(0.009)), cell(Arm.CURRENT, 20, bin_=latency_bin(0.001))
    evidence = plain = latency.start()
    for _ in range(10):
        evidence = latency.observe(evidence, (slow, fast), floor)
        plain = latency.observe(plain, (slow, fast))
    assert plain.e_slower >= latency.LIMIT
    assert evidence.e_slower < 1.0
    assert evidence.e_proved >= latency.PROVED
    slow = cell(Arm.CANARY, 20, bin_=latency_bin(0.02))
    for _ in range(10):
        evidence = latency.observe(evidence, (slow, fast), floor)
    assert evidence.e_slower >= latency.LIMIT, "above the floor it counts"


@given(st.lists(bins, min_size=4, max_size=20), bins)
def test_above_the_floor_it_changes_nothing(at: list[int], floor: int) -> None:
    slices = [(cell(Arm.CANARY if n % 2 else Arm.CURRENT, 1, bin_=floor + 2 + b),) for n, b in enumerate(at)]
    evidence = plain = latency.start()
    for slice_ in slices:
        evidence, plain = latency.observe(evidence, slice_, floor), latency.observe(plain, slice_)
    assert evidence == plain
