"""Users count once for each toss, within bounded memory, and the declared probability is the true one."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from serinus.core.enums import Arm, Stratum
from serinus.evidence.units import Units
from serinus.observe.counters import Counters

SHARES = st.lists(st.floats(0.01, 1.0), min_size=1, max_size=8)


def arm_at(place: float, share: float) -> Arm:
    return Arm.CANARY if place < share else Arm.CURRENT


@given(st.floats(0.0, 1.0, exclude_max=True), SHARES)
def test_a_user_counts_at_his_first_request_and_when_the_share_rises_past_him(
    place: float, shares: list[float]
) -> None:
    units = Units()
    largest, canary = 0.0, False
    for share in shares:
        tossed = units.toss(7, arm_at(place, share), share)
        assert units.toss(7, arm_at(place, share), share) is None, "the second request says nothing new"
        if canary or share <= largest:
            assert tossed is None
            continue
        assert tossed is not None
        assert 0.0 < tossed <= 1.0
        assert tossed == (share - largest) / (1.0 - largest)
        largest, canary = share, place < share


def test_the_declared_probability_is_the_true_one_on_every_step() -> None:
    rng = np.random.default_rng(4)
    units = Units()
    places = rng.random(40_000)
    known = 20_000
    for share in (0.05, 0.25, 0.5):
        seen: dict[float, list[int]] = {}
        for unit in range(known):  # half of the users come only later
            arm = arm_at(places[unit], share)
            tossed = units.toss(unit, arm, share)
            if tossed is not None:
                counts = seen.setdefault(tossed, [0, 0])
                counts[0] += 1
                counts[1] += arm is Arm.CANARY
        assert seen
        for probability, (tosses, hits) in seen.items():
            assert binom.cdf(hits, tosses, probability) > 1e-9
            assert binom.sf(hits - 1, tosses, probability) > 1e-9
        known += 8_000


def test_memory_is_bounded_and_nobody_counts_twice() -> None:
    rng = np.random.default_rng(5)
    everybody = rng.integers(0, 2**64, 5_000, dtype=np.uint64)
    units = Units(most=500)
    counted: dict[int, int] = {}
    for _ in range(3):
        for unit in map(int, rng.permutation(everybody)):
            if units.toss(unit, Arm.CURRENT, 0.5) is not None:
                counted[unit] = counted.get(unit, 0) + 1
        assert len(units) <= 500
    assert set(counted.values()) == {1}
    assert len(counted) > 500


def test_counters_count_users_and_let_strangers_and_old_rollouts_be() -> None:
    counters = Counters(1.0, lambda: 100.0, deadline_seconds=10.0)
    users = Stratum.USERS
    first = counters.arrive(1, Arm.CANARY, users, 0.5, 7)
    assert first is not None
    assert counters.arrive(1, Arm.CANARY, users, 0.5, 7) is None
    assert counters.arrive(1, Arm.CANARY, users, 0.5) is not None, "a request without a user has its own coin"
    raised = counters.arrive(1, Arm.CURRENT, users, 0.5, 8), counters.arrive(1, Arm.CANARY, users, 0.75, 8)
    assert [ticket and ticket.share for ticket in raised] == [0.5, 0.5]
    assert counters.arrive(2, Arm.CANARY, users, 0.5, 7) is not None, "the next rollout tosses anew"
    assert counters.arrive(1, Arm.CANARY, users, 0.5, 9) is None, "the rollout before is over"
    assert counters.in_flight(Arm.CANARY, 1) == 3


def test_two_users_with_bad_pictures_do_not_blame_a_healthy_canary() -> None:
    """The failure that pinning brings, where requests were counted: the same two users, again and again."""
    from serinus.core.enums import FailureKind
    from serinus.evidence.analysis import Params, begin, judge, observe

    rng = np.random.default_rng(6)
    blamed = {True: 0, False: 0}
    for by_user in blamed:
        for _ in range(60):
            now = [0.0]
            counters = Counters(1.0, lambda now=now: now[0], deadline_seconds=10.0)  # type: ignore[misc]
            analysis, places, params = begin(Params()), rng.random(30), Params()
            for _ in range(40):
                for user in map(int, rng.integers(0, 30, 10)):
                    arm = arm_at(places[user], 0.5)
                    ticket = counters.arrive(1, arm, Stratum.USERS, 0.5, user if by_user else None)
                    if ticket is None:
                        continue
                    if user < 2:
                        counters.fail(ticket, FailureKind.EXCEPTION)
                    else:
                        counters.succeed(ticket, ("", "", ""))
                now[0] += 1.0
                for _, slice_ in counters.close():
                    analysis = observe(analysis, slice_, params)
                if judge(analysis, params).blame is not None:
                    blamed[by_user] += 1
                    break
    assert blamed[True] == 0
    assert blamed[False] >= 5
