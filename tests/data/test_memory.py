"""Ten times the pairs take about the same memory, whatever packed them; each in a process of its own."""

import pytest
from bench.importing import FORMS, measure, measure_large

GROWTH_MB = 40
"""For 4,500 pairs more: the names and places of their members. Their pictures are 500 times that."""
pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]


@pytest.mark.parametrize("form", FORMS)
def test_a_large_archive_takes_flat_memory(form: str) -> None:
    small, large = (measure(form, pairs, 64, None) for pairs in (500, 5000))
    assert large["archive_mb"] > 9 * small["archive_mb"]
    assert large["peak_mb"] < small["peak_mb"] + GROWTH_MB


def test_twenty_gigabytes_take_flat_memory() -> None:
    """A tar with holes: it is read as 20 GB, and takes no room."""
    small, large = (measure_large(gigabytes, None) for gigabytes in (1, 20))
    assert large["archive_mb"] > 19_000
    assert large["peak_mb"] < small["peak_mb"] + GROWTH_MB
