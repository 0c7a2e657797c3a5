"""What the compact trainer can be asked for: sizes, inputs, tiles, precision, patience, a baseline."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from serinus.artifact.manifest import Lineage
from serinus.core.errors import InvalidInput
from serinus.data.dataset import Dataset
from serinus.training import epochs
from serinus.training.baseline import FILE, Baseline
from serinus.training.network import WIDTHS, Architecture, CompactNet
from serinus.training.run import train
from serinus.training.samples import View, Window, cut, windows
from serinus.training.trainer import Inputs, Phase, Precision, Progress, Size
from tests.training.conftest import SPEC

CLASSES = ("a", "b", "c", "d")
ONE = msgspec.structs.replace(SPEC, epochs=1)


def test_each_size_is_larger_than_the_one_before() -> None:
    counts = [
        sum(p.numel() for p in CompactNet(Architecture(classes=CLASSES, widths=WIDTHS[size])).parameters())
        for size in Size
    ]
    assert counts == sorted(counts)
    assert [round(count / 1e6, 1) for count in counts] == [0.4, 1.1, 2.9]


@pytest.mark.parametrize("size", [Size.S, Size.M])
def test_the_larger_sizes_train_and_publish(dataset: Dataset, tmp_path: Path, size: Size) -> None:
    draft = train(msgspec.structs.replace(ONE, size=size), dataset, tmp_path / "draft")
    described = msgspec.json.decode((draft / "best.json").read_bytes(), type=Architecture)
    assert described.widths == WIDTHS[size]


def test_a_base_of_another_size_is_refused(dataset: Dataset, draft: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="another network: widths"):
        train(msgspec.structs.replace(ONE, size=Size.S, base=draft), dataset, tmp_path / "draft")


def test_tiles_cover_the_picture_and_overlap(dataset: Dataset) -> None:
    pair = msgspec.structs.replace(dataset.pairs()[0], width=1024, height=700)
    covered = np.zeros((700, 1024), np.int64)
    for tile in windows(pair, 1024, 300):
        assert tile is not None
        sway = 300 // 8 // 2
        top, left = tile.y + sway * bool(tile.y), tile.x + sway * bool(tile.x)
        covered[top : tile.y + 300, left : tile.x + 300] += 1
    assert covered.min() >= 1, "wherever chance moves a tile, nothing is left out"
    assert windows(pair, 1024, 1024) == windows(pair, 256, 256) == (None,)


def test_a_tile_cuts_pre_and_post_alike_and_clips_buildings() -> None:
    rows, columns = np.mgrid[:400, :500].astype(np.uint8)
    half = np.dstack([rows, columns, rows])
    boxes = np.array([[100, 100, 140, 140], [0, 0, 30, 30], [160, 90, 220, 130]], np.float32)
    seen = View(np.dstack([half, half]), boxes, np.arange(3))
    found = cut(seen, Window(64, 64, 128), np.random.default_rng(3))
    np.testing.assert_array_equal(found.image[..., :3], found.image[..., 3:])
    assert found.image.shape == (128, 128, 6)
    y, x = found.image[0, 0, :2].tolist()
    np.testing.assert_array_equal(half[y : y + 128, x : x + 128], found.image[..., :3])
    assert found.labels.tolist() == [0, 2], "of building 1 nothing is in the tile"
    np.testing.assert_allclose(found.boxes[0], boxes[0] - [x, y, x, y])
    np.testing.assert_allclose(found.boxes[1], [160 - x, 90 - y, 128, 130 - y])


def test_training_in_tiles_serves_whole_pictures(dataset: Dataset, tmp_path: Path) -> None:
    told: list[Progress] = []
    draft = train(msgspec.structs.replace(ONE, tile=64), dataset, tmp_path / "draft", progress=told.append)
    pairs = len(dataset.pairs("train"))
    assert next(one.batches for one in told if one.batches) == -(-pairs * 4 // SPEC.batch)
    assert b'"size":96' in (draft / "contract.json").read_bytes()


def test_mixed_precision_learns_and_exports_float32(dataset: Dataset, tmp_path: Path) -> None:
    mine: list[Progress] = []
    spec = msgspec.structs.replace(SPEC, precision=Precision.MIXED)
    train(spec, dataset, tmp_path / "draft", progress=mine.append)
    rows = [one.row for one in mine if one.row]
    assert rows[1].loss < rows[0].loss


@pytest.mark.parametrize(
    ("precision", "expected"),
    [
        (Precision.AUTO, torch.float32),
        (Precision.FLOAT32, torch.float32),
        (Precision.MIXED, torch.bfloat16),
    ],
)
def test_arithmetic_on_the_cpu(precision: Precision, expected: torch.dtype) -> None:
    assert epochs.arithmetic(precision, torch.device("cpu")) is expected


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_the_shortest_trainings_end_well(dataset: Dataset, tmp_path: Path, steps: int) -> None:
    """Five steps in all divided by zero once."""
    batch = -(-len(dataset.pairs("train")) // steps)
    told: list[Progress] = []
    train(msgspec.structs.replace(ONE, batch=batch), dataset, tmp_path / "draft", progress=told.append)
    assert max(one.batches for one in told) == steps


def test_it_stops_when_nothing_gets_better(dataset: Dataset, tmp_path: Path) -> None:
    """A patience of one: the first epoch that is worse than the best is the last."""
    told: list[Progress] = []
    spec = msgspec.structs.replace(SPEC, epochs=40, patience=1, img_size=32)
    draft = train(spec, dataset, tmp_path / "draft", progress=told.append)
    rows = [one.row for one in told if one.row]
    assert len(rows) < 40
    assert rows[-1].map50 < max(row.map50 for row in rows)
    summary = msgspec.json.decode((draft / "training/summary.json").read_bytes())
    assert summary["epochs"] == len(rows)
    assert summary["best_epoch"] == len(rows) - 1


def test_the_baseline_says_who_beats_whom(dataset: Dataset, draft: Path, tmp_path: Path) -> None:
    made = train(SPEC, dataset, tmp_path / "draft", with_baseline=True)
    assert (made / "model.onnx").read_bytes() == (draft / "model.onnx").read_bytes()
    found = msgspec.json.decode((made / FILE).read_bytes(), type=Baseline)
    assert found.pictures == len(dataset.pairs("test"))
    assert found.map50.low <= found.map50.difference <= found.map50.high
    assert "the post-only baseline: mAP50" in found.words
    assert not (draft / FILE).exists()


def test_a_baseline_is_told_as_the_second_half_and_not_as_the_version_s_own(
    dataset: Dataset, tmp_path: Path
) -> None:
    told: list[Progress] = []
    train(SPEC, dataset, tmp_path / "draft", with_baseline=True, progress=told.append)
    fractions = [one.fraction for one in told]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert [one.row.epoch for one in told if one.row] == [1, 2]
    second = [one for one in told if one.phase is Phase.TRAINING and one.fraction > 0.5]
    assert len(second) == sum(one.phase is Phase.TRAINING for one in told) / 2
    assert all(one.words.startswith("post-only baseline: epoch") for one in second)
    assert all(one.loss is None and one.map50 is None for one in second)


@pytest.fixture
def with_post_only(dataset: Dataset) -> Dataset:
    """The same, but that half of the training pairs lack their pre picture."""
    manifest = dataset.manifest
    lacking = {pair.key for pair in dataset.pairs("train")[::2]}
    alone = [
        msgspec.structs.replace(pair, pre="", sha256_pre="") for pair in manifest.pairs if pair.key in lacking
    ]
    both = [pair for pair in manifest.pairs if pair.key not in lacking]
    changed = msgspec.structs.replace(manifest, pairs=tuple(both), post_only=tuple(alone), sha256="0" * 64)
    return Dataset(dataset.path, changed)


def test_pairs_without_a_pre_picture_are_learned_by_who_looks_at_post_alone(
    dataset: Dataset, with_post_only: Dataset, tmp_path: Path
) -> None:
    def learned(inputs: Inputs) -> set[str]:
        spec = msgspec.structs.replace(ONE, inputs=inputs)
        draft = train(spec, with_post_only, tmp_path / inputs)
        return set(msgspec.json.decode((draft / "lineage.json").read_bytes(), type=Lineage).tiles)

    alone = {pair.sha256_post for pair in with_post_only.post_only("train")}
    assert alone <= learned(Inputs.POST)
    assert not alone & learned(Inputs.PRE_POST)


def test_the_baseline_learns_from_the_same_pairs(with_post_only: Dataset, tmp_path: Path) -> None:
    told: list[Progress] = []
    train(ONE, with_post_only, tmp_path / "draft", with_baseline=True, progress=told.append)
    assert len({one.batches for one in told if one.batches}) == 1


def test_what_it_does_not_know_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    for change, words in (({"family": "yolo11"}, "no family 'yolo11'"), ({"tile": 8}, "Tiles of 8 pixels")):
        with pytest.raises(InvalidInput, match=words):
            train(msgspec.structs.replace(ONE, **change), dataset, tmp_path / "draft")
