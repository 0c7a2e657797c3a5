import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from serinus.store import Store
from tests.store.crash.operations import remove
from tests.store.drafts import Ticks, new_id, write_draft
from tests.store.places import open_store


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


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("url")) if request.param == "bucket" else ""


@pytest.fixture
def one(place: str, root: Path, clock: Ticks) -> Store:
    return open_store(root, place, clock=clock)


@pytest.fixture
def other(place: str, root: Path, tmp_path: Path, clock: Ticks) -> Store:
    """Another process on the same store; with a bucket on another machine."""
    return open_store(tmp_path / "elsewhere" if place else root, place, clock=clock)


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder in memory where there is such a thing: for thousands of small files, each synced, on which
    nothing depends but time.
    """
    shared = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="serinus-", dir=shared if shared.is_dir() else None))
    try:
        yield folder
    finally:
        remove(folder)
