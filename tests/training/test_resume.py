"""A training that is killed goes on where it was, and comes to exactly what it would have come to."""

import csv
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import pytest

from serinus.core.errors import Cancelled, Corrupt
from serinus.data.dataset import Dataset
from serinus.training import resumption
from serinus.training.run import train
from serinus.training.trainer import Phase, Progress, TrainSpec
from tests.store.hard import volume
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


def alike(ours: Path, theirs: Path) -> None:
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
    alike(whole, tmp_path / "draft")
    assert list((tmp_path / "kept").iterdir()) == [], "what is finished needs no checkpoint"


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_one_training_killed_twenty_times_in_a_row(dataset: Dataset, whole: Path, tmp_path: Path) -> None:
    """Each start is killed after a step or two of its own; the last one ends."""
    chance = random.Random(2020)
    reached: list[tuple[int, int]] = []
    for _ in range(20):
        child = _start(dataset, tmp_path, 0.0)
        assert child.stdout is not None
        steps = [line.split()[:2] for line in islice(_steps(child.stdout), chance.randint(1, 2))]
        child.send_signal(signal.SIGKILL)
        rest, _ = child.communicate()
        steps += [line.split()[:2] for line in _steps(rest.splitlines())]
        assert not (tmp_path / "draft").exists(), "it was done before it was killed so often"
        reached += [(int(epoch), int(batch)) for epoch, batch in steps]
    assert reached[0] == (1, 1)
    assert reached == sorted(reached), "it went back by more than the step that it was killed in"
    again = _start(dataset, tmp_path, 0.0)
    again.communicate()
    assert again.returncode == 0
    alike(whole, tmp_path / "draft")
    assert list((tmp_path / "kept").iterdir()) == []


def _steps(lines: Iterable[str]) -> Iterator[str]:
    """Those that tell of a step done."""
    return (line for line in lines if line[:1].isdigit() and line.split()[:2] != ["0", "0"])


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
        alike(whole, folder / "draft")
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
    alike(draft, tmp_path / "b")


def test_fresh_starts_anew(dataset: Dataset, tmp_path: Path, draft: Path) -> None:
    progress, cancelled = _until(2, 1)
    with pytest.raises(Cancelled):
        _train(dataset, tmp_path, "a", progress=progress, cancelled=cancelled)
    told: list[Progress] = []
    _train(dataset, tmp_path, "b", fresh=True, progress=told.append)
    assert next(one for one in told if one.phase is Phase.TRAINING).epoch == 1
    alike(draft, tmp_path / "b")


def test_a_training_whose_draft_came_to_nothing_goes_on_after_its_last_epoch(
    dataset: Dataset, tmp_path: Path, draft: Path
) -> None:
    """Killed while it was published, it costs no epoch."""

    def fail(_: Path) -> None:
        raise RuntimeError("killed here")

    with pytest.raises(RuntimeError):
        _train(dataset, tmp_path, "a", then=fail)
    told: list[Progress] = []
    seen: list[Path] = []
    _train(dataset, tmp_path, "b", progress=told.append, then=seen.append)
    assert seen == [tmp_path / "b"]
    assert not [one for one in told if one.phase is Phase.TRAINING]
    assert told[1].note == "all epochs were done before"
    alike(draft, tmp_path / "b")
    assert list((tmp_path / "kept").iterdir()) == []


def test_a_training_cancelled_in_its_baseline_goes_on_there(dataset: Dataset, tmp_path: Path) -> None:
    at: list[Progress] = []
    with pytest.raises(Cancelled):
        _train(
            dataset,
            tmp_path,
            "a",
            with_baseline=True,
            progress=at.append,
            cancelled=lambda: "baseline: epoch 2" in at[-1].words,
        )
    told: list[Progress] = []
    _train(dataset, tmp_path, "b", with_baseline=True, progress=told.append)
    epochs = [one.words for one in told if one.phase is Phase.TRAINING]
    assert epochs and all(words.startswith("post-only baseline: epoch 2") for words in epochs)


def test_a_full_volume_costs_the_checkpoint_not_the_training(
    dataset: Dataset, tmp_path: Path, draft: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with volume(tmp_path / "volume", 1) as folder:
        made = train(SPEC, dataset, tmp_path / "made", checkpoints=folder)
        assert list(folder.iterdir()) == []
    alike(draft, made)
    assert "No checkpoint could be kept" in caplog.text


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
