"""Recorded rollouts explained: the outcome in words, the time line, the series, the picture."""

import io
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import msgspec
import pytest
from PIL import Image

from serinus.control import canvas, commands
from serinus.control.chart import chart
from serinus.control.explain import Explanation, explain, in_words
from serinus.control.series import Claim
from serinus.core.enums import Arm, ReasonCode, RolloutPhase, Stratum
from serinus.core.errors import NotFound
from serinus.evidence.needed import fewest_requests
from serinus.evidence.pairs import PairCounts
from serinus.evidence.promotion import Tally, e_good
from serinus.rollout.policy import LITERAL, Policy
from serinus.store import FrozenSlice
from tests import models
from tests.control.world import WINDOW, World

ALICE = "alice via cli"


def kinds(found: Explanation) -> list[str]:
    return [one.row.kind for one in found.timeline]


def complete(found: Explanation, world: World) -> None:
    """What holds for every explanation."""
    assert msgspec.json.decode(msgspec.json.encode(found), type=Explanation) == found
    last = world.store.last_frozen(found.rollout)
    assert found.slices == (0 if last is None else last.k + 1)
    seconds = [one.seconds for one in found.timeline]
    assert seconds == sorted(seconds)
    assert kinds(found)[0] == "rollout_started"
    for one in found.series:
        frozen = world.store.frozen(found.rollout, one.k)
        assert isinstance(frozen, FrozenSlice)
        assert (one.digest, one.clock) == (frozen.digest, frozen.clock)
        assert one.canary.low <= one.canary.rate <= one.canary.high
    picture = chart(found)
    drawing = ElementTree.fromstring(canvas.svg(picture))
    assert drawing.find("{http://www.w3.org/2000/svg}title").text == picture.title  # type: ignore[union-attr]
    numbers = re.findall(r'points="([^"]*)"', canvas.svg(picture).decode())
    for pair in (pair for points in numbers for pair in points.split()):
        x, y = map(float, pair.split(","))
        assert 0 <= x <= picture.width and 0 <= y <= picture.height
    for shape in picture.shapes:
        if isinstance(shape, canvas.Text):
            assert 0 < shape.y < picture.height


def test_promoted(world: World) -> None:
    world.canary()
    world.until_over(users=20, seconds=60)
    found = explain(world.store)
    complete(found, world)
    assert (found.phase, found.code, found.override) == (
        RolloutPhase.PROMOTED,
        ReasonCode.EVIDENCE_GOOD,
        False,
    )
    assert re.match(
        r"Version 2 was promoted after \d+ canary requests and \d+ probes: 0 of \d+ canary", found.headline
    )
    assert found.good_requests_needed == 0
    assert "the fewest requests that can prove it are 69" in found.needed
    assert kinds(found) == ["rollout_started", "verified", "promoted"]
    row = found.timeline[-1].row
    assert row.evidence == found.digest == found.series[-1].digest
    expected = {"k", "share", "clock", "window_seconds", "max_error_rate", "limit_errors", "limit_good"}
    assert expected <= set(row.numbers)
    assert row.numbers["k"] == found.slices - 1
    assert found.series[-1].e_good >= found.series[-1].limit_good
    assert found.series[-1].canary.high < 0.05


def test_rolled_back_tells_how_many_failed_and_against_which_limit(tmp_path: Path) -> None:
    world = World(tmp_path, probes=False)
    world.canary()
    world.replica.errors[Arm.CANARY] = 1.0
    world.until_over(users=4, seconds=20)
    found = explain(world.store)
    complete(found, world)
    (canary,) = (one for one in found.arms if one.arm is Arm.CANARY)
    seen = canary.seen.requests
    assert canary.seen.failures == seen
    words = re.fullmatch(
        rf"Version 2 was rolled back after {seen} canary requests: {seen} of {seen} canary requests failed "
        r"\(0 of \d+ of current\); evidence (\d+) against a limit of 200\.",
        found.headline,
    )
    assert words is not None, found.headline
    assert int(words[1]) >= 200
    needed = found.good_requests_needed
    assert needed is not None
    assert e_good(Tally(seen + needed, seen), 0.05) >= 20 > e_good(Tally(seen + needed - 1, seen), 0.05)
    assert f"would have taken {needed} further canary requests without a failure" in found.needed
    assert found.series[-1].e_errors >= found.series[-1].limit_errors == 200.0
    assert all(one.e_errors < 200 for one in found.series[:-1])
    assert found.series[-1].canary.low > 0.05
    assert "Canary: " in in_words(found) and "however often one looks" in in_words(found)


def test_held_for_lack_of_evidence_tells_what_is_missing(tmp_path: Path) -> None:
    world = World(tmp_path, probes=False, max_evaluation=1)
    world.canary()
    world.step(users=1, seconds=int(WINDOW) + 8)
    found = explain(world.store)
    complete(found, world)
    assert (found.phase, found.code) == (RolloutPhase.HELD, ReasonCode.INSUFFICIENT)
    assert "is held after" in found.headline and "a person is asked" in found.headline
    needed = found.good_requests_needed
    assert needed is not None and 0 < needed < 69
    assert f"takes {needed} further canary requests" in found.needed
    assert found.timeline[-1].row.evidence
    assert found.timeline[-1].row.numbers["limit_good"] == 20


def test_a_shared_failure_is_told_with_the_restart_of_the_evidence(world: World) -> None:
    world.canary()
    world.step(users=20, seconds=5)
    world.replica.errors = {Arm.CURRENT: 0.9, Arm.CANARY: 0.9}
    world.step(users=20, seconds=6)
    held = explain(world.store)
    complete(held, world)
    assert (held.phase, held.code) == (RolloutPhase.HELD, ReasonCode.SHARED_FAILURE)
    assert "the canary is not to blame alone" in held.headline
    world.replica.errors = {Arm.CURRENT: 0.0, Arm.CANARY: 0.0}
    world.until_over(users=20, seconds=90)
    found = explain(world.store, 1)
    complete(found, world)
    assert kinds(found) == ["rollout_started", "verified", "held", "epoch_reset", "promoted"]
    assert found.timeline[3].row.numbers["k"] >= 0
    assert [found.series[0].limit_good, found.series[-1].limit_good] == [20.0, 40.0]


def test_an_override_by_hand_names_who_and_against_what(tmp_path: Path) -> None:
    world = World(tmp_path, probes=False)
    world.canary()
    world.step(users=4, seconds=3)
    commands.promote(world.store, actor=ALICE, reason="the flood is rising", confirm=True)
    found = explain(world.store)
    complete(found, world)
    assert (found.phase, found.code, found.override) == (RolloutPhase.PROMOTED, ReasonCode.MANUAL, True)
    assert "by alice via cli, against the evidence: the flood is rising (Override: " in found.headline
    assert "would have taken" in found.needed
    assert found.timeline[-1].row.numbers["clock"] < WINDOW


def test_a_rollback_by_hand_names_who(world: World) -> None:
    world.canary()
    world.step(users=4, seconds=2)
    commands.rollback(world.store, actor=ALICE, reason="it looks odd")
    found = explain(world.store)
    complete(found, world)
    assert "by alice via cli: it looks odd." in found.headline


def test_rejected_before_traffic(world: World) -> None:
    world.publish(models.nan(world.folder / "next"))
    world.verify()
    found = explain(world.store)
    complete(found, world)
    assert found.phase is RolloutPhase.REJECTED
    assert found.headline.startswith("Version 2 was rejected before any request: ")
    assert (found.good_requests_needed, found.series, found.arms, found.slices) == (None, (), (), 0)
    assert "takes a new version, or another check" in found.needed
    assert found.timeline[-1].row.report["checks"]
    words = [shape.text for shape in chart(found).shapes if isinstance(shape, canvas.Text)]
    assert words[1] == "No request was judged."


def test_the_literal_policy_says_that_it_counts(tmp_path: Path) -> None:
    world = World(tmp_path, **(msgspec.structs.asdict(LITERAL) | {"window_seconds": WINDOW}))
    world.canary()
    world.replica.errors[Arm.CANARY] = 1.0
    world.until_over(users=20, seconds=20)
    found = explain(world.store)
    complete(found, world)
    assert (found.phase, found.policy.name) == (RolloutPhase.ROLLED_BACK, "literal")
    assert "by plain counting" in found.headline
    assert found.needed.startswith("The policy counts plainly and asks for no proof. By evidence: the proof")
    assert found.series[-1].e_errors > 0, "the evidence is known beside it"


def test_steps_and_another_policy_on_the_way(tmp_path: Path) -> None:
    world = World(tmp_path, steps=(0.05, 0.25, 0.5), probes=False)
    world.canary(share=0.05)
    world.step(users=100, seconds=20)
    changed = msgspec.structs.replace(world.policy, name="other", max_error_rate=0.1)
    commands.change_policy(world.store, policy=changed, actor=ALICE, reason="an older camera")
    world.until_over(users=100, seconds=300)
    found = explain(world.store)
    complete(found, world)
    assert found.phase is RolloutPhase.PROMOTED
    assert found.policy == changed
    assert kinds(found).count("share_changed") == 2
    shares = [one.share for one in found.timeline if one.row.kind == "share_changed"]
    assert shares == [0.25, 0.5]
    assert [one.share for one in found.series] == sorted(one.share for one in found.series)
    assert {one.share for one in found.series} == {0.05, 0.25, 0.5}
    change = next(one.row for one in found.timeline if one.row.kind == "policy_changed")
    assert (change.actor, change.why) == (
        ALICE,
        "an older camera (Policy other; the evidence starts afresh.)",
    )
    assert change.numbers["max_error_rate"] == 0.05
    assert found.timeline[-1].row.numbers["max_error_rate"] == 0.1
    assert {one.limit_good for one in found.series} == {20.0, 40.0}


def test_an_older_rollout_and_one_that_gave_way(tmp_path: Path) -> None:
    world = World(tmp_path, on_new_version="supersede")
    world.canary()
    world.step(users=10, seconds=3)
    world.publish(models.healthy(tmp_path / "third", seed=2))
    world.step()
    first, second = explain(world.store, 1), explain(world.store)
    complete(first, world)
    complete(second, world)
    assert (first.phase, first.baseline) == (RolloutPhase.SUPERSEDED, 1)
    assert first.headline.startswith("Version 2 gave way to version 3: ")
    assert second.phase is RolloutPhase.VERIFYING
    world.verify()
    world.until_over(users=20, seconds=60)
    world.publish(models.healthy(tmp_path / "fourth", seed=3))
    world.verify()
    assert [explain(world.store, n).baseline for n in (1, 2, 3)] == [1, 1, 3]
    assert explain(world.store, 2).phase is RolloutPhase.PROMOTED
    assert "is the canary" in explain(world.store).headline


def test_there_must_have_been_such_a_rollout(world: World) -> None:
    for number in (None, 0, 1):
        with pytest.raises(NotFound):
            explain(world.store, number)


def test_a_long_rollout_gives_a_bounded_series_with_both_ends(tmp_path: Path) -> None:
    world = World(tmp_path, window_seconds=2000.0, probes=False)
    world.canary()
    world.step(users=5, seconds=40)
    found = explain(world.store, most_points=12)
    assert found.slices > 30
    assert len(found.series) == 12
    assert (found.series[0].k, found.series[-1].k) == (0, found.slices - 1)
    complete(found, world)


def test_probes_are_told_apart_from_users(world: World) -> None:
    world.canary()
    world.until_over(users=0, seconds=100)
    found = explain(world.store)
    complete(found, world)
    assert {one.stratum for one in found.arms} == {Stratum.PROBES}
    assert "after 0 canary requests and" in found.headline
    assert found.good_requests_needed == 0


def test_the_picture_as_png_shows_both_arms(world: World) -> None:
    world.canary()
    world.step(users=10, seconds=4)
    world.replica.errors[Arm.CANARY] = 0.5
    world.until_over(users=10, seconds=20)
    picture = chart(explain(world.store))
    image = Image.open(io.BytesIO(canvas.png(picture)))
    assert image.size == (2 * picture.width, 2 * picture.height)
    colours = {colour for _, colour in image.convert("RGB").getcolors(maxcolors=1 << 22) or ()}  # type: ignore[union-attr]
    for ink in (canvas.Ink.CANARY, canvas.Ink.CURRENT, canvas.Ink.HARM, canvas.Ink.GOOD, canvas.Ink.TEXT):
        red, green, blue = bytes.fromhex(canvas.LIGHT[ink][1:])
        assert (red, green, blue) in colours, ink


def test_the_picture_follows_the_readers_theme_and_keeps_its_contrast() -> None:
    def luminance(colour: str) -> float:
        parts = [part / 255 for part in bytes.fromhex(colour[1:])]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for palette in (canvas.LIGHT, canvas.DARK):
        paper = luminance(palette[canvas.Ink.PAPER])
        for ink in set(canvas.Ink) - {canvas.Ink.PAPER, canvas.Ink.GRID}:
            light, dark = sorted((paper, luminance(palette[ink])), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= (
                4.5 if ink in (canvas.Ink.TEXT, canvas.Ink.MUTED) else 3.0
            ), ink
    drawn = canvas.svg(canvas.Picture(10, 10, "a < b", [canvas.Text(1, 1, "<&>")])).decode()
    assert "prefers-color-scheme:dark" in drawn
    assert "&lt;&amp;&gt;" in drawn and "a &lt; b" in drawn


@pytest.mark.parametrize("p0", [0.01, 0.05, 0.2])
def test_the_fewest_requests_prove_it_and_one_less_does_not(p0: float) -> None:
    fewest = fewest_requests(p0)
    assert e_good(Tally(fewest, 0), p0) >= 20 > e_good(Tally(fewest - 1, 0), p0)


def test_policy_of_an_explanation_is_the_whole_document(world: World) -> None:
    world.canary()
    assert explain(world.store).policy == Policy(window_seconds=WINDOW)


OTHER = {"none": 2, "minor-damage": 1, "destroyed": 7}


def _texts(found: Explanation) -> list[str]:
    return [shape.text for shape in chart(found).shapes if isinstance(shape, canvas.Text)]


def test_the_picture_shows_the_answers_that_held_a_rollout_cross_their_limit(world: World) -> None:
    world.replica.answers[Arm.CANARY] = OTHER
    world.canary()
    for _ in range(40):
        world.step(users=20)
        if world.rollout.phase is RolloutPhase.HELD:
            break
    found = explain(world.store)
    complete(found, world)
    shift = [one.claims[Claim.SHIFT] for one in found.series]
    assert found.code is ReasonCode.SIGNALS
    assert shift[-1].e == found.numbers["e_shift"] >= shift[-1].limit == 400.0
    assert "other answers" in _texts(found) and not {"drift", "disagreement", "split"} & set(_texts(found))
    top, bottom = _panel(found, "Answers (e-values)", "Error rate so far")
    lines = [one for one in chart(found).shapes if isinstance(one, canvas.Line)]
    lines = [one for one in lines if all(top < y < bottom for _, y in one.points)]
    curve = next(one for one in lines if one.ink is canvas.Ink.CANARY and not one.dashed)
    (limit,) = (one for one in lines if one.dashed and one.points[0][1] == one.points[-1][1])
    assert curve.points[-1][1] <= limit.points[-1][1] < curve.points[0][1], "y grows downwards"


def _panel(found: Explanation, heading: str, following: str) -> tuple[float, float]:
    """From one heading to the next, in pixels."""
    texts = [shape for shape in chart(found).shapes if isinstance(shape, canvas.Text)]
    top, bottom = (next(one.y for one in texts if one.text == words) for words in (heading, following))
    return top, bottom


def test_the_picture_shows_a_wrong_split_only_where_it_held(world: World) -> None:
    world.replica.coin = 0.1
    world.canary()
    for _ in range(40):
        world.step(users=20)
        if world.rollout.phase is RolloutPhase.HELD:
            break
    found = explain(world.store)
    complete(found, world)
    assert found.code is ReasonCode.ASSIGNMENT
    assert found.series[-1].claims[Claim.SPLIT].e >= 1000 and "split" in _texts(found)


def test_the_picture_shows_shadow_pairs_and_drift_where_there_were_any(tmp_path: Path) -> None:
    world = World(tmp_path, shadow_share=1.0, probes=False)
    world.replica.past = {"none": 1000, "minor-damage": 2500, "destroyed": 1500}
    world.canary()
    for number in range(3):
        world.store.put_pairs(1, "r1-a", number, PairCounts(f1={0: 4, 20: 1}))
        world.step(users=20, seconds=2)
    found = explain(world.store)
    complete(found, world)
    said = found.series[-1].claims[Claim.DISAGREEMENT]
    assert said.e > 10 and said.limit == 400.0
    assert {"invalid or empty", "disagreement", "drift"} <= set(_texts(found))
    bare = tuple(msgspec.structs.replace(one, claims={}) for one in found.series)
    without = msgspec.structs.replace(found, series=bare)
    assert "Answers (e-values)" not in _texts(without), "nothing was observed, nothing is drawn"
    assert chart(without).height < chart(found).height
