"""Shift between the arms and drift of both: fair bets, what they find, what they leave alone."""

import math
import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serinus.core.enums import Arm
from serinus.evidence import signals
from serinus.evidence.signals import LIMIT, Categories, Drift, Seen, Shift

NAMES = ("none", "few", "many")


def toss(rng: random.Random, frequencies: tuple[float, ...]) -> str:
    return rng.choices(NAMES, frequencies)[0]


def one(arm: Arm, category: str, share: float = 0.5) -> list[Categories]:
    return [Categories(arm=arm, share=share, counts={category: 1})]


def shift(seed: int, requests: int, canary: tuple[float, ...], current: tuple[float, ...]) -> float:
    rng, evidence, top = random.Random(seed), Shift(), 0.0
    for _ in range(requests):
        arm = Arm.CANARY if rng.random() < 0.5 else Arm.CURRENT
        category = toss(rng, canary if arm is Arm.CANARY else current)
        evidence = signals.observe_shift(evidence, one(arm, category))
        top = max(top, evidence.e_shift)
    return top


@given(
    st.lists(st.tuples(st.sampled_from(Arm), st.sampled_from(NAMES)), max_size=40),
    st.sampled_from([0.05, 0.5, 0.9]),
    st.sampled_from(NAMES),
    st.floats(1 / 1.5, 1.5),
)
def test_no_shift_within_the_margin_is_a_winning_bet(
    before: list[tuple[Arm, str]], share: float, category: str, odds: float
) -> None:
    evidence = Shift()
    for arm, seen in before:
        evidence = signals.observe_shift(evidence, one(arm, seen, share))
    chance = share * odds / (share * odds + 1 - share)
    wins = signals.observe_shift(evidence, one(Arm.CANARY, category, share)).e_shift
    loses = signals.observe_shift(evidence, one(Arm.CURRENT, category, share)).e_shift
    assert chance * wins + (1 - chance) * loses <= evidence.e_shift * (1 + 1e-9)


def test_the_factor_is_the_one_that_is_written_down() -> None:
    evidence = Shift(seen={"few": Seen(30, 10, 20.0)})
    guess, high = (30 + 5) / (40 + 10), 1.5 / 2.5
    after = signals.observe_shift(evidence, one(Arm.CANARY, "few"))
    assert after.e_shift == pytest.approx(0.8 * guess / high + 0.2)
    after = signals.observe_shift(evidence, one(Arm.CURRENT, "few"))
    assert after.e_shift == pytest.approx(0.8 * (1 - guess) / (1 - high) + 0.2)


def test_another_distribution_is_found_and_a_slightly_different_one_is_not() -> None:
    for seed in range(5):
        assert shift(seed, 1500, (0.2, 0.2, 0.6), (0.6, 0.2, 0.2)) >= LIMIT
        assert shift(seed, 1500, (0.3, 0.4, 0.3), (0.3, 0.4, 0.3)) < LIMIT
        assert shift(seed, 1500, (0.33, 0.34, 0.33), (0.3, 0.4, 0.3)) < LIMIT


def test_slices_of_any_size_cost_the_same_and_add_up() -> None:
    huge = [Categories(arm=arm, share=0.5, counts=dict.fromkeys(NAMES, 10**9)) for arm in Arm]
    evidence = signals.observe_shift(signals.observe_shift(Shift(), huge), huge)
    assert math.isfinite(evidence.e_shift)
    assert evidence.seen == dict.fromkeys(sorted(NAMES), Seen(2 * 10**9, 2 * 10**9, 2e9))
    assert msgspec.json.decode(msgspec.json.encode(evidence), type=Shift) == evidence


def test_without_a_coin_nothing_is_learned() -> None:
    alone = [Categories(arm=Arm.CANARY, share=1.0, counts={"few": 10**6})]
    assert signals.observe_shift(Shift(), alone).e_shift == pytest.approx(1.0)


def test_the_family_has_one_limit_for_the_average() -> None:
    assert signals.e_family([4000.2, 1.0, 1.0]) == pytest.approx((4000.2 + 2) / 3)
    assert signals.e_family([]) == 1.0


def drift(seed: int, requests: int, now: tuple[float, ...]) -> Drift:
    rng = random.Random(seed)
    evidence = signals.begin_drift({"none": 3000, "few": 4000, "many": 3000})
    for _ in range(requests // 10):
        counts: dict[str, int] = {}
        for _ in range(10):
            category = toss(rng, now)
            counts[category] = counts.get(category, 0) + 1
        evidence = signals.observe_drift(evidence, counts)
    return evidence


def test_drift_of_both_arms_needs_both() -> None:
    for seed in range(5):
        same, other = drift(seed, 1500, (0.3, 0.4, 0.3)), drift(seed + 50, 1500, (0.8, 0.1, 0.1))
        assert signals.e_data_drift([other], [drift(seed + 90, 1500, (0.8, 0.1, 0.1))]) >= LIMIT
        assert signals.e_data_drift([other], [same]) < LIMIT
        assert signals.e_data_drift([same], [same]) < LIMIT
    assert signals.e_data_drift([], []) == 1.0


def test_what_the_past_did_not_know_is_one_category() -> None:
    evidence = signals.begin_drift({"none": 500, "few": 500})
    for _ in range(20):
        evidence = signals.observe_drift(evidence, {"many": 3, "more": 3})
    assert evidence.seen == {"other": 120}
    assert evidence.e_drift >= LIMIT
    assert msgspec.json.decode(msgspec.json.encode(evidence), type=Drift) == evidence


@given(st.dictionaries(st.sampled_from(NAMES), st.integers(0, 10**9)), st.sampled_from(NAMES))
def test_drift_is_a_fair_game_at_the_frequencies_of_the_past(past: dict[str, int], seen: str) -> None:
    evidence = signals.observe_drift(signals.begin_drift(past), {seen: 25})
    mean = sum(
        chance * signals.observe_drift(evidence, {category: 1}).e_drift
        for category, chance in evidence.past.items()
    )
    assert sum(evidence.past.values()) == pytest.approx(1.0)
    assert mean <= evidence.e_drift * (1 + 1e-9)
