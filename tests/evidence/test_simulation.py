"""Few, seeded, simulated rollouts with generous bounds; the goals in full are `test_goals` (long)."""

from collections.abc import Iterable
from itertools import chain
from statistics import mean, median

import pytest

from serinus.core.enums import Arm, ReasonCode, Stratum
from serinus.evidence.analysis import Analysis, Params, begin, judge, observe
from serinus.evidence.counts import Slice
from tests.evidence.requests import both
from tests.evidence.simulation import Rates, always, blamed_after, traffic

RUNS = 40


@pytest.mark.parametrize(
    "rates",
    [always(0.001, 0.001), always(0.04, 0.001), always(0.08, 0.08), always(1.0, 1.0)],
    ids=["healthy", "worse but allowed", "both at 8 %", "both down"],
)
def test_a_canary_that_is_not_to_blame_stays(rates: Rates) -> None:
    blamed = [seed for seed in range(RUNS) if blamed_after(traffic(seed, 1200, rates))]
    assert len(blamed) <= 2


def test_a_shared_outage_after_an_allowed_difference_is_not_the_canarys_blame() -> None:
    def rates(n: int) -> tuple[float, float]:
        return (0.02, 0.005) if n < 1500 else (0.5, 0.5)

    blamed = [seed for seed in range(RUNS) if blamed_after(traffic(seed, 2000, rates))]
    assert len(blamed) <= 2


@pytest.mark.parametrize(("rate", "runs", "longest"), [(0.2, RUNS, 80), (0.5, RUNS, 30), (1.0, RUNS, 20)])
def test_a_bad_canary_is_found_soon(rate: float, runs: int, longest: float) -> None:
    found = [blamed_after(traffic(seed, 1500, always(rate, 0.001))) for seed in range(runs)]
    assert None not in found
    assert mean(n for n in found if n) <= longest


def test_a_change_after_a_long_good_stretch_is_found_soon() -> None:
    def rates(n: int) -> tuple[float, float]:
        return (0.001 if n < 2000 else 0.2, 0.001)

    delays = [(blamed_after(traffic(seed, 4000, rates)) or 10_000) - 1000 for seed in range(15)]
    assert median(delays) <= 180


def test_good_then_bad_at_the_end_is_not_promoted() -> None:
    def rates(n: int) -> tuple[float, float]:
        return (0.001 if n < 1600 else 0.3, 0.001)

    verdicts = [judge(_after(traffic(seed, 1800, rates)), Params()) for seed in range(10)]
    assert not any(verdict.good for verdict in verdicts)


def test_a_failing_current_does_not_bar_its_fix() -> None:
    verdicts = [judge(_after(traffic(seed, 400, always(0.001, 0.6))), Params()) for seed in range(10)]
    assert sum(verdict.good for verdict in verdicts) >= 9
    assert not any(verdict.blame for verdict in verdicts)


def test_users_against_probes() -> None:
    """The canary fails for every one of three users a minute, and answers every probe."""
    params = Params()
    analysis = begin(params)
    users = chain.from_iterable([both(0, 1, 1, 0), both(0, 1, 1, 0), both(0, 1, 1, 0)] for _ in range(3))
    probes = traffic(7, 450, always(0.0, 0.0), stratum=Stratum.PROBES, per_slice=50)
    decided = None
    for minute_part, (of_users, of_probes) in enumerate(zip(users, probes, strict=True)):
        analysis = observe(analysis, of_users + of_probes, params)
        verdict = judge(analysis, params)
        assert not verdict.good or minute_part < 2  # one failure is no contradiction yet
        decided = decided or verdict.blame
    assert decided is ReasonCode.ERRORS


def test_two_sticky_users_with_bad_pictures_are_two_observations() -> None:
    """With one observation per pinned user the canary is not blamed for 40 failures of two of them."""
    per_request = [both(1, 0, 1, 0)] * 30 + [both(0, 20, 0, 0)] * 2
    per_user = [both(1, 0, 1, 0)] * 30 + [both(0, 1, 0, 0)] * 2
    assert blamed_after(iter(per_request)) is not None
    assert blamed_after(iter(per_user)) is None


def test_slices_of_any_length_find_the_same_canaries() -> None:
    for per_slice in (1, 25, 250):
        bad = traffic(3, 2000, always(0.3, 0.001), per_slice=per_slice)
        good = traffic(3, 2000, always(0.003, 0.001), per_slice=per_slice)
        assert blamed_after(bad) is not None
        assert blamed_after(good) is None


def _after(slices: Iterable[Slice]) -> Analysis:
    params = Params()
    analysis = begin(params)
    for slice_ in slices:
        analysis = observe(analysis, slice_, params)
    return analysis


@pytest.mark.long
@pytest.mark.parametrize(
    ("rate", "slowest_mean", "slowest_p95"), [(0.1, 345, None), (0.2, 57, 115), (0.5, 18, 26), (1.0, 7, 8)]
)
def test_goals_of_detection(rate: float, slowest_mean: float, slowest_p95: float | None) -> None:
    found = [
        blamed_after(traffic(seed, 8000, always(rate, 0.001), per_slice=1)) or 10_000 for seed in range(500)
    ]
    assert mean(found) <= slowest_mean
    if slowest_p95 is not None:
        assert sorted(found)[int(0.95 * len(found))] <= slowest_p95


@pytest.mark.long
@pytest.mark.parametrize("rates", [(0.001, 0.001), (0.08, 0.08), (1.0, 1.0)])
def test_goals_of_false_rollback(rates: tuple[float, float]) -> None:
    runs = 1000
    blamed = sum(blamed_after(traffic(seed, 1800, always(*rates))) is not None for seed in range(runs))
    assert blamed <= 0.005 * runs + 3


@pytest.mark.long
@pytest.mark.parametrize(("good_before", "slowest_mean"), [(300, 105), (3000, 135)])
def test_goals_after_a_change(good_before: int, slowest_mean: float) -> None:
    delays = []
    for seed in range(400):
        fine = list(traffic(seed, 2 * good_before, always(0.001, 0.001)))
        bad = traffic(1000 + seed, 3000, always(0.2, 0.001), per_slice=1)
        before = sum(c.successes + c.failures for s in fine for c in s if c.arm is Arm.CANARY)
        delays.append((blamed_after(chain(fine, bad)) or 10_000) - before)
    assert mean(delays) <= slowest_mean


@pytest.mark.long
def test_goals_of_promotion() -> None:
    """Canary requests until the proof of a canary with 0.1 % errors; and false proofs of one above 5 %."""
    params = Params()
    needed = []
    for seed in range(2000):
        analysis = begin(params)
        for slice_ in traffic(seed, 2000, always(0.001, 0.001), per_slice=1):
            analysis = observe(analysis, slice_, params)
            if judge(analysis, params).good:
                break
        needed.append(analysis.canary.requests)
    assert median(needed) <= 74
    assert sorted(needed)[int(0.95 * len(needed))] <= 140

    false = 0
    for seed in range(500):
        analysis = begin(params)
        proved = False
        for slice_ in traffic(seed, 1800, always(0.055, 0.001)):
            analysis = observe(analysis, slice_, params)
            proved = proved or judge(analysis, params).good
        false += proved
    assert false <= 0.05 * 500 + 8
