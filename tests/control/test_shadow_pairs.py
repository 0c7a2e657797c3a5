"""Shadow pairs in a rollout: counted, judged, shown. A disagreement holds or is noted, no more."""

from pathlib import Path

import pytest

from serinus.control import commands
from serinus.control.explain import explain, in_words
from serinus.control.overview import overview
from serinus.control.retrace import retrace
from serinus.core.enums import Arm, ReasonCode, RolloutPhase, ShadowDrop
from serinus.evidence import pairs
from serinus.evidence.pairs import BANDS, PairCounts
from serinus.rollout.events import Held, Promoted, RolloutStarted, Verified
from serinus.rollout.policy import Policy
from tests import models
from tests.control.world import World

VOUCHES = ("golden set storm",)


def one(agrees: bool, answered: Arm = Arm.CURRENT) -> PairCounts:
    other = Arm.CANARY if answered is Arm.CURRENT else Arm.CURRENT
    return PairCounts(
        f1={BANDS if agrees else 0: 1},
        boxes_current=2,
        boxes_canary=2,
        matched=2,
        agreed=2 if agrees else 0,
        confusion={0: {0 if agrees else 3: 2}},
        score_shift=-200_000,
        answered={answered: {60: 1}},
        shadowed={other: {64: 1}},
        slower={answered: 400_000 if other is Arm.CANARY else 0},
    )


def begin(world: World, vouched: tuple[str, ...] = ()) -> None:
    version = world.publish(models.healthy(world.folder / "next", seed=1))
    start = RolloutStarted(rollout=1, version=version, policy=world.policy)
    world.store.append(start, actor="controller", reason="the next")
    world.store.append(
        Verified(rollout=1, share=0.5, vouched=vouched), actor="controller", reason="all checks passed"
    )
    world.replica.beat(world.state)
    world.tick()


def report(world: World, counts: PairCounts, replica: str = "r1-a", n: int = 0) -> None:
    world.store.put_pairs(1, replica, n, counts)


@pytest.fixture
def shadowing(tmp_path: Path) -> World:
    return World(tmp_path, shadow_share=1.0)


def test_replicas_add_up_and_everybody_sees_it(shadowing: World) -> None:
    world = shadowing
    begin(world)
    report(world, pairs.add([one(True), one(True, Arm.CANARY)]))
    report(world, pairs.add([one(False), PairCounts(dropped={ShadowDrop.LOAD: 3})]), "r2-b")
    world.step(users=4)
    report(world, one(True), n=1)
    world.step(users=4)
    shown = overview(world.store).rollout
    assert shown is not None and shown.pairs is not None
    view = shown.pairs
    assert (view.pairs, view.disagreed, view.matched, view.agreed) == (4, 1, 8, 6)
    assert view.dropped == {ShadowDrop.LOAD: 3}
    assert view.score_shift == pytest.approx(-0.1)
    assert [(cell.current, cell.canary, cell.boxes) for cell in view.confusion] == [
        ("no-damage", "no-damage", 6),
        ("no-damage", "destroyed", 2),
    ]
    assert view.slower == pytest.approx(1.2214, abs=1e-3), "e^0.2: the mean of both orders"
    assert "disagree on 1 of 4 pictures" in overview(world.store).words
    assert "disagree on 1 of 4 pictures" in in_words(explain(world.store))
    last = world.store.last_frozen(1)
    assert last is not None and last.pair_sources == {"r1-a": 1, "r2-b": 0}


def test_too_much_disagreement_holds_and_a_person_may_go_on(shadowing: World) -> None:
    world = shadowing
    begin(world)
    report(world, pairs.add([one(False)] * 40))
    world.step(users=30, seconds=2)
    assert (world.rollout.phase, world.rollout.code) == (RolloutPhase.HELD, ReasonCode.DISAGREEMENT)
    assert world.rollout.share == 0.5, "nobody is rolled back"
    held = next(event for event in world.events if isinstance(event.body, Held))
    assert "disagree on 40 of 40 pictures" in held.reason and "nothing vouches" in held.reason
    assert held.body.numbers["shadow_pairs"] == 40  # type: ignore[union-attr]
    assert retrace(world.store, 1).same

    commands.resume(world.store, actor="alice via cli", reason="looked at the gallery: the new one is right")
    report(world, pairs.add([one(False)] * 40), n=1)
    ended = world.until_over(users=20, seconds=80)
    assert ended.phase is RolloutPhase.PROMOTED
    assert sum(isinstance(event.body, Held) for event in world.events) == 1
    traced = retrace(world.store, 1)
    assert traced.same and [step.code for step in traced.steps] == [
        ReasonCode.DISAGREEMENT,
        ReasonCode.EVIDENCE_GOOD,
    ]


def test_a_golden_set_that_vouches_makes_it_a_note(shadowing: World) -> None:
    world = shadowing
    begin(world, VOUCHES)
    report(world, pairs.add([one(False)] * 40))
    ended = world.until_over(users=20, seconds=80)
    assert ended.phase is RolloutPhase.PROMOTED
    promoted = next(event for event in world.events if isinstance(event.body, Promoted))
    assert promoted.body.numbers["shadow_disagreed"] == 40  # type: ignore[union-attr]
    found = explain(world.store, 1)
    assert found.pairs is not None and found.pairs.excessive
    assert "noted, since golden set storm vouches" in in_words(found)
    assert retrace(world.store, 1).same


def test_a_policy_that_tolerates_less_would_have_held_it(shadowing: World) -> None:
    world = shadowing
    begin(world)
    report(world, pairs.add([one(False)] * 6 + [one(True)] * 54))
    ended = world.until_over(users=20, seconds=80)
    assert ended.phase is RolloutPhase.PROMOTED
    strict = Policy(window_seconds=world.policy.window_seconds, max_disagreement=0.005)
    assert [step.code for step in retrace(world.store, 1, strict).steps] == [ReasonCode.DISAGREEMENT]


def test_nobody_looks_for_pairs_where_the_policy_wants_none(tmp_path: Path) -> None:
    world = World(tmp_path)
    begin(world)
    report(world, pairs.add([one(False)] * 40))
    ended = world.until_over(users=20, seconds=80)
    assert ended.phase is RolloutPhase.PROMOTED
    assert explain(world.store, 1).pairs is None
