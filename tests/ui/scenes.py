"""Scenes for the browser: stores as they are after some days of work. For tests and tools/screenshots.py."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from serinus.api.resumable import Announced
from serinus.api.uploads import Upload
from serinus.control.ledger import standing
from serinus.core.enums import Arm, JobState, ReasonCode, Signal
from serinus.core.ids import Version
from serinus.data.importing import import_archive
from serinus.data.synth import SynthSet, write_sets
from serinus.data.synth.scenery import Disaster
from serinus.data.synth.tile import synth_tile
from serinus.evidence.counts import Categories, latency_bin
from serinus.jobs.folder import Created, Folder, Launched
from serinus.jobs.model import (
    ComparedFigure,
    CompareJob,
    CompareOutput,
    JobSpec,
    Point,
    PrepareJob,
    PrepareOutput,
    Progress,
    Result,
    TrainJob,
)
from serinus.jobs.render import EVALUATION
from serinus.rollout.events import Held, Noted, RolledBack, RolloutStarted, Verified
from serinus.rollout.policy import Policy
from serinus.store import GalleryFile, Store
from serinus.store.gallery import Limits
from serinus.store.local import Disk
from tests.api.stage import Stage
from tests.store.whole import disagreement

PAGES = [
    "/",
    "/versions",
    "/versions/2",
    "/versions/compare?a=1&b=2",
    "/history",
    "/history/5",
    "/rollouts/1",
    "/disagreements",
    "/settings",
    "/data",
    "/data/{dataset}",
    "/data/{dataset}/pairs",
    "/training",
    "/jobs/{running}",
    "/jobs/{asking}",
    "/inference",
    "/docs",
]
"""Names in braces: see `workshop`."""
_CLASSES = {
    Arm.CURRENT: {"no-damage": 0.55, "minor-damage": 0.19, "major-damage": 0.15, "destroyed": 0.11},
    Arm.CANARY: {"no-damage": 0.52, "minor-damage": 0.2, "major-damage": 0.15, "destroyed": 0.13},
}
_MEDIAN = {Arm.CURRENT: 0.083, Arm.CANARY: 0.071}


def _spread(arm: Arm, successes: int) -> Mapping[int, int]:
    """A bell of latencies around the arm's median, in bins."""
    middle = latency_bin(_MEDIAN[arm])
    weights = {place: math.exp(-(((place - middle) / 2.2) ** 2)) for place in range(middle - 6, middle + 9)}
    return _shared(successes, weights)


def _shared(total: int, weights: Mapping[int, float]) -> dict[int, int]:
    whole = sum(weights.values())
    found: dict[int, int] = {}
    due = 0.0
    for place, weight in weights.items():
        due += total * weight / whole
        if (part := round(due) - sum(found.values())) > 0:
            found[place] = part
    return found


def _mix(weights: Mapping[str, float], successes: int) -> Categories:
    names = dict(enumerate(weights))
    parts = _shared(successes, dict(enumerate(weights.values())))
    return {Signal.DOMINANT_CLASS: {names[place]: count for place, count in parts.items()}}


_LATENCY = {arm: lambda successes, arm=arm: _spread(arm, successes) for arm in Arm}
_SIGNALS = {arm: lambda successes, arm=arm: _mix(_CLASSES[arm], successes) for arm in Arm}
_ODD = _SIGNALS | {
    Arm.CANARY: lambda successes: _mix(
        {"no-damage": 0.25, "minor-damage": 0.1, "major-damage": 0.15, "destroyed": 0.5}, successes
    )
}


def traffic(
    stage: Stage,
    slices: int,
    *,
    each: int = 24,
    failing: float = 0.0,
    seconds: float = 5.0,
    odd: bool = False,
) -> None:
    """Slices of traffic to both arms, alike but for the canary's failures and, when `odd`, its answers."""
    due = 0.0
    for _ in range(slices):
        due += each * failing
        failed, due = int(due), due - int(due)
        signals = _ODD if odd else _SIGNALS
        stage.traffic((each, failed), (each, 0), seconds=seconds, latency=_LATENCY, signals=signals)


def past(stage: Stage) -> None:
    """Version 1 was replaced by 2; 3 was rolled back; now 2 is current."""
    stage.base()
    stage.now += 3600
    stage.canary("Roofs of the coast added, 12 epochs")
    traffic(stage, 36)
    stage.decide("promote", "The window is over and the evidence is good.")
    stage.now += 5400
    stage.canary("A larger batch; the learning rate was not adapted")
    traffic(stage, 4, each=12, failing=0.5)
    stage.decide("roll_back", "24 of 48 canary requests failed; of current's none did.")
    stage.now += 7200
    stage.dataset()


def on_trial(stage: Stage, slices: int = 20) -> Version:
    """Version 4 is the canary."""
    past(stage)
    version = stage.canary("Night pictures added, 20 epochs")
    traffic(stage, slices, failing=0.004)
    stage.heartbeat()
    stage.heartbeat("infer-b21c")
    return version


def held(stage: Stage) -> None:
    """The canary answers otherwise than current, and no golden set vouches for it."""
    past(stage)
    stage.canary("Night pictures added, 20 epochs")
    traffic(stage, 16, odd=True)
    rollout = stage.store.state().rollout
    assert rollout is not None
    verdict = standing(stage.store, rollout).verdict()
    stage.store.append(
        Held(rollout=rollout.number, code=ReasonCode.SIGNALS, k=15, numbers=verdict.numbers),
        actor="controller",
        reason=f"{verdict.answers[:1].upper()}{verdict.answers[1:]}, and no golden set vouches for it.",
    )
    stage.heartbeat()
    stage.heartbeat("infer-b21c")


def disagreements(stage: Stage, count: int = 4) -> None:
    """Pictures with overlays in the gallery of the active rollout."""
    state = stage.store.state()
    assert state.rollout is not None and state.current is not None
    for number, (current, canary) in enumerate(_overlays(count)):
        item = disagreement(f"request-{number}", round(0.1 + 0.15 * number, 2), 2 + number)
        of = {Arm.CURRENT: state.current, Arm.CANARY: state.rollout.version}
        item = msgspec.structs.replace(
            item,
            rollout=state.rollout.number,
            answered=msgspec.structs.replace(item.answered, time=stage.now - 60, version=of[Arm.CURRENT]),
            shadow=msgspec.structs.replace(item.shadow, time=stage.now - 59, version=of[Arm.CANARY]),
            pair_sha256=f"{number}" * 64,
        )
        stage.store.gallery.put(item, {GalleryFile.CURRENT: current, GalleryFile.CANARY: canary}, Limits())


def _overlays(count: int) -> Iterator[tuple[bytes, bytes]]:
    import numpy as np

    from serinus.artifact.manifest import Contract
    from serinus.imagery.overlay import OverlayFormat, overlay

    classes = Contract().classes
    for number in range(count):
        pixels = synth_tile(7, list(Disaster)[number % len(Disaster)], number, 320).post
        rng = np.random.default_rng(number)
        corners = rng.uniform(10, 250, (9, 2))
        boxes = np.hstack([corners, corners + rng.uniform(30, 70, (9, 2)), rng.uniform(0.4, 0.95, (9, 1))])
        sides = []
        for side in range(2):
            labels = rng.integers(0, len(classes), (9, 1))
            kept = rng.random(9) > (0.15 if side else 0.4)
            found = np.hstack([boxes, labels])[kept].astype(np.float32)
            sides.append(overlay(pixels, found, classes, format=OverlayFormat.JPEG))
        yield sides[0], sides[1]


COMPARED = CompareOutput(
    a=1,
    b=2,
    dataset="ds-0c1f2e3d4b5a",
    split="test",
    pictures=36,
    words="Version 2 is better than version 1: mAP50 0.741 against 0.612, +0.080 to +0.170.",
    warnings=("The pictures are synthetic: their scores are not comparable with real ones.",),
    figures=(
        ComparedFigure(
            name="mAP50", a=0.612, b=0.741, difference=0.129, low=0.08, high=0.17, verdict="better"
        ),
        ComparedFigure(
            name="recall, major-damage",
            a=0.58,
            b=0.49,
            difference=-0.09,
            low=-0.16,
            high=-0.02,
            verdict="worse",
        ),
        ComparedFigure(
            name="recall, destroyed",
            a=0.5,
            b=0.48,
            difference=-0.02,
            low=-0.1,
            high=0.06,
            verdict="cannot be told apart",
        ),
    ),
)


def compared(stage: Stage, result: Result | None = None) -> str:
    """A comparison of versions 1 and 2 that is over; its id."""
    found = result or Result(state=JobState.SUCCEEDED, time=stage.now - 1700, output=COMPARED)
    spec = CompareJob(a=1, b=2, dataset=COMPARED.dataset)
    folder = _job(stage, f"compare-{stage.new_id()[:12]}", spec, Launched(started=stage.now - 1800))
    folder.put_result(found)
    (folder.path / EVALUATION).mkdir()
    (folder.path / EVALUATION / "index.html").write_text("<!doctype html><title>What changed</title>")
    return folder.id


def workshop(stage: Stage) -> dict[str, str]:
    """A day of work with data: a real data set, uploads, a training at work and one that waits, others over.

    Gives the ids of the data set, of the running, failed and asking jobs.
    """
    archive = stage.root / "two.zip"
    sets = [SynthSet(disaster=each, pairs=9, size=128, seed=3) for each in Disaster]
    write_sets(archive, sets)
    dataset = import_archive(archive, stage.data / "datasets", clock=stage.clock, name="coast-2026.zip")
    uploads = stage.data / "uploads"
    uploads.mkdir(exist_ok=True)
    for number, name in enumerate(("coast-2026.zip", "islands.tar.zst")):
        upload = Upload(id=f"{number}" * 12, name=name, size=41_000_000 + number, time=stage.now - 900)
        if not number:
            upload = msgspec.structs.replace(upload, sha256=dataset.manifest.source_sha256)
        (uploads / f"{upload.id}.json").write_bytes(msgspec.json.encode(upload))
        (uploads / f"{upload.id}.zip").write_bytes(b"")
    rest = Announced(length=812_000_000, name="valley.zip", time=stage.now - 300)
    (uploads / ("c" * 12 + ".upload")).write_bytes(msgspec.json.encode(rest))
    with (uploads / ("c" * 12 + ".partial")).open("wb") as file:
        file.truncate(330_000_000)
    train = TrainJob(epochs=20, dataset=dataset.id, note="coast of 2026 added", trainer="compact")
    running = _job(stage, "train-" + "1" * 12, train, Launched(started=stage.now - 95))
    for step in range(24):
        fraction = (step + 1) / 40
        metrics = {"loss": 2.3 / (1 + step * 0.3) + 0.05 * math.sin(step), "map50": 0.72 - 0.5 / (1 + step)}
        running.add_point(Point(time=stage.now, step=step // 2 + 1, fraction=fraction, metrics=metrics))
    running.put_progress(
        Progress(
            fraction=0.6, message="epoch 12/20, loss 0.412, mAP50 0.698", eta_seconds=64, step=12, steps=20
        )
    )
    lines = [f"epoch {n}/20  loss {2.3 / n:.3f}  mAP50 {0.7 - 0.4 / n:.3f}" for n in range(1, 13)]
    running.log.write_text("\n".join(["Training on 1 thread.", *lines, ""]))
    stage.held.append(running.lock_for_child())  # it is at work
    _job(stage, "train-" + "2" * 12, TrainJob(epochs=10, note="the same, larger network", size="s"))
    failed = _job(stage, "train-" + "3" * 12, TrainJob(epochs=30), Launched(started=stage.now - 4000))
    failed.put_result(
        Result(
            state=JobState.FAILED,
            time=stage.now - 3900,
            reason="Version 3 has no best.pt to start from. Train with --base none, or from another one.",
        )
    )
    asking = _job(
        stage,
        "preprocess-" + "4" * 12,
        PrepareJob(upload=str(uploads / "lost.zip"), name="lost.zip"),
        Launched(started=stage.now - 700),
    )
    output = PrepareOutput(
        dataset="",
        splits={},
        total_images=0,
        total_polygons=0,
        pairs_found=40,
        pairs_usable=31,
        must_confirm=True,
    )
    reason = "9 of 40 pairs cannot be used. Repair the archive, or confirm."
    asking.put_result(Result(state=JobState.FAILED, time=stage.now - 690, reason=reason, output=output))
    return {"dataset": dataset.id, "running": running.id, "failed": failed.id, "asking": asking.id}


def _job(stage: Stage, name: str, spec: JobSpec, launched: Launched | None = None) -> Folder:
    folder = Folder(stage.data / "jobs" / name)
    folder.path.mkdir()
    created = stage.now - 10 if launched is None else launched.started
    folder.put_created(Created(spec=spec, time=created))
    if launched is not None:
        folder.put_launched(launched)
    return folder


class _Unsynced(Disk):
    """Ten thousand events in seconds: no test of this needs them to outlive a power cut."""

    def sync(self, path: Path) -> None:
        pass


def many_events(stage: Stage, count: int) -> None:
    """A long history: rollouts of one version that were noted on again and again, each rolled back."""
    stage.base()
    version = stage.publish("tried again and again")
    models = stage.root / "models"
    store = Store.open(models, clock=stage.clock, new_id=stage.new_id, disk=_Unsynced(models, stage.new_id))
    rollout = 0
    while store.state().seq < count:
        rollout += 1
        store.append(
            RolloutStarted(rollout=rollout, version=version, policy=Policy()),
            actor="alice via ui",
            reason=f"attempt {rollout}",
        )
        store.append(Verified(rollout=rollout, share=0.5), actor="controller", reason="all is fine")
        for note in range(40):
            stage.now += 1
            store.append(
                Noted(rollout=rollout, code=ReasonCode.DRIFT, numbers={"e_drift": float(note)}),
                actor="alice via ui" if note % 2 else "controller",
                reason=f"note {note} of rollout {rollout}",
            )
        store.append(
            RolledBack(rollout=rollout, version=version, code=ReasonCode.DRIFT),
            actor="controller",
            reason=f"attempt {rollout} failed",
        )
