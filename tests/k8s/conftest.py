import pytest

from tests.k8s.sets import SETS, Set, load


@pytest.fixture(params=sorted(SETS))
def deployed(request: pytest.FixtureRequest) -> Set:
    """Base and each overlay in turn."""
    return load(request.param)
