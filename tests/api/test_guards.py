"""Who may ask what, before an app sees the request."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from starlette.datastructures import Headers

from serinus.api import access, errors, guards
from serinus.api.guards import GuardRules
from serinus.bootstrap.edge import new_id
from serinus.core.errors import Forbidden
from serinus.observe import logs

LOCAL = ("127.0.0.1", 5000)


def app(rules: GuardRules) -> FastAPI:
    made = FastAPI()

    @made.api_route("/echo", methods=["GET", "POST", "PUT", "DELETE"])
    async def echo(request: Request) -> dict[str, Any]:
        return {"bytes": len(await request.body()), "id": logs.request_id()}

    @made.post("/ignore")
    async def ignore() -> dict[str, str]:
        return {}

    @made.get("/healthz")
    async def healthz() -> dict[str, bool]:
        return {"ok": True}

    @made.get("/huge")
    async def huge() -> None:
        bytes(1 << 60)

    @made.get("/bug")
    async def bug() -> None:
        raise ZeroDivisionError("a secret of the house")

    errors.install(made)
    guards.install(made, rules, new_id)
    return made


def ask(
    method: str,
    path: str,
    *,
    rules: GuardRules | None = None,
    client: tuple[str, int] = LOCAL,
    host: str = "localhost:9000",
    **more: Any,
) -> httpx.Response:
    async def run() -> httpx.Response:
        transport = httpx.ASGITransport(app(rules or GuardRules()), client=client)
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}") as http:
            return await http.request(method, path, **more)

    return asyncio.run(run())


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:9000",
        "127.0.0.1:80",
        "127.8.9.1",
        "[::1]:9000",
        "app.localhost",
        "infer:9000",
        "a.b.example.org",
    ],
)
def test_own_names_are_served(host: str) -> None:
    rules = GuardRules(allowed_hosts=("infer", "*.example.org"))
    assert ask("GET", "/echo", host=host, rules=rules).status_code == 200


@pytest.mark.parametrize(
    "hosts",
    [
        [],
        [""],
        ["evil.example"],
        ["localhost.evil.example"],
        ["127.0.0.1.evil.example"],
        ["example.org"],
        ["localhost", "evil.example"],
        ["localhost/evil"],
        ["localhost:x"],
        ["0.0.0.0"],
        ["192.0.2.7"],
    ],
)
def test_foreign_or_broken_names_are_not(hosts: list[str]) -> None:
    with pytest.raises(Forbidden):
        guards.check_host(hosts, ("*.example.org",))


def test_addresses_of_nodes_are_named_one_by_one_or_as_networks() -> None:
    rules = GuardRules(allowed_hosts=("192.168.49.0/24", "10.0.0.7", "fd00::/8"))
    for host in ("192.168.49.2:31234", "10.0.0.7", "[fd00::5]:80"):
        assert ask("GET", "/echo", host=host, rules=rules).status_code == 200
    for host in ("192.168.50.2", "10.0.0.70", "192.168.49.2.evil.example", "[fe80::1]"):
        assert ask("GET", "/echo", host=host, rules=rules).status_code == 403


def test_a_foreign_name_gets_a_problem_and_health_is_exempt() -> None:
    reply = ask("GET", "/echo", host="evil.example")
    assert reply.status_code == 403
    assert "ALLOWED_HOSTS" in reply.json()["remedy"]
    assert ask("GET", "/healthz", host="evil.example").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "http://localhost:9000"},
        {"origin": "HTTP://LOCALHOST:9000"},
        {"origin": "http://localhost:9000", "sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none"},
        {"origin": "http://localhost:8080"},
    ],
)
def test_own_pages_and_tools_may_change_state(headers: dict[str, str]) -> None:
    rules = GuardRules(allowed_origins=("http://localhost:8080",))
    assert ask("POST", "/echo", headers=headers, rules=rules).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": ""},
        {"origin": "http://localhost:3000"},
        {"origin": "http://localhost"},
        {"origin": "https://localhost:9000.evil.example"},
        {"origin": "file://"},
        {"sec-fetch-site": "cross-site"},
        {"origin": "http://localhost:9000", "sec-fetch-site": "cross-site"},
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_foreign_pages_may_not(method: str, headers: dict[str, str]) -> None:
    assert ask(method, "/echo", headers=headers).status_code == 403
    assert ask("GET", "/echo", headers=headers).status_code == 200


def test_behind_a_proxy_that_ends_tls_the_default_port_fits() -> None:
    found = Headers({"host": "serinus.example", "origin": "https://serinus.example"})
    guards.check_origin(found)
    with pytest.raises(Forbidden):
        guards.check_origin(Headers({"host": "serinus.example:8443", "origin": "https://serinus.example"}))


async def chunks(count: int, size: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield bytes(size)


LIMITED = GuardRules(
    max_body_bytes=1000, body_limits={"/ignore": 10}, limit_settings={"/ignore": "MAX_OTHER_MB"}
)


@pytest.mark.parametrize(
    "content", [lambda: bytes(1001), lambda: chunks(11, 100)], ids=["declared", "streamed"]
)
def test_a_body_over_the_limit_is_a_413(content: Callable[[], Any]) -> None:
    reply = ask("POST", "/echo", rules=LIMITED, content=content())
    assert reply.status_code == 413
    assert "MAX_BODY_MB" in reply.json()["remedy"]
    assert reply.json()["request_id"] == reply.headers["x-request-id"]


def test_a_body_at_the_limit_passes_and_paths_have_their_own() -> None:
    assert ask("POST", "/echo", rules=LIMITED, content=bytes(1000)).json()["bytes"] == 1000
    assert ask("POST", "/echo", rules=LIMITED, content=chunks(10, 100)).json()["bytes"] == 1000
    reply = ask("POST", "/ignore", rules=LIMITED, content=bytes(11))
    assert (reply.status_code, "MAX_OTHER_MB" in reply.json()["remedy"]) == (413, True)


def test_two_lengths_are_refused() -> None:
    headers = {"content-length": "3", "transfer-encoding": "chunked"}
    assert ask("POST", "/echo", headers=headers, content=b"abc").status_code == 400


@pytest.mark.parametrize(
    ("given", "kept"), [("abc-1._", True), ("a b", False), ("x" * 65, False), ("", False)]
)
def test_a_request_id_is_taken_over_when_it_is_one(given: str, kept: bool) -> None:
    reply = ask("GET", "/echo", headers={"x-request-id": given})
    found = reply.headers["x-request-id"]
    assert found == reply.json()["id"]
    assert (found == given) is kept
    assert found


def test_a_bug_is_a_500_that_tells_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    reply = ask("GET", "/bug")
    assert reply.status_code == 500
    assert "secret" not in reply.text
    assert reply.json()["request_id"] == reply.headers["x-request-id"]
    assert "a secret of the house" in caplog.text


def test_want_of_memory_is_a_503_that_says_when_to_come_back() -> None:
    reply = ask("GET", "/huge")
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
    assert "memory" in reply.json()["detail"]


def test_an_unknown_peer_is_not_of_this_machine() -> None:
    assert not access.is_loopback(None)
    assert not access.is_loopback(("", 0))
    assert not access.is_loopback(("unix", 0))
