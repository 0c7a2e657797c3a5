"""Held-out pairs of a version's own data set: whether they vouch for other answers. They refuse nobody."""

import hashlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from serinus.artifact.manifest import Lineage
from serinus.control import held_out
from serinus.control.checks import Check
from serinus.control.explain import explain
from serinus.control.golden import results_in
from serinus.control.quality import QualityGate
from serinus.control.retrace import retrace
from serinus.control.settings import ControllerSettings
from serinus.core.enums import Arm, ReasonCode, RolloutPhase
from serinus.core.ids import Version
from serinus.data import dataset as datasets
from serinus.data.dataset import Dataset, Manifest, Pair, Split, content_hash
from serinus.data.xbd import CLASSES
from serinus.imagery.decode import encode_png
from serinus.rollout.events import Noted, Verified
from tests import models
from tests.control.golden import write_golden
from tests.control.test_signals import OTHER, until_held
from tests.control.world import World

LIKE_BASE = 20
"""Seed of a version that answers as the base does."""
BETTER = 1
"""Seed of a version whose boxes are those of the truth; the base's are larger."""
TESTED, TRAINED = 24, 6


class Trained(World):
    """A world with data sets, and versions that say that they were trained on one."""

    def __init__(self, folder: Path, **policy: object) -> None:
        super().__init__(folder, **policy)
        self.datasets = folder / "data" / "datasets"
        self.controllers = [self.controller(datasets=self.datasets)]

    def trained(self, draft: Path, data: Dataset, *, tiles: Sequence[str] | None = None) -> None:
        """Publishes `draft` as trained on `data` and waits until it is verified."""
        self.publish_trained(draft, data, tiles)
        self.verify()

    def measured(
        self, draft: Path, data: Dataset, tiles: Sequence[str] | None = None, **settings: Any
    ) -> Check:
        """The same, and only its held-out pairs."""
        version = self.publish_trained(draft, data, tiles)
        digests = [self.state.versions[one].digest for one in (version, Version(1))]
        all_settings = ControllerSettings(datasets=self.datasets, **settings)
        return held_out.check(QualityGate(self.store, all_settings), self.store, *digests, all_settings)

    def publish_trained(self, draft: Path, data: Dataset, tiles: Sequence[str] | None) -> Version:
        seen = trained_on(data) if tiles is None else tiles
        lineage = Lineage(trainer="tests.models", dataset=data.id, tiles=tuple(seen))
        (draft / "lineage.json").write_bytes(msgspec.json.encode(lineage))
        return self.publish(draft)

    @property
    def verified(self) -> Verified:
        return next(event.body for event in self.events if isinstance(event.body, Verified))


def trained_on(data: Dataset) -> list[str]:
    return [pair.sha256_post for pair in data.pairs(Split.TRAIN)]


@pytest.fixture
def world(tmp_path: Path) -> Trained:
    return Trained(tmp_path)


def data_set(
    folder: Path, *, seed: int = 0, tested: int = TESTED, pictures: int = 9, rare: int = 10**6
) -> Dataset:
    """A data set whose truth is what a healthy version of `seed` finds; minor and major damage only in its
    first `rare` pairs.
    """
    images = models.golden_images(pairs=tested + TRAINED, seed=pictures)
    answers = models.run(models.healthy_graph(seed), images)
    scratch = folder / "new"
    (scratch / "images").mkdir(parents=True)
    pairs = []
    for index, (image, found) in enumerate(zip(images, answers, strict=True)):
        names = []
        for half in (image[..., :3], image[..., 3:]):
            data = encode_png(half)
            names.append(hashlib.sha256(data).hexdigest())
            (scratch / "images" / f"{names[-1]}.png").write_bytes(data)
        rows = found[found[:, 4] > 0]
        if index >= rare:
            rows = rows[(rows[:, 5] == 0) | (rows[:, 5] == 3)]
        pairs.append(
            Pair(
                key=f"synth_{index:08d}",
                disaster="synth",
                split=Split.TEST if index < tested else Split.TRAIN,
                pre=f"images/{names[0]}.png",
                post=f"images/{names[1]}.png",
                sha256_pre=names[0],
                sha256_post=names[1],
                width=64,
                height=64,
                boxes=tuple((float(a), float(b), float(c), float(d)) for a, b, c, d in rows[:, :4]),
                classes=tuple(int(label) for label in rows[:, 5]),
            )
        )
    listed = msgspec.json.encode(pairs)[1:-1]
    sha256 = content_hash([str(subtype) for subtype in CLASSES], [listed])
    manifest = Manifest(
        id=f"ds-{sha256[:12]}",
        sha256=sha256,
        created=1.0,
        source="a.zip",
        source_sha256="0" * 64,
        seed=0,
        pairs=tuple(pairs),
    )
    (scratch / datasets.MANIFEST).write_bytes(msgspec.json.encode(manifest))
    scratch.rename(folder / manifest.id)
    return Dataset.open(folder, manifest.id)


def noted(world: World) -> list[Noted]:
    return [event.body for event in world.events if isinstance(event.body, Noted)]


@pytest.mark.parametrize("calls", [(3, 2, 1, 0), (0, 1, 2, 0)], ids=["shuffled", "lost"])
def test_shuffled_classes_are_held_and_shown(world: Trained, calls: Sequence[int]) -> None:
    data = data_set(world.datasets)
    world.replica.answers[Arm.CANARY] = OTHER
    world.trained(models.calling(world.folder / "next", calls, seed=LIKE_BASE), data)
    assert world.rollout.phase is RolloutPhase.CANARY, "no gate"
    assert (world.rollout.vouched, world.rollout.measured) == ((), True)
    check = world.verified.report["checks"][-1]
    assert check["numbers"]["pairs"] == TESTED
    assert check["numbers"]["map50_current"] == 1.0 > check["numbers"]["map50_candidate"]
    assert "of current on 24 pairs" in world.rollout.reason
    assert "clearly worse: they do not vouch for other answers" in world.rollout.reason
    shown = explain(world.store).golden
    assert [(one.name, one.vouches) for one in shown] == [(f"held-out pairs of data set {data.id}", False)]
    until_held(world)
    assert world.rollout.code is ReasonCode.SIGNALS
    assert "nothing vouches for it" in world.story()
    assert retrace(world.store, 1).same


def test_a_better_model_is_vouched_for_noted_and_promoted(world: Trained) -> None:
    data = data_set(world.datasets, seed=BETTER)
    world.replica.answers[Arm.CANARY] = OTHER
    world.trained(models.healthy(world.folder / "next", seed=BETTER), data)
    assert world.rollout.vouched == (f"held-out pairs of data set {data.id}",), world.story()
    assert "That is not clearly worse." in world.rollout.reason
    assert world.until_over(users=20, seconds=60).phase is RolloutPhase.PROMOTED
    assert [body.code for body in noted(world)] == [ReasonCode.SIGNALS]
    assert f"vouched for by held-out pairs of data set {data.id}" in world.story()
    assert retrace(world.store, 1).same


def test_a_worse_version_that_answers_alike_goes_on(world: Trained) -> None:
    """As a first, short training may: only other answers need somebody who vouches for them."""
    data = data_set(world.datasets)
    world.trained(models.empty(world.folder / "next", seed=2), data)
    assert (world.rollout.vouched, world.rollout.measured) == ((), True)
    assert world.until_over(users=20, seconds=60).phase is RolloutPhase.PROMOTED
    assert not noted(world)


def test_few_pairs_hold_against_no_version_that_is_as_good(world: Trained) -> None:
    check = world.measured(
        models.healthy(world.folder / "next", seed=LIKE_BASE), data_set(world.datasets, tested=1)
    )
    assert check.vouches is True


@pytest.mark.parametrize("tested", [2, 4])
def test_few_pairs_do_not_speak_for_a_version_that_shows_nothing(world: Trained, tested: int) -> None:
    data = data_set(world.datasets, tested=tested)
    check = world.measured(models.empty(world.folder / "next", seed=2), data)
    assert (check.failed, check.vouches) == (None, False)
    assert "they do not vouch for other answers" in check.words


def test_nor_for_swapped_classes_of_which_one_is_rare(world: Trained) -> None:
    """A resample without the few pairs that show it finds no loss, so none is certain."""
    data = data_set(world.datasets, tested=14, rare=3)
    check = world.measured(models.calling(world.folder / "next", (0, 2, 1, 3), seed=LIKE_BASE), data)
    assert check.vouches is False
    assert "not clearly worse, but it found" in check.words


def test_nor_where_neither_version_finds_anything(world: Trained) -> None:
    data = data_set(world.datasets)
    lost = world.publish(models.calling(world.folder / "lost", (3, 2, 1, 0), seed=LIKE_BASE))
    also = world.publish_trained(
        models.calling(world.folder / "also", (1, 2, 3, 0), seed=LIKE_BASE), data, None
    )
    settings = ControllerSettings(datasets=world.datasets)
    digests = [world.state.versions[one].digest for one in (also, lost)]
    check = held_out.check(QualityGate(world.store, settings), world.store, *digests, settings)
    assert check.vouches is False
    assert "it finds nothing there" in check.words


def missing(data: Dataset) -> None:
    data.path.rename(data.path.with_name("elsewhere"))


def no_volume(data: Dataset) -> None:
    data.path.parent.rename(data.path.parent.with_name("elsewhere"))


def another_truth(data: Dataset) -> None:
    text = (data.path / datasets.MANIFEST).read_text()
    (data.path / datasets.MANIFEST).write_text(text.replace('"classes":[0', '"classes":[1', 1))


def another_split(data: Dataset) -> None:
    text = (data.path / datasets.MANIFEST).read_text()
    (data.path / datasets.MANIFEST).write_text(text.replace('"train"', '"test"', 1))


def no_json(data: Dataset) -> None:
    (data.path / datasets.MANIFEST).write_bytes(b"\xff{")


def deep(data: Dataset) -> None:
    (data.path / datasets.MANIFEST).write_bytes(b'{"x":' + b"[" * 100_000)


def huge(data: Dataset) -> None:
    os.truncate(data.path / datasets.MANIFEST, 200 << 20)


def picture(data: Dataset) -> Path:
    return data.path / data.pairs(Split.TEST)[3].post


def another_picture(data: Dataset) -> None:
    picture(data).write_bytes(encode_png(models.golden_images(pairs=1, seed=77)[0, ..., :3]))


def no_picture(data: Dataset) -> None:
    picture(data).unlink()


def endless_picture(data: Dataset) -> None:
    picture(data).unlink()
    os.mkfifo(picture(data))


def huge_picture(data: Dataset) -> None:
    os.truncate(picture(data), 300 << 20)


@pytest.mark.parametrize(
    ("happens", "words"),
    [
        (missing, "it is not below the controller's DATA_DIR"),
        (no_volume, "the controller has no data sets below DATA_DIR"),
        (another_truth, "its content is not what its name says"),
        (another_split, "its content is not what its name says"),
        (no_json, "cannot be read"),
        (deep, "No held-out pairs"),
        (huge, "larger than 128 MiB"),
        (another_picture, "is not what its hash says"),
        (no_picture, "is missing"),
        (endless_picture, "is missing"),
        (huge_picture, "larger than 256 MiB"),
    ],
)
def test_what_cannot_be_measured_vouches_for_nobody_and_stops_nobody(
    world: Trained, happens: Callable[[Dataset], None], words: str
) -> None:
    data = data_set(world.datasets)
    tiles = trained_on(data)
    happens(data)
    check = world.measured(models.healthy(world.folder / "next", seed=LIKE_BASE), data, tiles)
    assert (check.failed, check.vouches) == (None, None)
    assert f"No held-out pairs of its data set {data.id} can vouch for it" in check.words
    assert words in check.words


@pytest.mark.parametrize("happens", [missing, another_truth])
def test_where_nothing_could_vouch_other_answers_are_noted(
    world: Trained, happens: Callable[[Dataset], None]
) -> None:
    data = data_set(world.datasets)
    tiles = trained_on(data)
    happens(data)
    world.replica.answers[Arm.CANARY] = OTHER
    world.trained(models.healthy(world.folder / "next", seed=LIKE_BASE), data, tiles=tiles)
    assert (world.rollout.vouched, world.rollout.measured) == ((), False), world.story()
    assert "can vouch for it: it " in world.rollout.reason
    assert world.until_over(users=20, seconds=60).phase is RolloutPhase.PROMOTED
    assert [body.code for body in noted(world)] == [ReasonCode.SIGNALS]
    assert "neither a golden set nor held-out pairs" in world.story()


def test_reading_is_limited_in_time(world: Trained) -> None:
    draft = models.healthy(world.folder / "next", seed=LIKE_BASE)
    check = world.measured(draft, data_set(world.datasets), held_out_seconds=0.0)
    assert "Reading its 24 pairs took more than 0 s" in check.words
    assert (check.failed, check.vouches) == (None, None)


def test_so_many_pairs_and_no_more_the_same_ones_each_time(world: Trained) -> None:
    data = data_set(world.datasets)
    draft = models.healthy(world.folder / "next", seed=LIKE_BASE)
    check = world.measured(draft, data, held_out_pairs=5)
    assert (check.vouches, check.numbers["pairs"]) == (True, 5.0)
    manifests = [world.store.manifest(world.state.versions[one].digest) for one in (2, 1)]
    settings = ControllerSettings(datasets=world.datasets, held_out_pairs=5)
    chosen = held_out.find(*manifests, settings)
    assert held_out.find(*manifests, settings) == chosen
    hashes = sorted(pair.sha256_post for pair in data.pairs(Split.TEST))
    assert [pair.sha256 for pair in chosen.pairs] == hashes[:5]


@contextmanager
def opened(path: Path) -> Iterator[list[str]]:
    """Notes each time that this process opens `path`."""
    times: list[str] = []
    on = [True]

    def hear(event: str, arguments: tuple[Any, ...]) -> None:
        if on[0] and event == "open" and str(arguments[0]) == str(path):
            times.append(str(arguments[0]))

    sys.addaudithook(hear)
    yield times
    on[0] = False


def test_the_manifest_is_read_once_so_that_none_can_slip_in_after_the_check(world: Trained) -> None:
    data = data_set(world.datasets)
    world.publish_trained(models.healthy(world.folder / "next", seed=LIKE_BASE), data, None)
    manifests = [world.store.manifest(world.state.versions[one].digest) for one in (2, 1)]
    with opened(data.path / datasets.MANIFEST) as times:
        assert held_out.find(*manifests, ControllerSettings(datasets=world.datasets)).pairs
    assert len(times) == 1


@pytest.mark.parametrize("seen", [TESTED - 1, TESTED])
def test_what_was_seen_in_training_does_not_count(world: Trained, seen: int) -> None:
    data = data_set(world.datasets)
    tiles = [pair.sha256_post for pair in data.pairs(Split.TEST)][:seen]
    check = world.measured(models.healthy(world.folder / "next", seed=LIKE_BASE), data, tiles)
    if seen < TESTED:
        assert (check.vouches, check.numbers["pairs"]) == (True, 1.0)
    else:
        assert "no pairs that both versions did not see in training" in check.words


def test_nor_what_current_was_trained_on(world: Trained) -> None:
    data = data_set(world.datasets)
    tested = [pair.sha256_post for pair in data.pairs(Split.TEST)]
    world.publish(models.healthy(world.folder / "first", seed=LIKE_BASE, tiles=tested[4:]))
    world.publish_trained(models.healthy(world.folder / "next", seed=LIKE_BASE + 5), data, None)
    first, following = (world.store.manifest(world.state.versions[one].digest) for one in (2, 3))
    chosen = held_out.find(following, first, ControllerSettings(datasets=world.datasets))
    assert {pair.sha256 for pair in chosen.pairs} == set(tested[:4])


def test_a_version_that_does_not_say_what_it_saw_holds_nothing_out(world: Trained) -> None:
    draft = models.healthy(world.folder / "next", seed=LIKE_BASE)
    check = world.measured(draft, data_set(world.datasets), ())
    assert "does not say which pictures it was trained on" in check.words


def test_a_golden_set_of_the_same_data_set_makes_it_needless(world: Trained) -> None:
    data = data_set(world.datasets)
    write_golden(world.folder / "golden", dataset=data.id)
    world.store.add_golden("coast", world.folder / "golden", actor="alice")
    world.trained(models.healthy(world.folder / "next", seed=LIKE_BASE), data)
    assert world.rollout.vouched == ("golden set coast",)
    assert world.verified.report["checks"][-1]["name"] == "golden set coast"


def test_a_version_that_fails_on_them_is_not_vouched_for(world: Trained) -> None:
    draft = models.raising(world.folder / "next", seed=2, only_when_height_is_not=32)
    check = world.measured(draft, data_set(world.datasets))
    assert (check.failed, check.vouches) == (None, False)
    assert "do not vouch for other answers" in check.words


def test_reports_of_older_events_are_read() -> None:
    old = {"checks": [{"name": "golden set coast", "failed": None, "words": "well", "numbers": {}}]}
    (result,) = results_in(old)
    assert (result.name, result.passed, result.vouches) == ("coast", True, False)
