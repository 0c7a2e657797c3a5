"""Imports from a real registry in a SQLite file, without a server."""

import json
import pickle
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest

from serinus.bootstrap.settings import load
from serinus.bootstrap.tracking import import_version
from serinus.core.errors import InvalidInput, NotFound, TooLarge
from serinus.engine import trial
from serinus.store import Store
from tests import models
from tests.tracking.shop import Shop


def take(
    shop: Shop, store: Store, name: str, *, contract: Path | None = None, max_mb: float = 50, uri: str = ""
) -> int:
    settings = load(mlflow_max_mb=max_mb)
    moved: list[float] = []
    version, _ = import_version(
        store,
        settings,
        uri or shop.uri,
        name,
        contract=contract,
        note="",
        user="alice",
        progress=lambda done, total, words: moved.append(done),
    )
    assert moved, "progress was told"
    return version


def flavour(folder: Path, flavours: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "MLmodel").write_text(f"flavors:\n{flavours}")
    return folder


ONNX = "  onnx:\n    data: model.onnx\n  python_function:\n    loader_module: mlflow.onnx\n"


def test_a_folder_with_its_contract_becomes_a_version(shop: Shop, store: Store, tmp_path: Path) -> None:
    draft = models.healthy(tmp_path / "draft", seed=3, tiles=["a" * 64])
    (draft / "metrics.json").unlink()
    (draft / "notes.pkl").write_bytes(pickle.dumps({"never": "fetched"}))
    number = shop.register(
        "roofs", draft, metrics={"mAP50": 0.61, "loss": float("nan")}, params={"lr": "0.01"}
    )
    shop.client.set_registered_model_alias("roofs", "champion", number)
    version = take(shop, store, "roofs/@champion")

    record = store.state().versions[version]
    manifest = store.manifest(record.digest)
    assert manifest.metrics["map50"] == 0.61 and "loss" not in manifest.metrics
    assert manifest.lineage.trainer == "mlflow"
    assert manifest.lineage.tiles == ("a" * 64,), "what golden tiles are checked against is kept"
    origin = manifest.lineage.config["mlflow"]
    assert (origin["model"], origin["version"], origin["tracking_uri"]) == ("roofs", number, shop.uri)
    assert manifest.lineage.config["lr"] == "0.01"
    assert record.note == f"MLflow roofs/{number}"
    assert "training/golden.npz" in manifest.files and "notes.pkl" not in manifest.files
    assert next(store.events()).actor == "alice via mlflow import"


def test_an_onnx_flavour_with_weights_beside_it_runs(shop: Shop, store: Store, tmp_path: Path) -> None:
    g = models.Graph()
    pixels = g.node("Add", models._pixels(g), g.const(np.zeros((1, 1, 1, 6))))
    model = g.model(models._detect(g, pixels, 0))
    folder = flavour(tmp_path / "logged", ONNX)
    onnx.save_model(
        model, str(folder / "model.onnx"), save_as_external_data=True, location="weights", size_threshold=50
    )
    shop.register("roofs", folder)
    version = take(shop, store, "roofs/latest")

    digest = store.state().versions[version].digest
    manifest = store.manifest(digest)
    assert {"model.onnx", "weights"} <= manifest.files.keys()
    assert manifest.lineage.config["mlflow"]["contract"] == "derived from the graph"
    picture = np.zeros((64, 64, 6), np.uint8)
    (found,) = trial.run(store.artifact(digest), manifest.contract, [picture])
    assert found.shape[1] == 6


def test_a_contract_by_hand_comes_first(shop: Shop, store: Store, tmp_path: Path) -> None:
    draft = models.healthy(tmp_path / "draft")
    contract = msgspec.json.decode((draft / "contract.json").read_bytes())
    mine = tmp_path / "mine.json"
    mine.write_text(json.dumps({**contract, "score_threshold": 0.77}))
    number = shop.register("roofs", draft)
    version = take(shop, store, f"roofs/{number}", contract=mine)
    assert store.manifest(store.state().versions[version].digest).contract.score_threshold == 0.77


def test_a_pickle_alone_is_refused_unopened(shop: Shop, store: Store, tmp_path: Path) -> None:
    folder = flavour(tmp_path / "logged", "  python_function:\n    loader_module: mlflow.sklearn\n")

    class Trap:
        def __reduce__(self) -> object:
            return (Path.touch, (tmp_path / "sprung",))

    (folder / "model.pkl").write_bytes(pickle.dumps(Trap()))
    shop.register("roofs", folder)
    with pytest.raises(InvalidInput, match=r"no ONNX graph \(flavours python_function.*model.pkl") as refused:
        take(shop, store, "roofs/1")
    assert "mlflow.onnx.log_model" in refused.value.remedy
    assert not (tmp_path / "sprung").exists() and not store.state().versions


def test_a_foreign_graph_is_refused_by_name(shop: Shop, store: Store, tmp_path: Path) -> None:
    from tests.engine.test_contract import graph

    folder = flavour(tmp_path / "logged", ONNX)
    graph(folder / "model.onnx", ["N", 3, "H", "W"])
    shop.register("roofs", folder)
    with pytest.raises(InvalidInput, match=r"inputs are 'pixels' uint8 \[N, 3, H, W\]"):
        take(shop, store, "roofs/1")
    assert not store.state().versions


@pytest.mark.parametrize("escape", ["../../secret", "/etc/passwd", "sub/../../x"])
def test_a_graph_cannot_name_files_elsewhere(shop: Shop, store: Store, tmp_path: Path, escape: str) -> None:
    model = models.healthy_graph()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=escape)
    folder = flavour(tmp_path / "logged", ONNX)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    shop.register("roofs", folder)
    with pytest.raises(InvalidInput):
        take(shop, store, "roofs/1")
    assert not store.state().versions


def test_a_flavour_cannot_name_files_elsewhere(shop: Shop, store: Store, tmp_path: Path) -> None:
    folder = flavour(tmp_path / "logged", "  onnx:\n    data: ../../../etc/passwd\n")
    shop.register("roofs", folder)
    with pytest.raises(InvalidInput):
        take(shop, store, "roofs/1")


def test_a_description_cannot_make_objects(shop: Shop, store: Store, tmp_path: Path) -> None:
    folder = flavour(tmp_path / "logged", f"  onnx: !!python/object/apply:os.mkdir ['{tmp_path}/sprung']\n")
    shop.register("roofs", folder)
    with pytest.raises(InvalidInput, match="no YAML"):
        take(shop, store, "roofs/1")
    assert not (tmp_path / "sprung").exists()


def test_over_the_limit_is_refused_before_it_is_fetched(shop: Shop, store: Store, tmp_path: Path) -> None:
    draft = models.healthy(tmp_path / "draft")
    (draft / "best.pt").write_bytes(bytes(3_000_000))
    shop.register("roofs", draft)
    with pytest.raises(TooLarge, match=r"model/?best.pt|best.pt"):
        take(shop, store, "roofs/1", max_mb=2)
    assert not store.state().versions


def test_what_is_not_there_is_said(shop: Shop, store: Store, tmp_path: Path) -> None:
    shop.register("roofs", models.healthy(tmp_path / "draft"))
    for name in ("roofs/9", "roofs/@champion", "walls/1", "walls/latest"):
        with pytest.raises(NotFound):
            take(shop, store, name)
    missing = tmp_path / "typo.db"
    with pytest.raises(NotFound, match="does not exist"):
        take(shop, store, "roofs/1", uri=f"sqlite:///{missing}")
    assert not missing.exists(), "a mistyped path does not become a new store"
