import csv
from collections.abc import Callable
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest

from serinus.artifact.manifest import Lineage
from serinus.artifact.validate import read_draft
from serinus.bootstrap.edge import new_id
from serinus.core.errors import Cancelled, Conflict, InvalidInput, ModelFault
from serinus.core.ids import Digest
from serinus.data.dataset import Dataset
from serinus.store import Store
from serinus.training.compact import Compact
from serinus.training.reporting import Summary
from serinus.training.run import train
from serinus.training.trainer import Phase, Progress, Trained, TrainSpec
from tests.training.conftest import SPEC


def test_a_draft_is_complete(draft: Path) -> None:
    found = read_draft(draft)
    assert set(found.payload) == {
        "model.onnx",
        "best.pt",
        "best.json",
        *(f"training/{n}" for n in ("golden.npz", "results.csv", "summary.json")),
        *(f"training/{n}" for n in ("loss.png", "confusion_matrix.png", "examples.jpg")),
        "MODEL_CARD.md",
    }
    assert found.contract.size == 96
    assert found.contract.stride == 16
    assert {"map50", "map50_95", "precision", "recall", "train_epochs"} <= set(found.metrics)
    assert found.metrics["train_epochs"] == 2


def test_the_store_takes_a_draft(draft: Path, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "models", clock=lambda: 1.0, new_id=new_id)
    assert store.publish(draft, note="first", actor="test", initial=True) == 1


def test_lineage_names_the_pictures_it_was_trained_on(draft: Path, dataset: Dataset) -> None:
    lineage = msgspec.json.decode((draft / "lineage.json").read_bytes(), type=Lineage)
    used = {pair.sha256_post for split in ("train", "val") for pair in dataset.pairs(split)}
    assert set(lineage.tiles) == used
    assert not used & {pair.sha256_post for pair in dataset.pairs("test")}
    assert lineage.dataset == dataset.id
    assert lineage.trainer == "compact"
    assert lineage.config["seed"] == SPEC.seed
    assert lineage.config["dataset_sha256"] == dataset.manifest.sha256
    assert lineage.config["pairs"]["train"] == len(dataset.pairs("train"))
    assert len(lineage.config["code_sha256"]) == 64
    card = (draft / "MODEL_CARD.md").read_text()
    assert dataset.manifest.sha256 in card
    assert "](training/examples.jpg)" in card


def test_golden_pictures_are_not_from_the_training_split(draft: Path, dataset: Dataset) -> None:
    with np.load(draft / "training/golden.npz", allow_pickle=False) as arrays:
        images, detections = arrays["images"], arrays["detections"]
    assert images.dtype == np.uint8
    assert images.shape[1:] == (96, 96, 6)
    assert detections.shape == (len(images), 100, 6)
    assert len(images) == min(4, len(dataset.pairs("test")))


def test_results_and_pictures_for_people(draft: Path) -> None:
    with (draft / "training/results.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert float(rows[1]["loss"]) < float(rows[0]["loss"])
    summary = msgspec.json.decode((draft / "training/summary.json").read_bytes(), type=Summary)
    assert summary.epochs == 2
    assert summary.best["map50"] == pytest.approx(max(float(row["map50"]) for row in rows), abs=1e-5)
    for name in ("loss.png", "confusion_matrix.png", "examples.jpg"):
        picture = cv2.imread(str(draft / "training" / name))
        assert picture is not None
        assert picture.std() > 5


def test_progress_rises_to_the_end(draft: Path, told: list[Progress]) -> None:
    fractions = [progress.fraction for progress in told]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    training = [progress for progress in told if progress.phase is Phase.TRAINING]
    assert training[-1].eta_seconds == 0.0
    assert all(progress.loss is not None for progress in training)
    assert [p.phase for p in told][-3:] == [Phase.MEASURING, Phase.EXPORTING, Phase.CHECKING]


def test_the_same_seed_gives_the_same_model(draft: Path, dataset: Dataset, tmp_path: Path) -> None:
    again = train(SPEC, dataset, tmp_path / "again")
    assert (again / "metrics.json").read_bytes() == (draft / "metrics.json").read_bytes()
    assert (again / "model.onnx").read_bytes() == (draft / "model.onnx").read_bytes()
    other = train(msgspec.structs.replace(SPEC, seed=4, epochs=1), dataset, tmp_path / "other")
    assert (other / "model.onnx").read_bytes() != (draft / "model.onnx").read_bytes()


def test_fine_tuning_starts_from_the_base(draft: Path, dataset: Dataset, tmp_path: Path) -> None:
    parent = Digest("ab" * 32)
    told: list[Progress] = []
    spec = msgspec.structs.replace(SPEC, base=draft, epochs=1)
    tuned = train(spec, dataset, tmp_path / "tuned", parent=parent, progress=told.append)
    scratch: list[Progress] = []
    train(msgspec.structs.replace(SPEC, epochs=1), dataset, tmp_path / "scratch", progress=scratch.append)
    assert _first_loss(told) < _first_loss(scratch)
    lineage = msgspec.json.decode((tuned / "lineage.json").read_bytes(), type=Lineage)
    assert lineage.parent == parent


def _first_loss(told: list[Progress]) -> float:
    return next(progress.loss for progress in told if progress.loss is not None)


def test_what_the_base_has_seen_is_inherited(draft: Path, dataset: Dataset, tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    for name in ("best.pt", "best.json"):
        (base / name).write_bytes((draft / name).read_bytes())
    (base / "lineage.json").write_bytes(msgspec.json.encode(Lineage(tiles=("cd" * 32,))))
    tuned = train(msgspec.structs.replace(SPEC, base=base, epochs=1), dataset, tmp_path / "tuned")
    lineage = msgspec.json.decode((tuned / "lineage.json").read_bytes(), type=Lineage)
    assert "cd" * 32 in lineage.tiles
    assert set(lineage.tiles) > {pair.sha256_post for pair in dataset.pairs("train")}


def _cancel_after(steps: int) -> Callable[[], bool]:
    asked = iter(range(1_000_000))
    return lambda: next(asked) >= steps


@pytest.mark.parametrize("steps", [0, 1, 4])
def test_a_cancelled_training_leaves_nothing(dataset: Dataset, tmp_path: Path, steps: int) -> None:
    with pytest.raises(Cancelled):
        train(SPEC, dataset, tmp_path / "draft", cancelled=_cancel_after(steps))
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_leaves_nothing(dataset: Dataset, tmp_path: Path) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.phase is Phase.EXPORTING:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(msgspec.structs.replace(SPEC, epochs=1), dataset, tmp_path / "draft", progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_draft_is_not_overwritten(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(Conflict, match="exists already"):
        train(SPEC, dataset, tmp_path)


@pytest.mark.parametrize("change", [{"epochs": 0}, {"batch": 0}])
def test_nothing_to_do_is_refused(dataset: Dataset, tmp_path: Path, change: dict[str, int]) -> None:
    with pytest.raises(InvalidInput, match="train nothing"):
        train(msgspec.structs.replace(SPEC, **change), dataset, tmp_path / "draft")
    assert list(tmp_path.iterdir()) == []


class _Forger:
    """Trains for real, then changes its golden results to what its model does not answer."""

    name = "forger"
    licence = "CC0-1.0"
    summary = "Lies."

    def train(
        self,
        spec: TrainSpec,
        dataset: Dataset,
        out: Path,
        *,
        progress: Callable[[Progress], None],
        cancelled: Callable[[], bool],
        checkpoint: Path | None,
    ) -> Trained:
        trained = Compact().train(
            spec, dataset, out, progress=progress, cancelled=cancelled, checkpoint=checkpoint
        )
        golden = out / "training/golden.npz"
        with np.load(golden, allow_pickle=False) as arrays:
            images, detections = arrays["images"], arrays["detections"].copy()
        detections[0, 0] = (10, 10, 30, 30, 0.99, 3)
        np.savez(golden, images=images, detections=detections)
        return trained


def test_an_export_that_differs_from_its_golden_results_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    spec = msgspec.structs.replace(SPEC, epochs=1)
    with pytest.raises(ModelFault, match="differs from torch on golden picture 0: a detection is missing"):
        train(spec, dataset, tmp_path / "draft", trainer=_Forger())
    assert list(tmp_path.iterdir()) == []
