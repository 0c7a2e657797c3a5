"""A training that is killed goes on where it was, and comes to exactly what it would have come to."""

import csv
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from serinus.core.errors import Cancelled, Corrupt
from serinus.data.dataset import Dataset
from serinus.training import resumption
from serinus.training.run import train
from serinus.training.trainer import Phase, Progress, TrainSpec
from tests.training.conftest import SPEC

CHILD = """
import sys
from pathlib import Path
import torch
from serinus.data.dataset import Dataset
from serinus.training.compact import Compact
from serinus.training.run import train
from tests.training.test_resume import KILLED
torch.set_num_threads(1)
data, out, checkpoints, steps = sys.argv[1:]
data = Path(data)
def tell(at):
    print(at.epoch, at.batch, at.note, flush=True)
trainer = Compact(checkpoint_seconds=float(steps))
dataset = Dataset.open(data.parent, data.name)
train(KILLED, dataset, Path(out), trainer=trainer, checkpoints=Path(checkpoints), progress=tell)
"""
KILLED = TrainSpec(epochs=4, batch=3, img_size=96, seed=11, threads=1, tile=64)


def _rows(draft: Path) -> list[dict[str, str]]:
    with (draft / "training/results.csv").open(encoding="utf-8") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def _alike(ours: Path, theirs: Path) -> None:
    assert _rows(ours) == _rows(theirs)
    for name in ("model.onnx", "metrics.json", "contract.json"):
        assert (ours / name).read_bytes() == (theirs / name).read_bytes()


@pytest.fixture(scope="module")
def whole(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The training that nobody killed."""
    return train(KILLED, dataset, tmp_path_factory.mktemp("whole") / "draft")


def _start(dataset: Dataset, folder: Path, every: float) -> subprocess.Popen[str]:
    words = (dataset.path, folder / "draft", folder / "kept", every)
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, *map(str, words)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        env=os.environ | {"PYTHONPATH": "src:.", "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.processes
@pytest.mark.parametrize("every", [0.0, 1e9], ids=["within epochs", "after epochs"])
def test_kill_9_in_the_middle_of_an_epoch(
    dataset: Dataset, whole: Path, tmp_path: Path, every: float
) -> None:
    child = _start(dataset, tmp_path, every)
    assert child.stdout is not None
    for line in child.stdout:
        if line.split()[:2] == ["3", "2"]:
            break
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not (tmp_path / "draft").exists()
    again = _start(dataset, tmp_path, every)
    said = again.communicate(timeout=120)[0]
    assert again.returncode == 0
    assert "going on with epoch 3, after" in said
    steps = int(said.split("after ")[1].split()[0])
    assert steps == 0 if every else steps > 0
    assert "1 1" not in said, "it began anew"
    _alike(whole, tmp_path / "draft")
    assert list((tmp_path / "kept").iterdir()) == [], "what is finished needs no checkpoint"


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_twenty_kills_at_random_moments(dataset: Dataset, whole: Path, tmp_path: Path) -> None:
    """At any moment from its start to its last write; after each, what is there can be gone on from."""
    chance = random.Random(20)
    started = time.monotonic()
    child = _start(dataset, tmp_path, 0.0)
    child.communicate()
    length = time.monotonic() - started
    resumed = 0
    for number in range(20):
        folder = tmp_path / str(number)
        folder.mkdir()
        moment = chance.uniform(0.3, 1.0) * length
        child = _start(dataset, folder, 0.0)
        try:
            child.communicate(timeout=moment)
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
            child.communicate()
        if not (folder / "draft").exists():
            again = _start(dataset, folder, 0.0)
            said = again.communicate()[0]
            assert again.returncode == 0
            resumed += "going on with" in said or "all epochs were done" in said
        _alike(whole, folder / "draft")
    assert resumed > 5


def _train(dataset: Dataset, folder: Path, name: str, **more: Any) -> Path:
    return train(SPEC, dataset, folder / name, checkpoints=folder / "kept", **more)


def _until(epoch: int, batch: int):
    """Cancels when that step is done."""
    at: list[Progress] = []
    return at.append, lambda: bool(at) and (at[-1].epoch, at[-1].batch) == (epoch, batch)


def test_a_cancelled_training_goes_on_too(dataset: Dataset, tmp_path: Path, draft: Path) -> None:
    progress, cancelled = _until(2, 1)
    with pytest.raises(Cancelled):
        _train(dataset, tmp_path, "a", progress=progress, cancelled=cancelled)
    told: list[Progress] = []
    _train(dataset, tmp_path, "b", progress=told.append)
    assert next(one for one in told if one.phase is Phase.TRAINING).epoch == 2
    _alike(draft, tmp_path / "b")


def test_fresh_starts_anew(dataset: Dataset, tmp_path: Path, draft: Path) -> None:
    progress, cancelled = _until(2, 1)
    with pytest.raises(Cancelled):
        _train(dataset, tmp_path, "a", progress=progress, cancelled=cancelled)
    told: list[Progress] = []
    _train(dataset, tmp_path, "b", fresh=True, progress=told.append)
    assert next(one for one in told if one.phase is Phase.TRAINING).epoch == 1
    _alike(draft, tmp_path / "b")


def test_a_damaged_checkpoint_is_named(dataset: Dataset, tmp_path: Path) -> None:
    folder = tmp_path / "kept" / resumption.key(SPEC, dataset, "compact")
    folder.mkdir(parents=True)
    (folder / "state.pt").write_bytes(b"half a file")
    with pytest.raises(Corrupt, match=r"state\.pt cannot be read.*--fresh"):
        train(SPEC, dataset, tmp_path / "draft", checkpoints=tmp_path / "kept")


def test_only_equal_trainings_share_a_checkpoint(dataset: Dataset, draft: Path) -> None:
    keys = {
        resumption.key(msgspec.structs.replace(SPEC, **change), dataset, "compact")
        for change in ({}, {"seed": 4}, {"epochs": 3}, {"base": draft}, {"tile": 64}, {"threads": 2})
    }
    assert len(keys) == 6
    noted = msgspec.structs.replace(SPEC, note="what changed")
    assert resumption.key(noted, dataset, "compact") in keys
