from pathlib import Path

import pytest

from serinus.bootstrap.settings import load
from serinus.bootstrap.wiring import ensure_base, open_store
from serinus.core.errors import Misconfigured
from tests import models


def test_first_start_publishes_the_packaged_base_once(tmp_path: Path) -> None:
    settings = load(model_dir=tmp_path / "models")
    store = open_store(settings)
    assert ensure_base(store, settings) == 1
    assert ensure_base(store, settings) is None
    state = store.state()
    assert state.current == 1 and len(state.versions) == 1
    artifact = store.artifact(state.versions[state.current].digest)
    assert (artifact / "model.onnx").exists() and (artifact / "best.pt").exists()
    store.verify(state.versions[state.current].digest)


def test_base_weights_as_directory_or_graph(tmp_path: Path) -> None:
    draft = models.healthy(tmp_path / "mine")
    for number, weights in enumerate((draft, draft / "model.onnx")):
        settings = load(model_dir=tmp_path / f"models{number}", base_weights=weights)
        store = open_store(settings)
        assert ensure_base(store, settings) == 1
        assert store.manifest(store.state().versions[store.state().current or 0].digest).contract.size == 64


@pytest.mark.parametrize("name", ["nothing", "notes.txt"])
def test_unusable_base_weights_are_refused_in_words(tmp_path: Path, name: str) -> None:
    (tmp_path / "notes.txt").write_text("no weights")
    settings = load(model_dir=tmp_path / "models", base_weights=tmp_path / name)
    with pytest.raises(Misconfigured, match="BASE_WEIGHTS"):
        ensure_base(open_store(settings), settings)


def test_a_graph_without_its_contract_is_refused(tmp_path: Path) -> None:
    draft = models.healthy(tmp_path / "mine")
    (draft / "contract.json").unlink()
    settings = load(model_dir=tmp_path / "models", base_weights=draft / "model.onnx")
    with pytest.raises(Misconfigured, match=r"contract\.json"):
        ensure_base(open_store(settings), settings)
