"""What a training takes when no data set is named; real archives, a real store."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from serinus.artifact.keys import new_pair
from serinus.bootstrap.datasets import prepare
from serinus.bootstrap.settings import load
from serinus.bootstrap.signing import trusted
from serinus.bootstrap.training import Published, Wish, _dataset, train_and_publish
from serinus.bootstrap.wiring import open_store
from serinus.control.registry import versions
from serinus.core.enums import JobState
from serinus.core.errors import Misconfigured, NotFound
from serinus.data.golden import export_golden
from serinus.data.synth.write import write_zip
from serinus.jobs.folder import Folder
from serinus.jobs.model import Progress
from tests import models
from tests.data.archives import pack, pairs


def test_the_newest_data_set_is_none_that_became_a_golden_set(tmp_path: Path) -> None:
    settings = load(model_dir=tmp_path / "models", data_dir=tmp_path / "data")
    store = open_store(settings)

    def imported(disaster: str) -> str:
        archive = pack(tmp_path / f"{disaster}.zip", pairs(12, disaster=disaster))
        return prepare(settings, str(archive), job=None, progress=lambda *_: None).id

    golden = imported("coast")
    export_golden(_dataset(settings, store, "newest"), tmp_path / "golden", split=None)
    store.add_golden("coast", tmp_path / "golden", actor="alice")
    with pytest.raises(NotFound, match="no data set to train on"):
        _dataset(settings, store, "newest")
    assert _dataset(settings, store, golden).id == golden
    other = imported("hills")
    assert _dataset(settings, store, "newest").id == other


def test_a_training_signs_what_it_publishes_and_says_early_that_it_could_not(tmp_path: Path) -> None:
    private, public, _ = new_pair(tmp_path / "release", bytes(32))
    settings = load(
        model_dir=tmp_path / "models",
        data_dir=tmp_path / "data",
        base_weights=models.healthy(tmp_path / "base"),
        signing_key=private,
        trusted_keys=(public,),
        require_signature=True,
        epochs=1,
        batch=4,
        img_size=64,
        train_threads=1,
    )
    write_zip(tmp_path / "a.zip", "synth-hurricane", 14, 128, 1)
    told: list[str] = []

    def trained() -> Published:
        return train_and_publish(
            settings,
            Wish(base="none", note="signed"),
            data="newest",
            upload=None,
            job=None,
            progress=lambda done, total, words: told.append(words),
        )

    prepare(settings, str(tmp_path / "a.zip"), job=None, progress=lambda *_: None)
    private.chmod(0o644)
    with pytest.raises(Misconfigured, match="every user"):
        trained()
    assert told == [] and open_store(settings).state().versions == {}, "before a minute was spent"
    private.chmod(0o600)
    assert trained().version == 2
    found = versions(open_store(settings), trusted(settings))
    assert [one.signature.name for one in found] == ["release", "release"], "the first version, too"


def test_an_epoch_at_work_is_not_told_as_completed(tmp_path: Path) -> None:
    folders = {"model_dir": tmp_path / "models", "data_dir": tmp_path / "data"}
    settings = load(**folders, epochs=3, batch=4, img_size=64, train_threads=1)
    write_zip(tmp_path / "a.zip", "synth-hurricane", 14, 128, 1)
    prepare(settings, str(tmp_path / "a.zip"), job=None, progress=lambda *_: None)
    job = Folder(tmp_path / "train-0123456789ab")
    job.path.mkdir()
    seen: list[tuple[int, Progress]] = []

    def look(done: float, total: float, words: str) -> None:
        told = job.progress()
        if words.startswith("epoch") and told is not None:
            seen.append((int(re.findall(r"\d+", words)[0]), told))

    wish = Wish(base="none")
    train_and_publish(settings, wish, data="newest", upload=None, job=job.path, progress=look)
    assert {epoch for epoch, _ in seen} == {1, 2, 3}
    assert all(told.step < epoch for epoch, told in seen)
    last = job.progress()
    assert last is not None and last.step == 3


def test_the_log_of_a_training_tells_of_each_epoch(tmp_path: Path) -> None:
    """It runs where nobody sees a progress bar."""
    folders = {"MODEL_DIR": str(tmp_path / "models"), "DATA_DIR": str(tmp_path / "data")}
    settings = load(model_dir=tmp_path / "models", data_dir=tmp_path / "data")
    write_zip(tmp_path / "a.zip", "synth-hurricane", 14, 128, 1)
    data = prepare(settings, str(tmp_path / "a.zip"), job=None, progress=lambda *_: None)
    job = Folder(tmp_path / "train-0123456789ab")
    job.path.mkdir()
    words = ["--epochs", "2", "--batch", "4", "--img-size", "64", "--base", "none", "--job", str(job.path)]
    done = subprocess.run(
        [sys.executable, "-m", "serinus", "train", "--data", data.id, *words],
        env=os.environ | folders | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    told = re.findall(r"epoch (\d) of 2: loss [\d.]+, mAP50 0\.\d{3}, precision", done.stderr)
    assert told == ["1", "2"]
    result = job.result()
    assert result is not None and result.state is JobState.SUCCEEDED
