"""What the checks before traffic refuse, and why; real models in real sandboxes."""

import io
import pickle
import re
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from serinus.control.explain import explain
from serinus.control.golden import results_of
from serinus.control.quality import QualityGate
from serinus.control.settings import ControllerSettings
from serinus.control.verify import Task, outcome_of, verify
from serinus.core.enums import ReasonCode, RolloutPhase, VersionState
from serinus.core.errors import Corrupt
from serinus.rollout.events import Rejected, Verified
from serinus.rollout.policy import ClassGate, ClassMetric, Loss
from serinus.rollout.state import Rollout
from tests import models
from tests.control.golden import write_golden
from tests.control.world import World

LIKE_BASE = 20
"""Seed of a version that answers as the base does."""


def rejected(world: World) -> Rollout:
    world.verify()
    last = world.state.last
    assert last is not None, world.story()
    assert last.phase is RolloutPhase.REJECTED
    assert world.state.current == 1
    assert world.state.versions[last.version].state is VersionState.REJECTED
    assert isinstance(world.events[-1].body, Rejected)
    return last


def drifted(folder: Path) -> Path:
    """A version whose golden results are those of another one."""
    draft = models.healthy(folder, seed=1)
    images = models.golden_images(64)
    answers = models.run(models.healthy_graph(3), images)
    np.savez(draft / "training" / "golden.npz", images=images, detections=answers)
    return draft


def unreadable(folder: Path) -> Path:
    """A version whose golden results would have to be unpickled."""
    draft = models.healthy(folder, seed=1)
    things = np.array([{"a": 1}], dtype=object)
    np.savez(draft / "training" / "golden.npz", images=things, detections=things)
    return draft


def damaged(damage: Callable[[bytes], bytes]) -> Callable[[Path], Path]:
    """A version whose golden results became something else before it was published."""

    def make(folder: Path) -> Path:
        draft = models.healthy(folder, seed=1)
        path = draft / "training" / "golden.npz"
        path.write_bytes(damage(path.read_bytes()))
        return draft

    return make


def flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes(byte ^ 0xFF for byte in data[middle : middle + 64]) + data[middle + 64 :]


def no_archive(_: bytes) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.zeros((1, 64, 64, 6), np.uint8))
    return stream.getvalue()


def bomb(_: bytes) -> bytes:
    """300 MiB of zeros in 300 kB."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("images.npy", "detections.npy"):
            with archive.open(name, "w") as member:
                for _ in range(150):
                    member.write(bytes(1 << 20))
    return stream.getvalue()


def claims_too_much(_: bytes) -> bytes:
    """Its header promises a terabyte of pictures that are not there."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (1 << 20, 1024, 1024, 1)}
    )
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in ("images.npy", "detections.npy"):
            archive.writestr(name, header.getvalue())
    return stream.getvalue()


@pytest.mark.parametrize(
    ("draft", "words"),
    [
        (models.nan, "NaN"),
        (models.wrong_shape, "golden results"),
        (models.raising, "golden results"),
        (models.crashing, "took its process down"),
        (drifted, "answers differently than when it was trained"),
        (unreadable, "cannot be read"),
        (damaged(lambda data: data[: len(data) // 2]), "cannot be read"),
        (damaged(flipped), "cannot be read"),
        (damaged(no_archive), "cannot be read"),
        (damaged(lambda _: pickle.dumps([1, 2])), "cannot be read"),
        (damaged(claims_too_much), "cannot be read"),
        (damaged(bomb), "the limit is 256 MiB"),
    ],
)
def test_a_broken_version_never_sees_traffic(world: World, draft: Callable[[Path], Path], words: str) -> None:
    world.publish(draft(world.folder / "bad"))
    last = rejected(world)
    assert last.code is ReasonCode.VERIFY_FAILED
    assert words in last.reason


def test_a_version_that_never_answers_is_stopped(world: World) -> None:
    world.controllers = [world.controller(trial_seconds=1.0)]
    world.publish(models.loops_forever(world.folder / "bad"))
    assert "did not answer within 1 s" in rejected(world).reason


def test_a_changed_file_is_named(world: World) -> None:
    version = world.publish(models.healthy(world.folder / "next", seed=1))
    path = world.store.artifact(world.state.versions[version].digest) / "model.onnx"
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    last = rejected(world)
    assert last.code is ReasonCode.VERIFY_FAILED
    assert "model.onnx" in last.reason


def test_a_version_without_golden_results_is_tried_all_the_same(world: World) -> None:
    draft = models.healthy(world.folder / "next", seed=1)
    (draft / "training" / "golden.npz").unlink()
    world.publish(draft)
    world.verify()
    assert world.rollout.phase is RolloutPhase.CANARY
    bad = models.crashing(world.folder / "bad")
    (bad / "training" / "golden.npz").unlink()
    world.until_over(users=20, seconds=60)
    world.publish(bad)
    assert world.state.current == 2
    world.verify()
    assert world.state.last is not None
    assert world.state.last.phase is RolloutPhase.REJECTED


def test_the_quality_gate_lets_an_equal_pass_and_stops_a_worse(world: World) -> None:
    write_golden(world.folder / "golden")
    world.store.add_golden("coast", world.folder / "golden", actor="alice")
    world.publish(models.healthy(world.folder / "equal", seed=LIKE_BASE))
    world.verify()
    assert world.rollout.phase is RolloutPhase.CANARY, world.story()
    verified = world.events[-1].body
    assert isinstance(verified, Verified)
    numbers = verified.report["checks"][-1]["numbers"]
    assert (numbers["map50_current"], numbers["low"], numbers["pairs"]) == (1.0, 0.0, 12.0)
    world.until_over(users=20, seconds=60)
    world.publish(models.other_classes(world.folder / "worse", seed=1))
    world.verify()
    last = world.state.last
    assert last is not None
    assert (last.phase, last.code) == (RolloutPhase.REJECTED, ReasonCode.QUALITY_GATE)
    assert "coast" in last.reason
    assert "mAP50 0.000 against 1.000 of current on 12 pairs" in last.reason
    body = world.events[-1].body
    assert isinstance(body, Rejected)
    assert body.report["checks"][-1]["numbers"]["low"] == -1.0


def golden(world: World, pairs: int) -> None:
    write_golden(world.folder / "golden", pairs=pairs)
    world.store.add_golden("coast", world.folder / "golden", actor="alice")


SWAPPED = (0, 1, 3, 2)
"""Major damage is called destroyed, and destroyed major damage."""


def test_swapped_classes_are_named(world: World) -> None:
    golden(world, pairs=24)
    world.publish(models.calling(world.folder / "swapped", SWAPPED, seed=LIKE_BASE))
    last = rejected(world)
    assert last.code is ReasonCode.QUALITY_GATE
    assert "Class major-damage: AP50 0.000 against 1.000 of current" in last.reason
    assert "Class destroyed: AP50 0.000 against 1.000 of current" in last.reason
    assert "Class no-damage" not in last.reason
    results = results_of(world.store, last.version)
    assert [(one.name, one.passed, one.vouches) for one in results] == [("coast", False, False)]
    gates = {gate.label: gate for gate in results[0].gates if gate.metric == "ap50"}
    assert [name for name, gate in gates.items() if not gate.passed] == ["major-damage", "destroyed"]
    assert (gates["destroyed"].low, gates["destroyed"].margin) == (-1.0, 0.1)
    assert gates["destroyed"].objects >= 30
    assert explain(world.store).golden == results


def test_a_class_is_gated_where_the_mean_lets_it_pass(tmp_path: Path) -> None:
    world = World(tmp_path, map50_margin=1.0)
    golden(world, pairs=24)
    world.publish(models.calling(world.folder / "lost", (0, 1, 2, 0), seed=LIKE_BASE))
    last = rejected(world)
    assert last.code is ReasonCode.QUALITY_GATE
    assert "Class destroyed: AP50 0.000 against 1.000 of current" in last.reason
    assert "all of it lies below -0.100" in last.reason


def test_a_class_with_too_little_support_is_not_judged_and_says_so(tmp_path: Path) -> None:
    world = World(tmp_path, map50_margin=1.0)
    golden(world, pairs=3)
    world.publish(models.calling(world.folder / "swapped", SWAPPED, seed=LIKE_BASE))
    world.verify()
    assert world.rollout.phase is RolloutPhase.CANARY, world.story()
    assert re.search(r"destroyed was not judged: \d objects?, 30 needed\.", world.rollout.reason)
    gate = results_of(world.store, world.rollout.version)[0].gates[-1]
    assert (gate.label, gate.judged, gate.passed) == ("destroyed", False, True)


def test_objects_in_too_few_pictures_are_not_judged(tmp_path: Path) -> None:
    gates = (ClassGate(min_objects=1, min_pictures=4),)
    world = World(tmp_path, map50_margin=1.0, class_gates=gates)
    golden(world, pairs=3)
    world.publish(models.calling(world.folder / "swapped", SWAPPED, seed=LIKE_BASE))
    world.verify()
    assert "major-damage was not judged: in 3 pairs, 4 needed." in world.rollout.reason, world.story()


def test_a_policy_asks_for_recall_that_must_not_be_lost(tmp_path: Path) -> None:
    gate = ClassGate(metric=ClassMetric.RECALL, loss=Loss.POSSIBLE, margin=0.2, min_objects=20)
    world = World(tmp_path, map50_margin=1.0, class_gates=(gate,))
    golden(world, pairs=24)
    world.publish(models.calling(world.folder / "lost", (0, 1, 2, 0), seed=LIKE_BASE))
    assert "Class destroyed: recall 0.000 against 1.000 of current" in rejected(world).reason


def test_without_class_gates_only_the_mean_is_judged(tmp_path: Path) -> None:
    world = World(tmp_path, map50_margin=1.0, class_gates=())
    golden(world, pairs=24)
    world.publish(models.calling(world.folder / "lost", (0, 1, 2, 0), seed=LIKE_BASE))
    world.verify()
    assert world.rollout.phase is RolloutPhase.CANARY
    assert (world.rollout.vouched, world.rollout.measured) == ((), True)
    assert "this set does not vouch for other answers: mAP50 0." in world.rollout.reason
    assert len(results_of(world.store, world.rollout.version)[0].gates) == 1


@pytest.mark.parametrize("calls", [(3, 2, 1, 0), (0, 1, 2, 0)], ids=["shuffled", "collapsed"])
def test_a_loosened_gate_lets_pass_and_vouches_for_nothing(tmp_path: Path, calls: tuple[int, ...]) -> None:
    """Set by set: the truth of the second is what the candidate finds, too."""
    world = World(tmp_path, map50_margin=1.0, class_gates=())
    golden(world, pairs=24)
    write_golden(world.folder / "own", pairs=24, calls=calls)
    world.store.add_golden("own", world.folder / "own", actor="alice")
    world.publish(models.calling(world.folder / "worse", calls, seed=LIKE_BASE))
    world.verify()
    assert world.rollout.vouched == ("golden set own",), world.story()
    results = {one.name: one for one in results_of(world.store, world.rollout.version)}
    assert [(one.passed, one.vouches) for one in results.values()] == [(True, False), (True, True)]


def test_nor_does_a_set_vouch_for_who_shows_users_nothing(world: World) -> None:
    """Its confidences are a tenth of what they were: AP asks for their order only."""
    golden(world, pairs=24)
    world.publish(models.empty(world.folder / "silent", seed=LIKE_BASE))
    world.verify()
    assert (world.rollout.vouched, world.rollout.measured) == ((), True)
    assert "recall 0.000 against 1.000 of current" in world.rollout.reason


def test_a_loosened_gate_is_no_reason_against_a_good_version(tmp_path: Path) -> None:
    world = World(tmp_path, map50_margin=1.0, class_gates=())
    golden(world, pairs=24)
    world.publish(models.healthy(world.folder / "equal", seed=LIKE_BASE))
    world.verify()
    assert world.rollout.vouched == ("golden set coast",)


def test_a_set_that_compares_nothing_vouches_for_nobody(world: World) -> None:
    assert results_of(world.store, 1) == ()
    world.publish(models.healthy(world.folder / "equal", seed=LIKE_BASE))
    world.verify()
    assert world.rollout.vouched == ()


def test_every_golden_set_counts(world: World) -> None:
    for name, seed in (("a-coast", 5), ("b-hills", 6)):
        write_golden(world.folder / name, seed=seed, pairs=4)
        world.store.add_golden(name, world.folder / name, actor="alice")
    world.publish(models.healthy(world.folder / "equal", seed=LIKE_BASE))
    world.verify()
    body = world.events[-1].body
    assert isinstance(body, Verified)
    names = [check["name"] for check in body.report["checks"]]
    assert names[-2:] == ["golden set a-coast", "golden set b-hills"]


def test_a_version_that_was_trained_on_a_golden_picture_is_refused(world: World) -> None:
    tiles = write_golden(world.folder / "golden")
    world.store.add_golden("coast", world.folder / "golden", actor="alice")
    world.publish(models.healthy(world.folder / "next", seed=LIKE_BASE, tiles=["0" * 64, tiles[3]]))
    last = rejected(world)
    assert last.code is ReasonCode.TRAINED_ON_GOLDEN
    assert "synth_00000003" in last.reason


def test_a_broken_current_does_not_block_its_repair(world: World) -> None:
    write_golden(world.folder / "golden", pairs=3)
    world.store.add_golden("coast", world.folder / "golden", actor="alice")
    broken = world.publish(models.raising(world.folder / "broken"))
    repair = world.publish(models.healthy(world.folder / "repair", seed=LIKE_BASE))
    digests = {version: record.digest for version, record in world.state.versions.items()}
    settings = ControllerSettings()
    task = Task(rollout=1, candidate=digests[repair], current=digests[broken], policy=settings.policy)
    outcome = outcome_of(list(verify(world.store, task, QualityGate(world.store, settings), settings)))
    assert outcome.failed is None
    assert "Current itself fails" in outcome.reason


def test_a_damaged_golden_set_stops_nobody_for_good_and_passes_nobody(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    write_golden(world.folder / "golden", pairs=3)
    digest = world.store.add_golden("coast", world.folder / "golden", actor="alice")
    picture = world.store.root / "golden" / "coast" / digest / "0-post.png"
    whole = picture.read_bytes()
    picture.chmod(0o644)
    picture.write_bytes(b"not a picture")
    world.publish(models.healthy(world.folder / "next", seed=LIKE_BASE))
    world.controllers = [world.controller(retry_seconds=0.0)]
    end = time.monotonic() + 30
    while caplog.text.count("could not be verified") < 2:
        assert time.monotonic() < end
        world.tick()
        time.sleep(0.02)
    assert world.rollout.phase is RolloutPhase.VERIFYING
    picture.write_bytes(whole)
    world.verify()
    assert world.rollout.phase is RolloutPhase.CANARY


def test_a_golden_set_that_is_gone_opens_no_gate(world: World) -> None:
    write_golden(world.folder / "golden", pairs=3)
    world.store.add_golden("coast", world.folder / "golden", actor="alice")
    folder = world.store.root / "golden" / "coast"
    folder.rename(world.folder / "elsewhere")
    version = world.publish(models.healthy(world.folder / "next", seed=LIKE_BASE))
    settings = ControllerSettings()
    digest = world.state.versions[version].digest
    task = Task(rollout=1, candidate=digest, current=None, policy=settings.policy)
    with pytest.raises(Corrupt, match=r"coast/0000000001\.json is missing"):
        list(verify(world.store, task, QualityGate(world.store, settings), settings))
