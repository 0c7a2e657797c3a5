from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes.installation import Installation


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Installation]:
    """An installation that is up; stopped in peace, and checked for orphans, at the end."""
    found = Installation(tmp_path)
    found.up()
    try:
        yield found
    finally:
        found.down()
