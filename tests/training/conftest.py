"""One small data set and one small training that the tests of this room share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from serinus.data.dataset import Dataset
from serinus.data.importing import import_archive
from serinus.data.synth.write import write_zip
from serinus.training.run import train
from serinus.training.trainer import Progress, TrainSpec
from tests.training.yolo import ultralytics

__all__ = ["ultralytics"]  # a fixture

SPEC = TrainSpec(epochs=2, batch=4, img_size=96, seed=3, threads=1)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    torch.set_num_threads(1)
    yield


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("data")
    write_zip(folder / "a.zip", "synth-hurricane", 14, 128, 1)
    return import_archive(folder / "a.zip", folder / "datasets", clock=lambda: 0.0)


@pytest.fixture(scope="session")
def told() -> list[Progress]:
    return []


@pytest.fixture(scope="session")
def draft(dataset: Dataset, told: list[Progress], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished draft of 2 epochs; read only. `told` holds what its training told on the way."""
    return train(SPEC, dataset, tmp_path_factory.mktemp("drafts") / "draft", progress=told.append)
