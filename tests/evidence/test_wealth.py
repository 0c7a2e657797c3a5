"""The mixture with a cash reserve: per request, per slice, and at the edges of floating point."""

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serinus.evidence import wealth
from serinus.evidence.wealth import CAP, Mixture, Wealth

TWO = Mixture((0.25, 0.75))


class PerRequest:
    """The rule as it is written down, step by step."""

    def __init__(self, weights: tuple[float, ...]) -> None:
        self.weights = weights
        self.bets = [0.8 * weight for weight in weights]
        self.reserve = 0.2
        self.t = 0

    def step(self, factors: tuple[float, ...]) -> None:
        paid = 0.0
        if self.t % 16 == 0:
            left = 0.2 / (1 + math.log2(1 + math.floor(self.t / 16) / 4))
            paid, self.reserve = self.reserve - left, left
        self.t += 1
        grown = [
            (bet + paid * weight) * factor
            for bet, weight, factor in zip(self.bets, self.weights, factors, strict=True)
        ]
        self.bets = [0.0 if bet < 1e-200 else min(bet, 1e200) for bet in grown]

    @property
    def value(self) -> float:
        return sum(self.bets) + self.reserve


factors = st.tuples(st.floats(0.01, 20.0), st.floats(0.01, 20.0))


@given(st.lists(factors, max_size=120))
def test_slices_of_one_are_the_rule_per_request(steps: list[tuple[float, float]]) -> None:
    rule = PerRequest(TWO.weights)
    state = wealth.start(TWO)
    for fac in steps:
        rule.step(fac)
        state = wealth.step(state, TWO, [math.log(f) for f in fac], 1)
        assert wealth.value(state, TWO) == pytest.approx(rule.value, rel=1e-9)


@given(st.integers(1, 10**9), st.integers(1, 10**9))
def test_payouts_telescope(first: int, second: int) -> None:
    """Nothing is won or lost at factor 1, however the observations are sliced."""
    stepwise = wealth.step(wealth.step(wealth.start(TWO), TWO, [0.0, 0.0], first), TWO, [0.0, 0.0], second)
    at_once = wealth.step(wealth.start(TWO), TWO, [0.0, 0.0], first + second)
    assert stepwise.steps == at_once.steps
    assert stepwise.bets == pytest.approx(at_once.bets, rel=1e-12)
    assert wealth.value(stepwise, TWO) == pytest.approx(1.0, rel=1e-12)


def test_what_is_paid_is_not_bet_on_the_slice_that_released_it() -> None:
    lost = wealth.step(wealth.start(TWO), TWO, [-math.inf, -math.inf], 16)
    assert wealth.value(lost, TWO) == pytest.approx(0.2)
    assert sum(lost.bets) == pytest.approx(0.2 - 0.2 / (1 + math.log2(1.25)))


def test_no_observation_changes_nothing() -> None:
    state = wealth.start(TWO)
    assert wealth.step(state, TWO, [5.0, 5.0], 0) is state


@given(st.lists(st.tuples(st.floats(-1e12, 1e12), st.integers(1, 10**9)), max_size=30))
def test_no_count_is_too_large(steps: list[tuple[float, int]]) -> None:
    state = wealth.start(TWO)
    for log_factor, count in steps:
        state = wealth.step(state, TWO, [log_factor, -log_factor], count)
        assert all(bet == 0.0 or 1e-200 <= bet <= CAP for bet in state.bets)
        assert math.isfinite(wealth.value(state, TWO))
        assert wealth.value(state, TWO) >= 0.0
    assert msgspec.json.decode(msgspec.json.encode(state), type=Wealth) == state


def test_the_reserve_finds_a_change_that_a_plain_mixture_misses() -> None:
    plain = Mixture((1.0,), reserve=0.0)
    kept = Mixture((1.0,))
    bad, good = math.log(2.0), math.log(0.5)
    after_plain, after_kept = wealth.start(plain), wealth.start(kept)
    for log_factor in [good] * 1000 + [bad] * 40:
        after_plain = wealth.step(after_plain, plain, [log_factor], 1)
        after_kept = wealth.step(after_kept, kept, [log_factor], 1)
    assert wealth.value(after_plain, plain) == 0.0
    assert wealth.value(after_kept, kept) > 1e6
