from pathlib import Path

import pytest

from serinus.store import Store
from tests.store.drafts import Ticks, new_id, write_draft


@pytest.fixture
def clock() -> Ticks:
    return Ticks()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def store(root: Path, clock: Ticks) -> Store:
    return Store.open(root, clock=clock, new_id=new_id)


@pytest.fixture
def draft(tmp_path: Path) -> Path:
    return write_draft(tmp_path / "draft")
