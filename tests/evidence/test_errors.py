"""The blame test for errors: fair bets, the rule per request, restarts."""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from serinus.core.enums import Arm
from serinus.evidence import errors, promotion
from serinus.evidence.counts import Cell
from serinus.evidence.errors import ABS_THETAS, REL_THETAS, ErrorEvidence
from serinus.evidence.promotion import Tally
from tests.evidence.requests import both, canary, cell, current
from tests.evidence.test_wealth import PerRequest

P0 = 0.05


def after(*slices: tuple[Cell, ...], p0: float = P0) -> ErrorEvidence:
    evidence = errors.start()
    for slice_ in slices:
        evidence = errors.observe(evidence, slice_, p0)
    return evidence


@given(st.floats(0.001, 0.9))
def test_e_abs_is_fair_at_exactly_p0(p0: float) -> None:
    for lost, won in errors.absolute_logs(p0):
        assert p0 * math.exp(lost) + (1 - p0) * math.exp(won) == pytest.approx(1.0)
        assert math.exp(lost) > 1.0 > math.exp(won)


RATES = st.floats(0.0, 1.0, exclude_min=True, exclude_max=True)
"""Any that a policy may allow."""


@example(p0=0.9999999999999999)
@example(p0=5e-324)
@given(RATES)
def test_e_abs_is_fair_at_every_limit(p0: float) -> None:
    for lost, won in errors.absolute_logs(p0):
        assert p0 * math.exp(lost) + (1 - p0) * math.exp(won) == pytest.approx(1.0)
    assert math.isfinite(promotion.e_good(Tally(1000, 20), p0))


@example(p0=0.9999999999999999, share=0.5, rate=0.5)
@example(p0=5e-324, share=0.5, rate=0.5)
@given(RATES, st.floats(0.01, 0.99), st.floats(0.0, 1.0))
def test_e_rel_is_fair_at_every_common_rate_and_share(p0: float, share: float, rate: float) -> None:
    of_canary = errors.relative_logs(p0, share, Arm.CANARY)
    of_current = errors.relative_logs(p0, share, Arm.CURRENT)
    for (c_lost, c_won), (b_lost, b_won) in zip(of_canary, of_current, strict=True):
        mean = rate * (share * math.exp(c_lost) + (1 - share) * math.exp(b_lost)) + (1 - rate) * (
            share * math.exp(c_won) + (1 - share) * math.exp(b_won)
        )
        assert mean == pytest.approx(1.0)


def test_at_the_documented_p0_the_alternatives_are_the_documented_ones() -> None:
    assert math.exp(errors.scaled_logs(0.2, 0.05)[0]) == pytest.approx(0.2)
    for theta, (lost, won) in zip(ABS_THETAS, errors.absolute_logs(P0), strict=True):
        assert math.exp(lost) == pytest.approx(theta / 0.05)
        assert math.exp(won) == pytest.approx((1 - theta) / 0.95)


def test_other_limits_scale_the_odds() -> None:
    failure, success = errors.scaled_logs(0.2, 0.01)
    odds = math.exp(failure - success)
    assert odds == pytest.approx((0.2 / 0.8) * (0.01 / 0.99) / (0.05 / 0.95))


class Rule:
    """`min(E_abs, E_rel)` as it is written down, request by request."""

    def __init__(self) -> None:
        self.absolute = PerRequest(errors.ABS.weights)
        self.relative = PerRequest(errors.REL.weights)

    def request(self, arm: Arm, ok: bool, p: float) -> None:
        if arm is Arm.CANARY:
            self.absolute.step(tuple((1 - t) / 0.95 if ok else t / 0.05 for t in ABS_THETAS))

        def likelihood(theta: float) -> float:
            return 1 - theta if ok else theta

        self.relative.step(
            tuple(
                likelihood(c if arm is Arm.CANARY else b) / (p * likelihood(c) + (1 - p) * likelihood(b))
                for c, b in REL_THETAS
            )
        )
        if self.absolute.value <= 0.5:
            self.relative = PerRequest(errors.REL.weights)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(Arm), st.sampled_from([True, True, True, False]), st.sampled_from([0.05, 0.5])
        ),
        max_size=150,
    )
)
def test_slices_of_one_are_the_rule_per_request(requests: list[tuple[Arm, bool, float]]) -> None:
    rule, evidence = Rule(), errors.start()
    for arm, ok, share in requests:
        rule.request(arm, ok, share)
        evidence = errors.observe(evidence, (cell(arm, int(ok), int(not ok), share=share),), P0)
        assert evidence.e_abs == pytest.approx(rule.absolute.value, rel=1e-9)
        assert evidence.e_rel == pytest.approx(rule.relative.value, rel=1e-9)


def test_three_failures_condemn_a_canary_without_control() -> None:
    one = (canary(0, 1, share=1.0),)
    assert after(one, one).e_abs < errors.LIMIT <= after(one, one, one).e_abs
    assert after(one, one, one).e_rel == 1.0


def test_e_rel_forgets_while_the_canary_looks_fine() -> None:
    allowed = both(49, 1, 50, 0)  # 2 % against 0: allowed, yet a difference
    evidence = after(*[allowed] * 40)
    assert evidence.e_abs <= 0.5
    assert evidence.e_rel == 1.0


def test_both_failing_is_not_the_canarys_blame() -> None:
    evidence = after(*[both(0, 5, 0, 5)] * 40)
    assert evidence.e_abs > 1e100
    assert evidence.e_rel < 1.0


def test_a_failing_current_blames_nobody() -> None:
    evidence = after(*[both(5, 0, 0, 5)] * 40)
    assert min(evidence.e_abs, evidence.e_rel) < 1.0


def test_traffic_of_current_alone_says_nothing_about_the_canary_rate() -> None:
    assert after((current(1000),)).e_abs == 1.0


def test_a_billion_requests_cost_what_one_costs() -> None:
    evidence = after(both(5 * 10**8, 10**6, 5 * 10**8, 10**6), both(0, 10**9, 10**9, 0))
    assert evidence.e_abs > 1e199
    assert evidence.e_rel > 1e199
