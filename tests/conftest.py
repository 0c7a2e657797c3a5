from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from tests.store.drafts import new_id
from tests.store.proxy import Proxy
from tests.store.s3server import BUCKET, S3Server, environment

if TYPE_CHECKING:
    from lightkube import KubeConfig

# A machine that others use stalls for seconds: how long an example takes tells nothing about the code.
settings.register_profile("serinus", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("serinus")


SUITES = {f"{mark}{rest}": mark for mark in ("processes", "browser") for rest in ("", " and not long")}


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """A suite that goes by one mark imports no module without a word of that mark."""
    mark = SUITES.get(config.option.markexpr)
    if mark and collection_path.suffix == ".py" and mark not in collection_path.read_text(encoding="utf-8"):
        return True
    return None


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One server for all tests; each has a prefix of its own."""
    server = S3Server(tmp_path_factory.mktemp("s3") / "data")
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def url(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty place in the bucket, asked directly."""
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/{new_id()}"


@pytest.fixture
def proxy(s3: S3Server, url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """The bad network on the way to `url`: all clients made from here on take it."""
    assert url
    found = Proxy(s3.port)
    monkeypatch.setenv("AWS_ENDPOINT_URL", environment(found.endpoint)["AWS_ENDPOINT_URL"])
    try:
        yield found
    finally:
        found.refuse()


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[KubeConfig]":
    """A real API server of Kubernetes, as its administrator sees it."""
    pytest.importorskip("lightkube")
    from tests.jobs import real_cluster

    if not real_cluster.wanted():
        pytest.skip(real_cluster.WANTED)
    with real_cluster.api_server(tmp_path_factory.mktemp("api")) as config:
        yield config
