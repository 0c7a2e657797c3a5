"""Who answers: the snapshot and the wanted versions, as pure functions."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serinus.core.enums import Arm, RolloutPhase, VersionState
from serinus.core.ids import Digest, Version
from serinus.rollout.events import Undone, Verified
from serinus.rollout.policy import Policy
from serinus.rollout.state import Rollout, State, VersionRecord
from serinus.serving.routing import RouteSnapshot, Target, route, wanted
from tests.rollout.histories import History, promoted, published, rolled_back, started

NOTHING: frozenset[int] = frozenset()


def digest(version: int) -> Digest:
    return Digest(f"{version:064x}")


def record(version: int, state: VersionState) -> VersionRecord:
    return VersionRecord(
        version=Version(version),
        digest=digest(version),
        state=state,
        published_at=float(version),
        served=state in (VersionState.CURRENT, VersionState.RETIRED),
    )


def target(version: int) -> Target:
    return Target(version=Version(version), digest=digest(version), published_at=float(version))


def rollout(version: int, phase: RolloutPhase = RolloutPhase.CANARY, share: float = 0.5) -> Rollout:
    return Rollout(
        number=7,
        version=Version(version),
        baseline=None,
        policy=Policy(rollback_window_seconds=600.0),
        phase=phase,
        share=share,
        started_at=0.0,
    )


def state(
    versions: dict[int, VersionState],
    *,
    current: int | None,
    previous: int | None = None,
    since: float = 0.0,
    active: Rollout | None = None,
) -> State:
    return State(
        seq=9,
        versions={Version(v): record(v, s) for v, s in versions.items()},
        current=None if current is None else Version(current),
        previous=None if previous is None else Version(previous),
        current_since=since,
        rollout=active,
        last=rollout(2, RolloutPhase.PROMOTED),
    )


PRODUCTION = state({1: VersionState.CURRENT}, current=1)
CANARY = state({1: VersionState.CURRENT, 2: VersionState.CANARY}, current=1, active=rollout(2))
PROMOTED = state({1: VersionState.RETIRED, 2: VersionState.CURRENT}, current=2, previous=1, since=1000.0)


def loaded(*versions: int) -> frozenset[Digest]:
    return frozenset(digest(v) for v in versions)


def names(targets: tuple[Target, ...]) -> list[int]:
    return [t.version for t in targets]


def test_nothing_is_wanted_of_an_empty_registry() -> None:
    assert wanted(State(), 0.0, ()) == ()
    assert route(State(), loaded=(), tripped=NOTHING, before=RouteSnapshot()) == RouteSnapshot()


def test_current_the_canary_and_for_a_while_the_previous_one_are_wanted() -> None:
    assert names(wanted(PRODUCTION, 0.0, ())) == [1]
    assert names(wanted(CANARY, 0.0, ())) == [1, 2]
    assert names(wanted(PROMOTED, 1599.0, ())) == [2, 1]
    assert names(wanted(PROMOTED, 1601.0, ())) == [2]


@pytest.mark.parametrize("phase", [RolloutPhase.VERIFYING])
def test_a_version_under_verification_is_not_loaded(phase: RolloutPhase) -> None:
    verifying = msgspec.structs.replace(CANARY, rollout=rollout(2, phase))
    assert names(wanted(verifying, 0.0, ())) == [1]


def test_when_current_does_not_load_the_one_before_takes_its_place() -> None:
    assert names(wanted(PROMOTED, 9999.0, loaded(2))) == [2, 1]
    snapshot = route(PROMOTED, loaded=loaded(1), tripped=NOTHING, before=RouteSnapshot())
    assert snapshot.current == target(1)
    third = state(
        {1: VersionState.RETIRED, 2: VersionState.REJECTED, 3: VersionState.RETIRED, 4: VersionState.CURRENT},
        current=4,
    )
    assert names(wanted(third, 9999.0, loaded(4))) == [4, 3], (
        "the newest that was current, never a rejected one"
    )
    assert names(wanted(third, 9999.0, loaded(4, 3))) == [4, 1]


def test_neither_a_superseded_nor_an_undone_version_takes_the_place_of_current() -> None:
    history = History(published(1, initial=True), published(2), started(1, 2))
    history.append(published(3))
    history.append(started(2, 3, supersedes=1))
    history.append(rolled_back(2, 3))
    for version, rollout_number in ((4, 3), (5, 4), (6, 5)):
        history.append(published(version))
        history.append(started(rollout_number, version))
        history.append(Verified(rollout=rollout_number, share=0.5))
        history.append(promoted(rollout_number, version))
    now = history.append(Undone(version=Version(5), undone=Version(6)))
    assert [v for v, r in now.versions.items() if r.state is VersionState.RETIRED] == [1, 2, 4, 6]
    bad = {now.versions[Version(5)].digest}
    assert names(wanted(now, 9e9, bad)) == [5, 4]
    bad.add(now.versions[Version(4)].digest)
    assert names(wanted(now, 9e9, bad)) == [5, 1]
    every = {record.digest for record in now.versions.values()} - bad
    snapshot = route(now, loaded=every, tripped=NOTHING, before=RouteSnapshot())
    assert snapshot.current is not None
    assert snapshot.current.version == 1


def test_who_served_goes_on_until_the_new_one_is_loaded() -> None:
    before = RouteSnapshot(seq=8, current=target(1))
    assert route(PROMOTED, loaded=loaded(1), tripped=NOTHING, before=before).current == target(1)
    assert route(PROMOTED, loaded=loaded(1, 2), tripped=NOTHING, before=before).current == target(2)


def test_a_canary_gets_its_share_only_where_it_is_loaded() -> None:
    without = route(CANARY, loaded=loaded(1), tripped=NOTHING, before=RouteSnapshot())
    assert (without.canary, without.rollout, without.share) == (None, None, 0.0)
    there = route(CANARY, loaded=loaded(1, 2), tripped=NOTHING, before=RouteSnapshot())
    assert (there.canary, there.rollout, there.share, there.seq) == (target(2), 7, 0.5, 9)


def test_a_trip_here_makes_the_share_zero_and_is_still_evidence() -> None:
    tripped = route(CANARY, loaded=loaded(1, 2), tripped={7}, before=RouteSnapshot())
    assert (tripped.canary, tripped.rollout, tripped.share) == (target(2), 7, 0.0)
    assert tripped.assign(0.0) is Arm.CURRENT
    other = route(CANARY, loaded=loaded(1, 2), tripped={6}, before=RouteSnapshot())
    assert other.share == 0.5


@given(st.floats(0, 1), st.floats(0, 1, exclude_max=True))
def test_the_coin_decides_alone(share: float, coin: float) -> None:
    snapshot = RouteSnapshot(current=target(1), canary=target(2), rollout=7, share=share)
    assert snapshot.assign(coin) is (Arm.CANARY if coin < share else Arm.CURRENT)
    assert snapshot.target(snapshot.assign(coin)) is not None


def test_all_traffic_can_go_to_the_canary_and_none_without_one() -> None:
    assert RouteSnapshot(canary=target(2), share=1.0).assign(0.999999) is Arm.CANARY
    assert RouteSnapshot(share=1.0).assign(0.0) is Arm.CURRENT
