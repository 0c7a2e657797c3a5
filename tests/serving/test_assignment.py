"""Who goes where: shares are kept, users stay, testers choose."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from serinus.core.enums import Arm
from serinus.core.errors import InvalidInput
from serinus.core.ids import Digest, Version
from serinus.rollout.policy import ByCookie, ByHeader, Sticky
from serinus.serving.assignment import NOBODY, Caller, assign, pinned
from serinus.serving.routing import RouteSnapshot, Target

HEADER, COOKIE = ByHeader("X-User-Id"), ByCookie("session")
STICKY = st.sampled_from([HEADER, COOKIE])
SHARES = st.floats(0.0, 1.0)
NAMES = st.text(min_size=1, max_size=40)


def snapshot(
    share: float, *, sticky: Sticky | None = None, override: str | None = None, salt: str = "1:a"
) -> RouteSnapshot:
    def target(number: int) -> Target:
        return Target(version=Version(number), digest=Digest(f"{number:064x}"), published_at=0.0)

    return RouteSnapshot(
        current=target(1),
        canary=target(2),
        rollout=1,
        share=share,
        sticky=sticky,
        override_header=override,
        salt=salt,
    )


def user(sticky: Sticky, name: str) -> Caller:
    return Caller(headers={"x-user-id": name}) if sticky is HEADER else Caller(cookies={"session": name})


def no_coin() -> float:
    raise AssertionError("a pinned user tosses no coin")


def always(coin: float) -> Callable[[], float]:
    return lambda: coin


@given(STICKY, NAMES, SHARES)
def test_a_user_is_in_the_same_arm_at_every_replica_and_every_time(
    sticky: Sticky, name: str, share: float
) -> None:
    first = assign(snapshot(share, sticky=sticky), user(sticky, name), no_coin)
    again = assign(snapshot(share, sticky=sticky), user(sticky, name), no_coin)
    assert first == again
    assert first.unit is not None and 0 <= first.unit < 2**64
    assert not first.override


@given(STICKY, NAMES, SHARES, SHARES)
def test_who_is_in_the_canary_stays_there_when_the_share_rises(
    sticky: Sticky, name: str, one: float, other: float
) -> None:
    low, high = sorted((one, other))
    before = assign(snapshot(low, sticky=sticky), user(sticky, name), no_coin)
    after = assign(snapshot(high, sticky=sticky), user(sticky, name), no_coin)
    assert before.unit == after.unit
    if before.arm is Arm.CANARY:
        assert after.arm is Arm.CANARY
    if after.arm is Arm.CURRENT:
        assert before.arm is Arm.CURRENT


@pytest.mark.parametrize("share", [0.0, 0.05, 0.25, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("sticky", [HEADER, COOKIE], ids=["header", "cookie"])
def test_the_share_of_users_is_the_declared_one(share: float, sticky: Sticky) -> None:
    users = 20_000
    got = sum(
        assign(snapshot(share, sticky=sticky), user(sticky, f"user-{n}"), no_coin).arm is Arm.CANARY
        for n in range(users)
    )
    assert binom.cdf(got, users, share) > 1e-9 and binom.sf(got - 1, users, share) > 1e-9


def test_each_rollout_draws_other_users() -> None:
    names = [f"user-{n}" for n in range(4000)]

    def drawn(salt: str) -> set[str]:
        routes = snapshot(0.25, sticky=HEADER, salt=salt)
        return {name for name in names if assign(routes, user(HEADER, name), no_coin).arm is Arm.CANARY}

    both = len(drawn("1:a") & drawn("2:b"))
    assert binom.cdf(both, 4000, 0.0625) > 1e-9 and binom.sf(both - 1, 4000, 0.0625) > 1e-9


def test_place_and_number_of_a_user_are_independent() -> None:
    """What decides whether a user counts must say nothing about his arm."""
    places = [pinned("1:a", HEADER, f"user-{n}") for n in range(20_000)]
    counted = [place for place, unit in places if unit < 2**62]
    canary = sum(place < 0.3 for place in counted)
    assert binom.cdf(canary, len(counted), 0.3) > 1e-9 and binom.sf(canary - 1, len(counted), 0.3) > 1e-9
    assert binom.sf(len(counted) - 1, 20_000, 0.25) > 1e-9


@given(SHARES, st.floats(0.0, 1.0, exclude_max=True))
def test_who_does_not_say_who_he_is_tosses_a_coin(share: float, coin: float) -> None:
    for routes, caller in (
        (snapshot(share), user(HEADER, "alice")),
        (snapshot(share, sticky=HEADER), NOBODY),
        (snapshot(share, sticky=HEADER), Caller(headers={"x-user-id": ""})),
        (snapshot(share, sticky=COOKIE), user(HEADER, "alice")),
    ):
        found = assign(routes, caller, always(coin))
        assert (found.arm, found.unit) == (Arm.CANARY if coin < share else Arm.CURRENT, None)


@pytest.mark.parametrize(("said", "arm"), [("canary", Arm.CANARY), (" Current ", Arm.CURRENT)])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_tester_chooses_whatever_the_share(said: str, arm: Arm, share: float) -> None:
    caller = Caller(headers={"x-serinus-arm": said, "x-user-id": "alice"})
    found = assign(snapshot(share, sticky=HEADER, override="X-Serinus-Arm"), caller, no_coin)
    assert (found.arm, found.unit, found.override) == (arm, None, True)


def test_without_a_canary_a_tester_gets_current() -> None:
    routes = RouteSnapshot(current=snapshot(0.5).current, override_header="X-Serinus-Arm")
    found = assign(routes, Caller(headers={"x-serinus-arm": "canary"}), no_coin)
    assert (found.arm, found.override) == (Arm.CURRENT, True)


def test_a_wish_that_names_no_arm_is_the_callers_mistake_and_unheard_without_the_policy() -> None:
    caller = Caller(headers={"x-serinus-arm": "kanary"})
    with pytest.raises(InvalidInput, match="kanary"):
        assign(snapshot(0.5, override="X-Serinus-Arm"), caller, no_coin)
    assert not assign(snapshot(0.5), caller, always(0.9)).override
