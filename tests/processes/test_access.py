"""Access to real processes: a reverse proxy on this machine lends its callers nothing."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.api.raw import Wire, head
from tests.processes.installation import eventually, free_port

pytestmark = pytest.mark.processes

NAME = "serinus.example"
PAUSE = "/api/rollout/pause"
BODY = b'{"reason": "because"}'
CONFIG = """
daemon off; master_process off; pid {root}/nginx.pid; error_log stderr;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {root}/body; proxy_temp_path {root}/proxy; fastcgi_temp_path {root}/fcgi;
  uwsgi_temp_path {root}/uwsgi; scgi_temp_path {root}/scgi;
  server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass {target}; {more} }} }}
}}
"""
FORWARDS = {
    "address": "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;",
    "name": "proxy_set_header Host $host;",
    "real address": "proxy_set_header X-Real-IP $remote_addr;",
}


@contextmanager
def running(command: list[str], root: Path, env: dict[str, str] | None = None) -> Iterator[None]:
    with (root / f"{Path(command[0]).name}.log").open("ab") as log:
        process = subprocess.Popen(command, env=os.environ | (env or {}), stdout=log, stderr=log)
        try:
            yield
        finally:
            process.terminate()
            process.wait(60)


@contextmanager
def dashboard(root: Path, **settings: str) -> Iterator[str]:
    port = free_port()
    env = {"MODEL_DIR": str(root / "models"), "DATA_DIR": str(root / "data"), "UI_PORT": str(port)}
    with running([sys.executable, "-m", "serinus", "ui"], root, env | settings):
        url = f"http://127.0.0.1:{port}"
        eventually(lambda: _answers(f"{url}/healthz"), "the dashboard")
        yield url


@contextmanager
def nginx(root: Path, target: str, more: str = "") -> Iterator[str]:
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip("there is no nginx")
    root.mkdir()
    port = free_port()
    config = root / "nginx.conf"
    config.write_text(CONFIG.format(root=root, port=port, target=target, more=more))
    with running([program, "-p", str(root), "-e", "stderr", "-c", str(config)], root):
        url = f"http://127.0.0.1:{port}"
        eventually(lambda: _answers(f"{url}/healthz"), "nginx")
        yield url


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def status(url: str, *headers: str, host: str = "localhost", path: str = PAUSE) -> int:
    """What a change gets that is sent byte by byte; a 409 says that it was let in: there is no rollout."""
    request = head("POST", path, *headers, f"Content-Length: {len(BODY)}", "Connection: close")
    with Wire(url) as wire:
        return wire.send(request.replace(b"Host: localhost", f"Host: {host}".encode()) + BODY).reply().status


def token(root: Path, role: str) -> str:
    command = [sys.executable, "-m", "serinus", "token", "create", role, "--role", role, "--json"]
    env = os.environ | {"DATA_DIR": str(root / "data")}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    return str(json.loads(done.stdout)["token"])


def test_a_proxy_on_this_machine_lends_nobody_its_address(tmp_path: Path) -> None:
    with dashboard(tmp_path, ALLOWED_HOSTS=NAME) as url:
        operator, viewer = token(tmp_path, "operator"), token(tmp_path, "viewer")
        assert status(url) == 409
        assert status(url, "X-Forwarded-For: 127.0.0.1") == 401
        for number, more in enumerate(FORWARDS.values()):
            with nginx(tmp_path / f"nginx-{number}", url, more) as through:
                for forged in (
                    (),
                    ("X-Forwarded-For: 127.0.0.1",),
                    ("Connection: X-Forwarded-For, X-Real-IP, Host",),
                    ("Forwarded: for=127.0.0.1;host=localhost",),
                    ("X-Forwarded-Host: localhost",),
                ):
                    assert status(through, *forged, host=NAME) == 401, (more, forged)
                assert status(through, f"Authorization: Bearer {viewer}", host=NAME) == 403
                assert status(through, f"Authorization: Bearer {operator}", host=NAME) == 409


def test_for_a_proxy_that_tells_nothing_loopback_is_trusted_no_more(tmp_path: Path) -> None:
    with dashboard(tmp_path, TRUST_LOOPBACK="false") as url:
        operator = token(tmp_path, "operator")
        with nginx(tmp_path / "nginx", url) as through:
            assert status(through) == 401
            assert status(through, f"Authorization: Bearer {operator}") == 409
        assert status(url) == 401
        assert httpx.get(f"{url}/", trust_env=False).status_code == 200


def test_bytes_that_two_parsers_read_otherwise_change_nothing(tmp_path: Path) -> None:
    """Requests hidden in requests, between a proxy with a bare connection and the dashboard."""
    with dashboard(tmp_path, TRUST_LOOPBACK="false") as url, nginx(tmp_path / "nginx", url) as through:
        hidden = head("POST", PAUSE, "Content-Length: 0") + head("GET", "/healthz", "Connection: close")
        for target in (url, through):
            for headers in (
                ("Content-Length: 0", "Transfer-Encoding: chunked"),
                ("Transfer-Encoding: chunked", "Transfer-Encoding: identity"),
                ("Transfer-Encoding: xchunked",),
                ("Content-Length: 0", f"Content-Length: {len(hidden)}"),
                ("Content-Length : 0",),
                ("Transfer-Encoding\t: chunked",),
            ):
                with Wire(target) as wire:
                    wire.send(head("GET", "/healthz", *headers) + b"0\r\n\r\n" + hidden)
                    answers = [wire.reply().status]
                    while answers[-1]:
                        answers.append(wire.reply().status if not wire.is_closed() else 0)
                assert 409 not in answers, (headers, answers)


SPELLINGS = (
    "//api/rollout/pause",
    "/api//rollout/pause",
    "/./api/rollout/pause",
    "/api/rollout/pause/",
    "/api/rollout/pause%0a",
    "/api/rollout/pause%00",
    "/api/rollout%2fpause",
    "/%61pi/rollout/pause",
    "/static/../api/rollout/pause",
    "/static/%2e%2e/api/rollout/pause",
    "/login/../api/rollout/pause",
    "/login%0a",
    "/login?/api/rollout/pause",
    "/api/predict/..%2frollout/pause",
    "/api/predict;/../rollout/pause",
    "/api/rollout/pause;/login",
    "/api/rollout/pause#/login",
    "http://localhost/api/rollout/pause",
    "http://localhost/login",
    "/healthz/../api/rollout/pause",
    "*",
)


def test_no_spelling_of_a_path_gets_past_the_real_server(tmp_path: Path) -> None:
    with dashboard(tmp_path, TRUST_LOOPBACK="false") as url:
        found = {path: status(url, path=path) for path in SPELLINGS}
        found |= {
            f"{path} overridden": status(url, "X-HTTP-Method-Override: GET", path=path) for path in SPELLINGS
        }
    assert found.pop("/login?/api/rollout/pause") in (303, 400, 422)
    assert found.pop("/login?/api/rollout/pause overridden") in (303, 400, 422)
    assert set(found.values()) <= {400, 401}, found


def test_probes_and_prometheus_ask_by_address_without_a_token(tmp_path: Path) -> None:
    with dashboard(tmp_path, TRUST_LOOPBACK="false", ANONYMOUS_READ="false") as url:
        for path in ("/healthz", "/metrics"):
            reply = httpx.get(url + path, headers={"host": "10.1.2.3:8080"}, trust_env=False)
            assert reply.status_code == 200
        assert httpx.get(f"{url}/api/state", trust_env=False).status_code == 401
        assert httpx.get(f"{url}/", headers={"host": "10.1.2.3"}, trust_env=False).status_code == 403


def test_the_command_line_sends_a_decision_with_its_token(tmp_path: Path) -> None:
    def decide(url: str, given: str) -> subprocess.CompletedProcess[str]:
        command = [
            sys.executable,
            "-m",
            "serinus",
            "rollout",
            "pause",
            "--server",
            url,
            "--reason",
            "because",
        ]
        env = os.environ | {"API_TOKEN": given, "MODEL_DIR": str(tmp_path / "elsewhere")}
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False)

    with dashboard(tmp_path, TRUST_LOOPBACK="false") as url:
        operator, viewer = token(tmp_path, "operator"), token(tmp_path, "viewer")
        assert "no rollout is active" in decide(url, operator).stderr
        assert "API_TOKEN" in decide(url, "wrong").stderr
        assert "role viewer" in decide(url, viewer).stderr
    assert not (tmp_path / "elsewhere").exists()
