"""What a training takes when no data set is named; real archives, a real store."""

from pathlib import Path

import pytest

from serinus.bootstrap.settings import load
from serinus.bootstrap.training import _dataset, import_archive
from serinus.bootstrap.wiring import open_store
from serinus.core.errors import NotFound
from serinus.data.golden import export_golden
from tests.data.archives import pack, pairs


def test_the_newest_data_set_is_none_that_became_a_golden_set(tmp_path: Path) -> None:
    settings = load(model_dir=tmp_path / "models", data_dir=tmp_path / "data")
    store = open_store(settings)

    def imported(disaster: str) -> str:
        archive = pack(tmp_path / f"{disaster}.zip", pairs(12, disaster=disaster))
        return import_archive(settings, archive, confirm=False, seed=0, job=None, progress=lambda *_: None).id

    golden = imported("coast")
    export_golden(_dataset(settings, store, "newest"), tmp_path / "golden", split=None)
    store.add_golden("coast", tmp_path / "golden", actor="alice")
    with pytest.raises(NotFound, match="no data set to train on"):
        _dataset(settings, store, "newest")
    assert _dataset(settings, store, golden).id == golden
    other = imported("hills")
    assert _dataset(settings, store, "newest").id == other
