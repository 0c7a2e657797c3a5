"""The int8 variant: made of a real version, measured, published, and checked like any other."""

from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest

import serinus
from serinus.artifact.manifest import Lineage, Manifest
from serinus.bootstrap import edge
from serinus.bootstrap.quantising import Quantised, quantise_version
from serinus.bootstrap.settings import Settings, load
from serinus.control.quality import QualityGate
from serinus.control.settings import ControllerSettings
from serinus.control.verify import Task, outcome_of, verify
from serinus.core.errors import Cancelled, InvalidInput
from serinus.core.ids import Digest, Version
from serinus.data.dataset import Dataset, Split
from serinus.data.golden import export_golden
from serinus.data.importing import import_archive
from serinus.data.synth.write import write_zip
from serinus.engine.session import Model
from serinus.rollout.policy import Policy
from serinus.store import Store
from serinus.training.quantise import Variant, quantise
from tests import models

BASE = Path(serinus.__file__).parent / "base"


@pytest.fixture(scope="module")
def home(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A store with the packaged base model, beside the shared data set."""
    folder = tmp_path_factory.mktemp("home")
    settings = load(model_dir=folder / "models", data_dir=dataset.path.parent.parent)
    Store.open(settings.model_dir, clock=edge.now, new_id=edge.new_id).publish(
        BASE, note="base", actor="test", initial=True
    )
    return settings


def opened(settings: Settings) -> Store:
    return Store.open(settings.model_dir, clock=edge.now, new_id=edge.new_id)


@pytest.fixture(scope="module")
def made(home: Settings, dataset: Dataset) -> Quantised:
    return quantise_version(
        home,
        Version(1),
        data=dataset.id,
        pairs=6,
        note="",
        actor="test",
        dry_run=False,
        progress=lambda *_: None,
    )


def test_the_variant_is_smaller_and_finds_the_same(home: Settings, made: Quantised) -> None:
    assert made.version == 2
    found = made.comparison
    assert found.bytes < found.parent_bytes / 2
    assert abs(found.map50 - found.parent_map50) < 0.1
    store = opened(home)
    graph = onnx.load(str(store.artifact(store.state().versions[Version(2)].digest) / "model.onnx")).graph
    counts = {kind: sum(node.op_type == kind for node in graph.node) for kind in ("Conv", "QuantizeLinear")}
    assert counts["Conv"] == 18
    assert counts["QuantizeLinear"] > 10


def test_the_manifest_tells_parent_data_and_settings(
    home: Settings, made: Quantised, dataset: Dataset
) -> None:
    store = opened(home)
    parent = store.state().versions[Version(1)].digest
    manifest = store.manifest(store.state().versions[Version(2)].digest)
    lineage, config = manifest.lineage, manifest.lineage.config
    assert (lineage.trainer, lineage.parent) == ("int8", parent)
    assert lineage.dataset == store.manifest(parent).lineage.dataset
    assert config["calibration"]["dataset"] == dataset.id
    assert 1 <= config["calibration"]["pairs"] <= 6
    assert len(config["calibration"]["sha256"]) == 64
    assert config["quantiser"]["left"] == ["/net/heat/Conv", "/net/kind/Conv", "/net/sides/Conv"]
    seen = {pair.sha256_post for split in (Split.TRAIN, Split.VAL) for pair in dataset.pairs(split)}
    assert seen <= set(lineage.tiles), "a golden tile among the calibration pairs must be noticed"
    assert set(store.manifest(parent).lineage.tiles) <= set(lineage.tiles)
    assert manifest.contract.score_threshold == made.comparison.threshold
    assert manifest.metrics["map50"] == made.comparison.map50
    assert {"best.pt", "MODEL_CARD.md"} <= set(manifest.files), "a training can start from it"
    assert config["epochs"] == store.manifest(parent).lineage.config["epochs"]
    assert "int8" in manifest.note


def checked(store: Store, gate: QualityGate, candidate: Digest) -> tuple[str, list[str]]:
    """Why the candidate is refused (or why not), and the names of the checks."""
    current = store.state().versions[Version(1)].digest
    task = Task(rollout=1, candidate=candidate, current=current, policy=Policy())
    checks = []
    for check in verify(store, task, gate, ControllerSettings()):
        checks.append(check)
        if check.failed is not None:
            break
    outcome = outcome_of(checks)
    return "" if outcome.failed is None else outcome.reason, [check.name for check in checks]


def test_the_variant_passes_and_fails_the_same_gates(
    home: Settings, made: Quantised, dataset: Dataset, tmp_path: Path
) -> None:
    store = opened(home)
    write_zip(tmp_path / "golden.zip", "synth-hurricane", 14, 128, 99)
    apart = import_archive(tmp_path / "golden.zip", tmp_path / "datasets", clock=lambda: 0.0)
    export_golden(apart, tmp_path / "golden", split=None)
    store.add_golden("apart", tmp_path / "golden", actor="test")
    gate = QualityGate(store, ControllerSettings())
    digest = store.state().versions[Version(2)].digest
    refused, names = checked(store, gate, digest)
    assert not refused
    assert "golden results" in names
    assert any("apart" in name for name in names)
    export_golden(dataset, tmp_path / "known", split=Split.VAL)
    store.add_golden("known", tmp_path / "known", actor="test")
    assert "trained" in checked(store, gate, digest)[0]


def variant_of(artifact: Path, dataset: Dataset, out: Path, manifest: Manifest, **more: object) -> Variant:
    arguments: dict[str, object] = {
        "parent": Digest("0" * 64),
        "pairs": 2,
        "trial_seconds": 60,
        "trial_memory_mb": 1024,
        "progress": lambda *_: None,
        "cancelled": lambda: False,
    }
    return quantise(artifact, manifest, dataset, out, **(arguments | more))  # type: ignore[arg-type]


def manifest_of(store: Store, version: int) -> tuple[Path, Manifest]:
    digest = store.state().versions[Version(version)].digest
    return store.artifact(digest), store.manifest(digest)


def test_what_cannot_be_quantised_is_refused_in_words(
    home: Settings, made: Quantised, dataset: Dataset, tmp_path: Path
) -> None:
    store = opened(home)
    artifact, manifest = manifest_of(store, 2)
    with pytest.raises(InvalidInput, match="quantised already"):
        variant_of(artifact, dataset, tmp_path / "twice", manifest)
    artifact, manifest = manifest_of(store, 1)
    other = msgspec.structs.replace(manifest.contract, classes=("house",))
    with pytest.raises(InvalidInput, match="classes"):
        variant_of(artifact, dataset, tmp_path / "other", msgspec.structs.replace(manifest, contract=other))
    with pytest.raises(InvalidInput, match="0 are to calibrate"):
        variant_of(artifact, dataset, tmp_path / "none", manifest, pairs=0)
    with pytest.raises(Cancelled):
        variant_of(artifact, dataset, tmp_path / "cancelled", manifest, cancelled=lambda: True)
    tiny = models.healthy(tmp_path / "tiny")
    contract = msgspec.json.decode((tiny / "contract.json").read_bytes(), type=type(manifest.contract))
    plain = Manifest(created=0.0, contract=contract, files={}, lineage=Lineage())
    with pytest.raises(InvalidInput, match="0 convolutions"):
        variant_of(tiny, dataset, tmp_path / "plain", plain)


def test_the_variant_takes_any_batch_and_size(home: Settings, made: Quantised) -> None:
    artifact, manifest = manifest_of(opened(home), 2)
    model = Model.load(artifact / "model.onnx", manifest.contract)
    images = np.random.default_rng(0).integers(0, 255, (3, 64, 96, 6), np.uint8)
    together = model.infer(images)
    alone = np.concatenate([model.infer(image[None]) for image in images])
    np.testing.assert_allclose(together, alone, atol=1e-3)
