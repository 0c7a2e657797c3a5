from pathlib import Path

import pytest

from serinus.bootstrap import edge
from serinus.store import Store


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with MLflow's tables."""
    from tests.tracking.shop import empty_database

    return empty_database(tmp_path_factory.mktemp("mlflow") / "empty.db")


@pytest.fixture
def shop(tmp_path: Path, empty: Path) -> object:
    from tests.tracking.shop import local_shop

    return local_shop(tmp_path / "shop", empty)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "models", clock=edge.now, new_id=edge.new_id)
