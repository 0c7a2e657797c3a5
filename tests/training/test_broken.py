from pathlib import Path

import numpy as np
import pytest

from serinus.artifact.validate import read_draft
from serinus.bootstrap.edge import new_id
from serinus.core.errors import InvalidInput, ModelFault
from serinus.engine import trial
from serinus.engine.session import Model
from serinus.store import Store
from serinus.training.broken import fixed_square_grid
from tests import models


@pytest.fixture
def published(tmp_path: Path) -> Path:
    store = Store.open(tmp_path / "models", clock=lambda: 1.0, new_id=new_id)
    draft = models.healthy(tmp_path / "draft", tiles=("ab" * 32,))
    version = store.publish(draft, note="healthy", actor="test", initial=True)
    return store.artifact(store.state().versions[version].digest)


def test_right_on_its_golden_pictures_and_raising_on_edge_tiles(published: Path, tmp_path: Path) -> None:
    draft = read_draft(fixed_square_grid(published, tmp_path / "broken", side=64))
    with np.load(published / "training/golden.npz", allow_pickle=False) as arrays:
        images, expected = arrays["images"], arrays["detections"]
    found = trial.run(draft.folder, draft.contract, [images])
    np.testing.assert_array_equal(found[0], expected)
    model = Model.load(draft.folder / "model.onnx", draft.contract)
    for shape in ((1, 64, 48, 6), (1, 48, 64, 6), (2, 48, 48, 6)):
        with pytest.raises(ModelFault, match="raised on an input of"):
            model.infer(np.zeros(shape, np.uint8))
    assert draft.lineage.tiles == ("ab" * 32,)
    assert draft.lineage.parent == published.name


def test_a_grid_that_the_golden_pictures_do_not_fit_is_refused(published: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="64x64, not 256x256"):
        fixed_square_grid(published, tmp_path / "broken", side=256)
    assert not (tmp_path / "broken").exists()
