"""While the store is away the pages say so and since when, and show what was known; nobody waits long."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from serinus.store import Address
from tests.api.stage import Stage
from tests.store.proxy import Proxy

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def stage(tmp_path: Path, url: str, proxy: Proxy) -> Iterator[Stage]:
    assert proxy.port
    stage = Stage(
        tmp_path, bucket=Address(url, patience=0.5, allow_http=True), poll_seconds=0.05, stream_seconds=0.5
    )
    yield stage
    stage.end_jobs()


async def test_what_was_known_stays_in_view_with_a_word_about_it(stage: Stage, proxy: Proxy) -> None:
    stage.base()
    stage.canary()
    async with stage.client() as client:
        assert "does not answer" not in (await client.get("/")).text
        proxy.refuse()
        stage.now += 65
        for path in ("/", "/live"):
            reply = await client.get(path)
            assert reply.status_code == 200
            assert "The store does not answer since 12:0" in reply.text
            assert "decisions wait" in reply.text and "Traceback" not in reply.text
            assert "Promote" in reply.text
        events = (await client.get("/api/events")).text
        assert events.count("event: state") == 1 and "does not answer" in events, "who follows is told once"
        proxy.listen()
        assert "does not answer" not in (await client.get("/live")).text


async def test_the_api_says_503_in_words(stage: Stage, proxy: Proxy) -> None:
    stage.base()
    stage.canary()
    async with stage.client() as client:
        assert (await client.get("/api/state")).status_code == 200
        proxy.refuse()
        for method, path in (
            ("GET", "/api/state"),
            ("GET", "/api/history"),
            ("GET", "/api/versions"),
            ("POST", "/api/rollout/promote"),
            ("POST", "/api/rollout/rollback"),
        ):
            body = {"json": {"reason": "enough", "confirm": True}} if method == "POST" else {}
            reply = await client.request(method, path, **body)  # type: ignore[arg-type]
            assert reply.status_code == 503, (path, reply.text)
            assert reply.headers["content-type"] == "application/problem+json"
            assert reply.headers["retry-after"] == "5"
            assert reply.json()["type"] == "/errors/unavailable"
            assert "The store cannot be reached" in reply.json()["detail"]
        proxy.listen()
        decided = await client.post("/api/rollout/rollback", json={"reason": "enough"})
        assert decided.status_code == 200, "the next attempt goes through"


async def test_a_page_that_nobody_saw_before(stage: Stage, proxy: Proxy) -> None:
    proxy.refuse()
    async with stage.client() as client:
        reply = await client.get("/")
        assert reply.status_code == 503
        assert "The store does not answer" in reply.text
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.get("/inference")).status_code == 200
        proxy.listen()
        assert (await client.get("/")).status_code == 200
