"""The confidence sequence: its edges are where the formula says, and it holds at every look at once."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import betaln
from scipy.stats import binom

from serinus.evidence.interval import interval
from serinus.evidence.promotion import Tally

COUNTS = st.integers(0, 10**9)


def log_e(tally: Tally, theta: float) -> float:
    failures, successes = tally.failures, tally.requests - tally.failures
    mixed = betaln(0.5 + failures, 0.5 + successes) - betaln(0.5, 0.5)
    return float(mixed - failures * math.log(theta) - successes * math.log1p(-theta))


@given(COUNTS, COUNTS)
def test_it_holds_the_observed_rate_and_stays_within_0_and_1(failures: int, successes: int) -> None:
    tally = Tally(failures + successes, failures)
    lower, upper = interval(tally)
    rate = failures / tally.requests if tally.requests else 0.5
    assert 0.0 <= lower <= rate <= upper <= 1.0


@given(st.integers(1, 2000), st.integers(1, 2000))
def test_its_edges_are_where_the_evidence_reaches_the_limit(failures: int, successes: int) -> None:
    tally = Tally(failures + successes, failures)
    for edge in interval(tally):
        assert log_e(tally, edge) == pytest.approx(math.log(20), abs=1e-6)


def test_nothing_observed_excludes_nothing_and_a_million_leave_little() -> None:
    assert interval(Tally()) == (0.0, 1.0)
    assert interval(Tally(10, 0))[0] == 0.0
    assert interval(Tally(10, 10))[1] == 1.0
    lower, upper = interval(Tally(10**6, 20_000))
    assert upper - lower < 0.002


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.5])
def test_watched_all_the_time_it_misses_the_true_rate_in_few_runs(rate: float) -> None:
    runs, looks = 200, [*range(1, 40), *range(40, 2000, 40)]
    failed = np.random.default_rng(1).random((runs, 2000)) < rate
    totals = failed.cumsum(axis=1)
    missed = 0
    for run in range(runs):
        inside = [interval(Tally(n, int(totals[run, n - 1]))) for n in looks]
        missed += any(not lower <= rate <= upper for lower, upper in inside)
    assert binom.sf(missed - 1, runs, 0.05) > 1e-3
