import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.store.crash import shim
from tests.store.crash.operations import remove


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("gcc") is None:
        pytest.fail("These tests build a small library: install gcc.")
    return shim.build(tmp_path_factory.mktemp("shim"))


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder in memory where there is such a thing: thousands of copies of small files pass through it."""
    shared = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="serinus-", dir=shared if shared.is_dir() else None))
    try:
        yield folder
    finally:
        remove(folder)
