"""The promotion test: proof, its freshness, and bounded memory."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serinus.evidence import promotion
from serinus.evidence.promotion import Recent, Tally

P0 = 0.05


def plain(requests: int, failures: int) -> float:
    return sum(
        weight * (theta / P0) ** failures * ((1 - theta) / (1 - P0)) ** (requests - failures)
        for theta, weight in zip(promotion.THETAS, promotion.WEIGHTS, strict=True)
    )


@given(st.integers(0, 3000), st.integers(0, 60))
def test_it_is_the_mixture_of_likelihood_ratios(good: int, failures: int) -> None:
    tally = Tally(good + failures, failures)
    assert promotion.e_good(tally, P0) == pytest.approx(plain(good + failures, failures), rel=1e-9)


def test_nothing_observed_proves_nothing() -> None:
    assert promotion.e_good(Tally(), P0) == pytest.approx(1.0)


def test_sixty_nine_good_requests_are_a_proof_and_nine_are_not() -> None:
    assert promotion.e_good(Tally(9, 0), P0) < promotion.LIMIT
    first = next(n for n in range(200) if promotion.e_good(Tally(n, 0), P0) >= promotion.LIMIT)
    assert first == 69


def test_counts_of_any_size_give_a_finite_number() -> None:
    assert promotion.e_good(Tally(10**12, 0), P0) == pytest.approx(1e200)
    assert promotion.e_good(Tally(10**12, 10**12), P0) == 0.0


@given(st.lists(st.tuples(st.integers(0, 5000), st.floats(0, 1)), max_size=200))
def test_the_newest_third_is_kept_and_hardly_more(slices: list[tuple[int, float]]) -> None:
    recent, total = Recent(), Tally()
    for requests, rate in slices:
        one = Tally(requests, math.floor(requests * rate))
        total += one
        needed = promotion.recent_of(total.requests)
        recent = promotion.remember(recent, one, needed)
        kept = recent.total
        assert kept.requests >= min(needed, total.requests)
        assert len(recent.pieces) <= promotion.PIECES
        newest = max(requests for requests, _ in slices)
        assert kept.requests <= needed + max(newest, needed // 8)


@given(st.lists(st.booleans(), max_size=400), st.sampled_from([0.02, 1.0]))
def test_requests_one_by_one_keep_exactly_the_newest(fails: list[bool], thinned: float) -> None:
    """As long as there are no more than 64 runs."""
    outcomes = [failed and n % round(1 / thinned) == 0 for n, failed in enumerate(fails)]
    recent, most = Recent(), 0
    for n, failed in enumerate(outcomes, 1):
        needed = promotion.recent_of(n)
        recent = promotion.remember(recent, Tally(1, int(failed)), needed)
        most = max(most, len(recent.pieces))
        if most < promotion.PIECES:
            assert recent.total == Tally(min(n, needed), sum(outcomes[max(0, n - needed) : n]))
        assert recent.total.requests <= needed + needed // 8


def test_a_slice_that_holds_both_is_not_cut_and_one_of_successes_is() -> None:
    mixed = promotion.remember(promotion.remember(Recent(), Tally(90, 1), 100), Tally(60, 1), 100)
    assert mixed.total == Tally(150, 2)
    pure = promotion.remember(promotion.remember(Recent(), Tally(90, 0), 100), Tally(60, 1), 100)
    assert pure.total == Tally(100, 1)


def test_one_huge_slice_is_one_piece() -> None:
    recent = promotion.remember(Recent(), Tally(10**9, 3), promotion.recent_of(10**9))
    assert recent == Recent((Tally(10**9, 3),))
    for _ in range(1000):
        recent = promotion.remember(recent, Tally(1, 0), 100)
    assert recent.total == Tally(100, 0)
