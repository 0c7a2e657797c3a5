"""The OpenAPI documents hold: schemathesis asks real processes what they allow, and what they do not.

No answer is a 5xx, and every answer is one that the document describes. The examples are the same each time.
"""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.api.live import server
from tests.serving.house import wait_for

pytestmark = pytest.mark.processes

EXAMPLES = 4
PHASES = "examples,fuzzing"
ENDLESS = ("--exclude-path-regex", "/events$")
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,"
    "response_headers_conformance"
)


def fuzz(url: str, *options: str, examples: int = EXAMPLES, phases: str = PHASES) -> None:
    """Fails with schemathesis' own report."""
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json"),
        *("--checks", CHECKS, "--phases", phases, "--max-examples", str(examples)),
        *("--generation-deterministic", "--continue-on-failure", "--no-color", "--request-timeout", "60"),
        *options,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/", env=_environment())
    assert done.returncode == 0, done.stdout + done.stderr


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}


@contextmanager
def control(root: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "tests.api.serve_control", str(root), str(port)]
    url = f"http://127.0.0.1:{port}"
    with (root / "log").open("wb") as log, subprocess.Popen(command, stderr=log) as process:
        try:
            wait_for(lambda: is_up(url), "the control app")
            yield url
        finally:
            process.terminate()


def is_up(url: str) -> bool:
    try:
        return httpx.get(url + "/healthz", trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def test_the_inference_api_answers_as_its_document_says(tmp_path: Path) -> None:
    with server(tmp_path) as made:
        fuzz(made.url)


def test_the_control_api_answers_as_its_document_says(tmp_path: Path) -> None:
    with control(tmp_path) as url:
        fuzz(url, *ENDLESS)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_many_more_examples_of_both(tmp_path: Path) -> None:
    more = {"examples": 50, "phases": f"{PHASES},coverage"}
    with server(tmp_path) as made:
        fuzz(made.url, **more)
    folder = tmp_path / "control"
    folder.mkdir()
    with control(folder) as url:
        fuzz(url, *ENDLESS, **more)
