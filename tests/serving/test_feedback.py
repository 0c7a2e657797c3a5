"""Answers are kept, and ground truth that comes later is held against them."""

import math
from pathlib import Path

import numpy as np
import pytest

from serinus.artifact.manifest import Contract
from serinus.bootstrap.edge import new_id
from serinus.control.feedback import labelled, online
from serinus.core.enums import Arm
from serinus.core.errors import InvalidInput, NotFound
from serinus.core.ids import Version
from serinus.data.archive import ArchiveLimits
from serinus.data.importing import import_archive
from serinus.data.labelled import write_archive
from serinus.data.xbd import CLASSES
from serinus.serving.feedback import GroundTruth, TrueBox, take
from serinus.serving.prediction import Prediction, Timing
from serinus.serving.recorder import Recorder
from serinus.serving.routing import Target
from serinus.store import Store
from tests.control.world import Turned
from tests.serving.house import pair
from tests.store.drafts import write_draft

BOXES = [(4.0, 4.0, 20.0, 20.0), (30.0, 30.0, 50.0, 44.0)]


@pytest.fixture
def clock() -> Turned:
    return Turned()


@pytest.fixture
def store(tmp_path: Path, clock: Turned) -> Store:
    store = Store.open(tmp_path / "models", clock=clock, new_id=new_id)
    store.publish(write_draft(tmp_path / "d1", b"1"), note="", actor="test", initial=True)
    return store


def answer(store: Store, labels: tuple[int, ...] = (0, 3)) -> Prediction:
    rows = [(*box, 0.9, label) for box, label in zip(BOXES, labels, strict=False)]
    record = store.state().versions[Version(1)]
    return Prediction(
        detections=np.array(rows, np.float32).reshape(-1, 6),
        post=None,
        size=(64, 64),
        contract=Contract(),
        target=Target(version=record.version, digest=record.digest, published_at=record.published_at),
        role=Arm.CURRENT,
        assigned=Arm.CURRENT,
        rollout=None,
        override=False,
        fallback=False,
        timing=Timing(decode=0.0, model=0.0),
    )


def recorder(store: Store, clock: Turned, *, most: int = 100, pictures: bool = False) -> Recorder:
    return Recorder(store, "infer-a", most=most, pictures=pictures, clock=clock)


def truth(request_id: str, *boxes: tuple[tuple[float, ...], int]) -> GroundTruth:
    return GroundTruth(
        request_id=request_id,
        boxes=[TrueBox(xyxy=xyxy, cls=label) for xyxy, label in boxes],  # type: ignore[arg-type]
    )


def test_only_what_a_coin_chose_is_an_answer_of_the_rollout(store: Store, clock: Turned) -> None:
    kept = recorder(store, clock)
    chosen = answer(store)._replace(rollout=4)
    kept.note("coin", chosen, b"pre", b"post")
    kept.note("tester", chosen._replace(override=True), b"pre", b"post")
    kept.note("instead", chosen._replace(fallback=True), b"pre", b"post")
    kept.send()
    found = {name: store.predictions.find(name) for name in ("coin", "tester", "instead")}
    assert {name: one[0].rollout for name, one in found.items() if one} == {
        "coin": 4,
        "tester": None,
        "instead": None,
    }


def test_what_was_answered_can_be_judged_and_judged_again(store: Store, clock: Turned) -> None:
    kept = recorder(store, clock)
    for number in range(3):
        kept.note(f"r{number}", answer(store), b"pre", b"post")
    kept.send()
    assert take(store, truth("r0", (BOXES[0], 0), (BOXES[1], 3)), clock=clock).version == 1
    assert take(store, truth("r1", (BOXES[0], 0), (BOXES[1], 2)), clock=clock).boxes == 2
    assert online(store)[0].pictures == 2
    metrics = online(store)[0].metrics
    assert metrics is not None
    assert (metrics.pictures, metrics.buildings) == (2, 4)
    assert metrics.precision.value == metrics.recall.value == 0.75
    assert metrics.precision.low <= 0.75 <= metrics.precision.high
    take(store, truth("r1", (BOXES[0], 0), (BOXES[1], 3)), clock=clock)
    again = online(store)[0].metrics
    assert again is not None and again.precision.value == 1.0, "newer truth replaces older"
    assert take(store, truth("r2"), clock=clock).boxes == 0
    last = online(store)[0].metrics
    assert last is not None and last.precision.value == pytest.approx(4 / 6), "nothing there: false alarms"


def test_truth_that_cannot_be_is_refused_in_words(store: Store, clock: Turned) -> None:
    kept = recorder(store, clock)
    kept.note("r", answer(store), b"", b"")
    kept.send()
    with pytest.raises(NotFound, match="no answer 'other'"):
        take(store, truth("other"), clock=clock)
    for box in ((0, 0, 65, 10), (5, 5, 5, 9), (-1, 0, 5, 5), (0, 0, math.nan, 5)):
        with pytest.raises(InvalidInput, match="does not lie in the picture of 64 x 64"):
            take(store, truth("r", (box, 0)), clock=clock)
    with pytest.raises(InvalidInput, match="no class that this version knows"):
        take(store, truth("r", (BOXES[0], 4)), clock=clock)
    named = GroundTruth(request_id="r", boxes=[TrueBox(xyxy=BOXES[0], class_name="destroyed")])
    take(store, named, clock=clock)
    assert store.feedback.of(store.feedback.digests()[0])[0].classes == (3,)


def test_only_the_newest_answers_are_kept(store: Store, clock: Turned) -> None:
    kept = recorder(store, clock, most=4, pictures=True)
    for number in range(9):
        kept.note(f"r{number}", answer(store), b"pre", b"post %d" % number)
        kept.send()
    known = [number for number in range(9) if store.predictions.find(f"r{number}") is not None]
    assert known == [5, 6, 7, 8]
    assert len(list((store.root / "predictions" / "infer-a").iterdir())) == 8, "and their pictures"
    none = Recorder(store, "infer-b", most=0, pictures=True, clock=clock)
    none.note("x", answer(store), b"", b"")
    none.send()
    assert store.predictions.find("x") is None


def test_an_id_that_comes_again_takes_no_room_for_ever(store: Store, clock: Turned) -> None:
    kept = Recorder(store, "infer-a", most=100, pictures=True, most_picture_bytes=20, clock=clock)
    for _ in range(4):
        for _ in range(2):  # before the first was written
            kept.note("again", answer(store), b"pre", b"post")
        kept.send()
    kept.note("other", answer(store), b"pre", b"post")
    kept.send()
    found = store.predictions.find("other")
    assert found is not None and found[1] is not None, "its pictures are kept"


def test_an_odd_request_id_names_no_file(store: Store, clock: Turned) -> None:
    kept = recorder(store, clock, pictures=True)
    kept.note("../../escape", answer(store), b"pre", b"post")
    kept.send()
    take(store, truth("../../escape"), clock=clock)
    assert not list(store.root.parent.glob("*escape*"))
    assert store.feedback.of(store.feedback.digests()[0])[0].answered.request_id == "../../escape"


def test_judged_pairs_come_out_as_a_data_set_that_can_be_imported(
    store: Store, clock: Turned, tmp_path: Path
) -> None:
    kept = recorder(store, clock, pictures=True)
    for number in range(4):
        pre, post = pair(64)
        kept.note(f"r{number}", answer(store), pre + b"\0" * number, post + b"\0" * number)
    kept.send()
    for number in range(4):
        take(store, truth(f"r{number}", (BOXES[0], 0), (BOXES[1], 3)), clock=clock)
    store.predictions.forget(before=clock.now + 10_000)
    assert store.predictions.find("r0") is None
    archive = tmp_path / "judged.zip"
    assert write_archive(archive, labelled(store), tuple(CLASSES)) == 4
    dataset = import_archive(
        archive,
        tmp_path / "datasets",
        clock=clock,
        limits=ArchiveLimits(),
        seed=1,
        confirm=False,
        name="judged.zip",
        progress=lambda *_: None,
    )
    assert dataset.report.pairs_usable == 4
    assert dataset.report.per_class["destroyed"] == 4
