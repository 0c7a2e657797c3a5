"""The promises about what is learned, on the real sizes. Minutes: only in `make test-long`."""

from collections.abc import Callable
from importlib.resources import as_file, files
from pathlib import Path

import msgspec
import pytest

from serinus.artifact.manifest import Contract
from serinus.data.dataset import Dataset, load_pair
from serinus.data.importing import import_archive
from serinus.data.synth.scenery import Disaster
from serinus.data.synth.write import Labels, SynthSet, write_sets
from serinus.engine.session import Model
from serinus.evaluation.bootstrap import Bound, compare
from serinus.imagery.stack import fit, to_original
from serinus.training.run import train
from serinus.training.trainer import TrainSpec

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]
A, B = Disaster("synth-hurricane"), Disaster("synth-wildfire")
Make = Callable[..., Dataset]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    folder = tmp_path_factory.mktemp("data")

    def made(name: str, *sets: SynthSet) -> Dataset:
        write_sets(folder / f"{name}.zip", sets)
        return import_archive(folder / f"{name}.zip", folder / "datasets", clock=lambda: 0.0)

    return made


@pytest.fixture(scope="module")
def first(make: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """From scratch on A, as the documents promise: 180 pairs of 256 px, 10 epochs, batch 8."""
    dataset = make("a", SynthSet(disaster=A, pairs=180, seed=7))
    return train(TrainSpec(epochs=10, batch=8), dataset, tmp_path_factory.mktemp("first") / "draft")


def _compare(golden: Dataset, old: Path, new: Path) -> Bound:
    truth, found = [], ([], [])
    for pair in golden.pairs():
        pre, post, boxes, labels = load_pair(golden, pair)
        truth.append((boxes, labels))
        for answers, draft in zip(found, (old, new), strict=True):
            contract = msgspec.json.decode((draft / "contract.json").read_bytes(), type=Contract)
            model = Model.load(draft / "model.onnx", contract)
            fitted = fit(pre, post, size=contract.size, stride=contract.stride)
            answers.append(to_original(model.infer(fitted.image)[0], fitted))
    return compare(truth, *found, golden.manifest.classes).map50()


def test_it_learns_the_first_disaster(first: Path) -> None:
    metrics = msgspec.json.decode((first / "metrics.json").read_bytes(), type=dict[str, float])
    assert metrics["map50"] >= 0.75


def test_the_second_disaster_is_learned_in_a_few_epochs_without_losing_the_first(
    make: Make, first: Path, tmp_path: Path
) -> None:
    both = make("ab", SynthSet(disaster=A, pairs=90, seed=7), SynthSet(disaster=B, pairs=90, seed=7))
    tuned = train(TrainSpec(epochs=4, batch=8, base=first), both, tmp_path / "tuned")
    on_b = _compare(make("gb", SynthSet(disaster=B, pairs=40, seed=99)), first, tuned)
    assert on_b.low > 0.05
    on_a = _compare(make("ga", SynthSet(disaster=A, pairs=40, seed=99)), first, tuned)
    assert on_a.difference >= -0.02


def test_shuffled_labels_hurt_clearly(make: Make, first: Path, tmp_path: Path) -> None:
    wrong = make("s", SynthSet(disaster=A, pairs=120, seed=11, labels=Labels.SHUFFLED))
    spoiled = train(TrainSpec(epochs=4, batch=8, base=first), wrong, tmp_path / "spoiled")
    bound = _compare(make("ga", SynthSet(disaster=A, pairs=40, seed=99)), first, spoiled)
    assert bound.difference < -0.1
    assert bound.low < -0.05


def test_the_base_is_a_start_worth_having(make: Make, tmp_path: Path) -> None:
    dataset = make("small", SynthSet(disaster=A, pairs=40, seed=5))
    spec = TrainSpec(epochs=2, batch=8)
    with as_file(files("serinus") / "base") as base:
        tuned = train(msgspec.structs.replace(spec, base=base), dataset, tmp_path / "tuned")
    scratch = train(spec, dataset, tmp_path / "scratch")
    golden = make("ga", SynthSet(disaster=A, pairs=40, seed=99))
    assert _compare(golden, scratch, tuned).low > 0.1
