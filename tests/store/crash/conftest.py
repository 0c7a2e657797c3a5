import shutil
from pathlib import Path

import pytest

from tests.store.crash import shim


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("gcc") is None:
        pytest.fail("These tests build a small library: install gcc.")
    return shim.build(tmp_path_factory.mktemp("shim"))
