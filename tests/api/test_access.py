"""Who may change what, from where: tokens, roles, loopback, and ways around them."""

import asyncio
import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.datastructures import Headers
from starlette.types import Message

from serinus.api import access, tokens
from serinus.api.access import to_control, to_infer
from serinus.core.enums import JobState, Role
from serinus.core.errors import Conflict, InvalidInput, Misconfigured, NotFound
from serinus.core.ids import INSIDE
from serinus.jobs.model import BrokenJob
from tests.api.stage import Stage

pytestmark = pytest.mark.anyio
FAR, NAME = "192.0.2.7", "serinus.lan"
PAUSE = "/api/rollout/pause"
WHY = {"reason": "because"}


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"alice:{password}".encode()).decode()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tokens"


@pytest.fixture
def operator(file: Path) -> str:
    return tokens.issue(file, "ops", Role.OPERATOR, bytes(32), 0.0).token


@pytest.fixture
def viewer(file: Path) -> str:
    return tokens.issue(file, "vera", Role.VIEWER, bytes([1] * 32), 0.0).token


@pytest.fixture
def stage(tmp_path: Path, file: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path, tokens=tokens.Tokens(file, operator="s3cret ü"), allowed_hosts=(NAME,))
    stage.base()
    stage.canary()
    yield stage
    stage.end_jobs()


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


# ---- tokens and roles


async def test_an_operator_decides_and_stands_in_the_history(stage: Stage, operator: str) -> None:
    async with stage.client(FAR, NAME) as client:
        plain = await client.post(PAUSE, json=WHY, headers=bearer(operator))
        as_bob = await client.post(
            "/api/rollout/resume", json=WHY | {"actor": "bob) via ui"}, headers=bearer(operator)
        )
    assert plain.json()["entry"]["who"] == "ops via token"
    assert as_bob.json()["entry"]["who"] == "ops (as bob) via ui) via token"


async def test_a_policy_and_a_mark_name_the_token_too(stage: Stage, operator: str) -> None:
    async with stage.client(FAR, NAME) as client:
        reply = await client.put(
            "/api/policies/mine", json=WHY | {"text": "share: 0.25"}, headers=bearer(operator)
        )
    assert reply.json()["editions"][0]["actor"] == "ops via token"


async def test_a_broken_version_is_published_in_the_name_of_the_token(stage: Stage, operator: str) -> None:
    async with stage.client(FAR, NAME) as client:
        reply = await client.post("/api/versions/broken", data={"actor": "bob"}, headers=bearer(operator))
    assert reply.status_code == 202
    (job,) = stage.deps.jobs.list()
    assert job.spec == BrokenJob(actor="ops (as bob) via token")


async def test_a_viewer_looks_and_asks_but_changes_nothing(stage: Stage, viewer: str) -> None:
    before = stage.store.state().seq
    async with stage.client(FAR, NAME) as client:
        refused = await client.post(PAUSE, json=WHY, headers=bearer(viewer))
        looked = await client.get("/api/state", headers=bearer(viewer))
        checked = await client.post("/api/policies/check", json={"text": "share: 2"}, headers=bearer(viewer))
        # The same path with another method would set the policy named `check`.
        put = await client.put(
            "/api/policies/check", json=WHY | {"text": "share: 0.25"}, headers=bearer(viewer)
        )
    assert (refused.status_code, looked.status_code, checked.status_code) == (403, 200, 200)
    assert "vera has the role viewer" in refused.json()["detail"]
    assert put.status_code == 403
    assert stage.store.state().seq == before


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        (None, 401),
        ("Bearer wrong", 401),
        ("Bearer ", 401),
        ("Basic !!!", 401),
        (basic("wrong"), 401),
        ("Digest s3cret ü".encode(), 401),
        (basic("s3cret ü"), 200),
        ("Bearer s3cret ü".encode(), 200),
        ("bearer s3cret ü".encode(), 200),
    ],
)
async def test_from_beyond_a_change_needs_a_token(
    stage: Stage, authorization: str | bytes | None, status: int
) -> None:
    headers: Any = {} if authorization is None else {b"authorization": authorization}
    async with stage.client(FAR, NAME) as client:
        reply = await client.post(PAUSE, json=WHY, headers=headers)
    assert reply.status_code == status
    if status == 401:
        assert reply.headers["www-authenticate"].startswith("Bearer ")
        assert "/login" in reply.json()["remedy"]


async def test_two_credentials_are_none(stage: Stage, operator: str) -> None:
    headers = [("authorization", f"Bearer {operator}"), ("authorization", "Bearer x")]
    async with stage.client(FAR, NAME) as client:
        assert (await client.post(PAUSE, json=WHY, headers=headers)).status_code == 401


async def test_without_any_token_there_is_no_change_from_beyond(tmp_path: Path) -> None:
    stage = Stage(tmp_path, allowed_hosts=(NAME,))
    async with stage.client(FAR, NAME) as client:
        for headers in ({}, {"authorization": "Bearer "}, {"authorization": basic("")}):
            reply = await client.post(PAUSE, json=WHY, headers=headers)
            assert reply.status_code == 401
            assert "serinus token create" in reply.json()["remedy"]


async def test_a_token_counts_and_stops_to_count_at_once(stage: Stage, file: Path) -> None:
    made = tokens.issue(file, "late", Role.OPERATOR, bytes([2] * 32), 0.0).token
    async with stage.client(FAR, NAME) as client:
        first = await client.post(PAUSE, json=WHY, headers=bearer(made))
        tokens.revoke(file, "late")
        then = await client.post("/api/rollout/resume", json=WHY, headers=bearer(made))
        good = tokens.issue(file, "other", Role.OPERATOR, bytes([3] * 32), 0.0).token
        file.write_text(file.read_text() + "nonsense\n")
        broken = await client.post("/api/rollout/resume", json=WHY, headers=bearer(good))
    assert [reply.status_code for reply in (first, then, broken)] == [200, 401, 401]


# ---- streams


class Stream:
    """An event stream, opened with a token from elsewhere."""

    def __init__(self, stage: Stage, path: str, token: str) -> None:
        self.heard = b""
        headers = {"host": NAME} | bearer(token)
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            "client": (FAR, 5000),
            "server": (NAME, 80),
        }
        self.task = asyncio.create_task(stage.app(scope, self._receive, self._send))

    async def _receive(self) -> Message:
        return await asyncio.Future()  # the client stays

    async def _send(self, message: Message) -> None:
        self.heard += message.get("body", b"")


@pytest.mark.parametrize(("anonymous_read", "becomes"), [(False, ""), (True, "viewer ops")])
async def test_a_stream_ends_when_its_token_counts_no_more(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    file: Path,
    operator: str,
    viewer: str,
    anonymous_read: bool,
    becomes: str,
) -> None:
    known = tokens.Tokens(file)
    stage = Stage(tmp_path, tokens=known, allowed_hosts=(NAME,), anonymous_read=anonymous_read)
    request.addfinalizer(stage.end_jobs)
    stage.base()
    job = stage.jobs.submit(BrokenJob(actor="ops"))
    await stage.until(lambda: stage.jobs.describe(job).state is JobState.RUNNING)
    paths = ("/api/events", f"/api/jobs/{job}/events")
    ending, staying = ([Stream(stage, path, token) for path in paths] for token in (operator, viewer))
    await stage.until(lambda: all(b"data:" in one.heard for one in ending + staying))
    lines = file.read_text().splitlines()
    file.write_text("\n".join(line.replace("operator ops", becomes or "#") for line in lines))
    await stage.until(lambda: all(one.task.done() for one in ending))
    for one in ending:
        assert one.heard.endswith(b"event: login\ndata: {}\n\n")
    assert not any(one.task.done() for one in staying)
    stage.app.state.board.close()
    await stage.until(lambda: all(one.task.done() for one in staying))
    assert not any(b"event: login" in one.heard for one in staying)


# ---- reading


async def test_everybody_reads_unless_that_is_switched_off(
    tmp_path: Path, file: Path, viewer: str, operator: str
) -> None:
    stage = Stage(tmp_path, tokens=tokens.Tokens(file), allowed_hosts=(NAME,), anonymous_read=False)
    stage.base()
    async with stage.client(FAR, NAME) as client:
        for path in ("/api/state", "/api/history", "/api/events", "/openapi.json", "/infer-status"):
            assert (await client.get(path)).status_code == 401, path
            assert (await client.head(path)).status_code == 401, path
        for path in ("/healthz", "/metrics", "/static/app.css", "/login", "/errors/forbidden"):
            assert (await client.get(path)).status_code == 200, path
        page = await client.get("/history?kind=held", headers={"accept": "text/html"})
        for token in (viewer, operator):
            assert (await client.get("/", headers=bearer(token))).status_code == 200
    assert (page.status_code, page.headers["location"]) == (303, "/login?next=/history")
    async with stage.client() as here:
        assert (await here.get("/")).status_code == 200


# ---- loopback


@pytest.mark.parametrize(
    ("client", "headers", "direct"),
    [
        (("127.0.0.1", 1), {"host": "localhost:8080"}, True),
        (("::1", 1), {"host": "[::1]:8080"}, True),
        (("::ffff:127.0.0.1", 1), {"host": "127.0.0.1"}, True),
        (("127.0.0.1", 1), {"host": "localhost", "x-forwarded-for": "127.0.0.1"}, False),
        (("127.0.0.1", 1), {"host": "localhost", "x-forwarded-for": ""}, False),
        (("127.0.0.1", 1), {"host": "localhost", "x-forwarded-proto": "https"}, False),
        (("127.0.0.1", 1), {"host": "localhost", "forwarded": "for=127.0.0.1"}, False),
        (("127.0.0.1", 1), {"host": "localhost", "via": "1.1 proxy"}, False),
        (("127.0.0.1", 1), {"host": "localhost", "x-real-ip": "127.0.0.1"}, False),
        (("127.0.0.1", 1), {"host": "serinus.example"}, False),
        (("127.0.0.1", 1), {"host": ""}, False),
        (("192.0.2.7", 1), {"host": "localhost"}, False),
        (("192.0.2.7", 1), {"host": "localhost", "x-forwarded-for": "127.0.0.1"}, False),
        ((INSIDE, 0), {"host": "localhost"}, False),
        (None, {"host": "localhost"}, False),
    ],
)
def test_what_is_of_this_machine(client: Any, headers: dict[str, str], direct: bool) -> None:
    assert access.is_direct(client, Headers(headers)) is direct


async def test_whoever_comes_through_a_proxy_on_this_machine_needs_a_token(
    stage: Stage, operator: str
) -> None:
    forwarded = {"x-forwarded-for": "127.0.0.1"}
    async with stage.client() as client:
        without = await client.post(PAUSE, json=WHY, headers=forwarded)
        with_it = await client.post(PAUSE, json=WHY, headers=forwarded | bearer(operator))
    async with stage.client(host=NAME) as client:
        named = await client.post("/api/rollout/resume", json=WHY)
    assert [reply.status_code for reply in (without, with_it, named)] == [401, 200, 401]


async def test_loopback_can_be_trusted_no_more(tmp_path: Path, file: Path, operator: str) -> None:
    stage = Stage(tmp_path, tokens=tokens.Tokens(file), trust_loopback=False, anonymous_read=False)
    stage.base()
    stage.canary()
    async with stage.client() as client:
        assert (await client.post(PAUSE, json=WHY)).status_code == 401
        assert (await client.get("/api/state")).status_code == 401
        assert (await client.post(PAUSE, json=WHY, headers=bearer(operator))).status_code == 200
        page = await client.get("/", headers=bearer(operator))
    assert page.status_code == 200  # its view reads the API from inside
    assert "Version 2" in page.text


async def test_a_viewer_at_this_machine_is_a_viewer(stage: Stage, viewer: str) -> None:
    async with stage.client() as client:
        assert (await client.post(PAUSE, json=WHY, headers=bearer(viewer))).status_code == 403
        assert (await client.post(PAUSE, json=WHY, headers=bearer("wrong"))).status_code == 200


# ---- ways around


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "//api/rollout/pause"),
        ("POST", "/API/rollout/pause"),
        ("POST", "/api/rollout/pause/"),
        ("POST", "/api/rollout/%70ause"),
        ("POST", "/api/rollout/pause%0a"),
        ("POST", "/static/../api/rollout/pause"),
        ("POST", "/static/%2e%2e/api/rollout/pause"),
        ("POST", "/healthz/../api/rollout/pause"),
        ("POST", "/login%0a"),
        ("POST", "/api/predict%0a"),
        ("POST", "/api/predict/../rollout/pause"),
        ("POST", "/errors/x"),
        ("PATCH", PAUSE),
        ("PUT", "/api/policies/preview"),
        ("DELETE", "/api/uploads/x"),
        ("CONNECT", PAUSE),
        ("QUERY", "/api/state"),
        ("PROPFIND", "/"),
    ],
)
async def test_no_spelling_gets_past(stage: Stage, method: str, path: str) -> None:
    before = stage.store.state().seq
    async with stage.client(FAR, NAME) as client:
        reply = await client.send(httpx.Request(method, f"http://{NAME}{path}", json=WHY))
    assert reply.status_code == 401, reply.text
    assert stage.store.state().seq == before


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "TRACE"])
async def test_methods_that_need_no_token_change_nothing(stage: Stage, method: str) -> None:
    before = stage.store.state().seq
    override = {"x-http-method-override": "POST", "x-method-override": "POST", "x-http-method": "POST"}
    async with stage.client(FAR, NAME) as client:
        for path in (PAUSE, f"{PAUSE}?_method=POST", "/trigger-train", "/api/uploads/x", "/logout"):
            reply = await client.request(method, path, json=WHY, headers=override)
            assert reply.status_code in (204, 400, 404, 405, 412), (path, reply.status_code)
    assert stage.store.state().seq == before
    assert not stage.jobs.list()


async def test_every_route_that_may_change_something_takes_an_operator(stage: Stage) -> None:
    """Also one that somebody adds: what does not is named here."""
    free = {("POST", "/login"), ("POST", "/logout")}
    looks = {("POST", "/api/predict"), ("POST", "/api/policies/check"), ("POST", "/api/policies/preview")}
    needed = to_control(anonymous_read=False)
    seen = set()
    routers = [getattr(route, "original_router", None) for route in stage.app.routes]
    routes = [*stage.app.routes, *(route for router in routers if router for route in router.routes)]
    for route in routes:
        for method in getattr(route, "methods", None) or ():
            if method in access.SAFE:
                continue
            seen.add((method, route.path))
            role = needed(method, route.path)
            expected = Role.VIEWER if (method, route.path) in looks else Role.OPERATOR
            assert role == (None if (method, route.path) in free else expected), route.path
    assert free | looks < seen
    assert len(seen) > 15


def test_predictions_are_for_everybody_and_ground_truth_is_not() -> None:
    for path in ("/predict", "/batch_predict", "/v2/models/xview/infer", "/v2/models/x/versions/3/infer"):
        assert to_infer("POST", path) is None
    for path in (
        "/feedback",
        "/predict\n",
        "/predict/",
        "/v2/models/a/b/infer",
        "/v2/models/x/infer\n",
        "/x",
    ):
        assert to_infer("POST", path) is Role.OPERATOR
    assert to_infer("PUT", "/predict") is Role.OPERATOR


async def test_a_websocket_is_not_let_in(stage: Stage) -> None:
    sent = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    scope = {"type": "websocket", "path": "/api/events", "headers": [], "client": (FAR, 1)}
    await stage.app(scope, receive, send)
    assert sent == []


# ---- logging in


async def test_a_browser_logs_in_changes_and_logs_out(stage: Stage, operator: str) -> None:
    own = {"origin": f"http://{NAME}"}
    async with stage.client(FAR, NAME) as client:
        assert "Log in" in (await client.get("/")).text
        reply = await client.post("/login", data={"token": operator, "next": "/history"}, headers=own)
        assert (reply.status_code, reply.headers["location"]) == (303, "/history")
        cookie = reply.headers["set-cookie"].lower()
        assert "httponly" in cookie and "samesite=lax" in cookie and "secure" not in cookie
        page = await client.get("/")
        assert "ops" in page.text and "Log out" in page.text
        changed = await client.post(PAUSE, json=WHY, headers=own)
        assert changed.json()["entry"]["who"] == "ops via token"
        await client.post("/logout", headers=own)
        after = await client.post("/api/rollout/resume", json=WHY, headers=own)
    assert after.status_code == 401


async def test_a_cookie_alone_is_not_enough(stage: Stage, operator: str) -> None:
    """The browser adds it to whatever page asks; so the page must be ours, and say so."""
    cookie = {"cookie": f"{access.COOKIE}={access.cookie_value(operator)}"}
    foreign: list[dict[str, str]] = [
        {},
        {"origin": "null"},
        {"origin": "http://evil.example"},
        {"origin": "http://evil.serinus.lan"},
        {"origin": f"http://{NAME}:81"},
        {"origin": f"http://{NAME}", "sec-fetch-site": "cross-site"},
    ]
    async with stage.client(FAR, NAME) as client:
        for headers in foreign:
            reply = await client.post(PAUSE, json=WHY, headers=cookie | headers)
            assert reply.status_code == 403, headers
        twice = {"cookie": f"{cookie['cookie']}; {access.COOKIE}=eA", "origin": f"http://{NAME}"}
        assert (await client.post(PAUSE, json=WHY, headers=twice)).status_code == 401
        own = cookie | {"origin": f"http://{NAME}"}
        assert (await client.post(PAUSE, json=WHY, headers=own)).status_code == 200


async def test_over_tls_the_cookie_is_for_tls_only(stage: Stage, operator: str) -> None:
    headers = {"origin": f"https://{NAME}", "x-forwarded-proto": "https"}
    async with stage.client(FAR, NAME) as client:
        reply = await client.post("/login", data={"token": operator}, headers=headers)
    assert "secure" in reply.headers["set-cookie"].lower()


@pytest.mark.parametrize(
    "next_", ["//evil.example", "/\\evil.example", "https://evil.example", "\t//evil", "/a\r\nX: y", "/é", ""]
)
async def test_a_login_leads_nowhere_else(stage: Stage, operator: str, next_: str) -> None:
    async with stage.client(FAR, NAME) as client:
        for token in (operator, "wrong"):
            own = {"origin": f"http://{NAME}"}
            reply = await client.post("/login", data={"token": token, "next": next_}, headers=own)
            assert reply.headers["location"] in ("/", "/login?wrong=1&next=/")
        page = await client.get("/login", params={"next": '"><script>'})
    assert "<script>" not in page.text.replace('<script type="module"', "")


async def test_a_wrong_token_sets_no_cookie_and_says_so(stage: Stage) -> None:
    async with stage.client(FAR, NAME) as client:
        reply = await client.post("/login", data={"token": "wrong", "next": "/history"})
        page = await client.get(reply.headers["location"])
    assert "set-cookie" not in reply.headers
    assert "none of ours" in page.text and 'value="/history"' in page.text


# ---- the file


def test_a_token_is_kept_as_a_hash_for_its_owner_only(file: Path, operator: str, viewer: str) -> None:
    text = file.read_text()
    assert operator not in text and viewer not in text
    assert file.stat().st_mode & 0o777 == 0o600
    assert [(one.name, one.role) for one in tokens.read(file)] == [
        ("ops", Role.OPERATOR),
        ("vera", Role.VIEWER),
    ]
    assert [path.name for path in file.parent.iterdir() if "tokens" in path.name] == ["tokens"]


def test_names_are_given_once_and_can_stand_in_a_line(file: Path, operator: str) -> None:
    with pytest.raises(Conflict):
        tokens.issue(file, "ops", Role.VIEWER, bytes(32), 0.0)
    for name in ("", "a b", "a\nb", "x" * 65, "-a", "ü"):
        with pytest.raises(InvalidInput):
            tokens.issue(file, name, Role.VIEWER, bytes(32), 0.0)
    with pytest.raises(NotFound):
        tokens.revoke(file, "nobody")
    assert tokens.Tokens(file).whose(operator.encode()) is not None


@pytest.mark.parametrize(
    "line", ["root a " + "0" * 64, "viewer a 123", "viewer a", "viewer a " + "G" * 64, "viewer a b c d e"]
)
def test_a_line_that_is_none_is_named(file: Path, line: str) -> None:
    file.write_text(f"# ours\n\n{line}\n")
    with pytest.raises(Misconfigured, match="Line 3"):
        tokens.read(file)
