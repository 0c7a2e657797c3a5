"""What an operator reads when STORE_URL names a place that cannot hold a store."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

import pytest

from serinus.core.errors import Misconfigured, Unavailable
from tests.store.drafts import write_draft
from tests.store.places import open_store
from tests.store.proxy import Proxy
from tests.store.s3server import environment

SOURCES = Path(__file__).parents[2]


class Careless(BaseHTTPRequestHandler):
    """An S3 server of a kind that there was for long: it does not know `If-None-Match`."""

    protocol_version = "HTTP/1.1"
    objects: ClassVar[dict[str, bytes]] = {}

    def do_PUT(self) -> None:
        self.objects[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(200, b"")

    def do_GET(self) -> None:
        found = self.objects.get(self.path)
        self._answer(200, found) if found is not None else self._answer(404, b"<Code>NoSuchKey</Code>")

    def do_POST(self) -> None:
        """Deletes what the list names."""
        wanted = self.rfile.read(int(self.headers["Content-Length"])).decode()
        for key in re.findall("<Key>(.*?)</Key>", wanted):
            self.objects.pop(f"{urlsplit(self.path).path.rstrip('/')}/{key}", None)
        gone = "".join(
            f"<Deleted><Key>{key}</Key></Deleted>" for key in re.findall("<Key>(.*?)</Key>", wanted)
        )
        self._answer(200, f"<DeleteResult>{gone}</DeleteResult>".encode())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("ETag", '"0"')
        self.send_header("Last-Modified", "Tue, 24 Nov 2026 12:00:00 GMT")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def careless(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Careless)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name, value in environment(f"http://127.0.0.1:{server.server_port}").items():
        monkeypatch.setenv(name, value)
    yield server
    server.shutdown()
    server.server_close()


def test_a_server_that_ignores_the_condition_is_refused(careless: ThreadingHTTPServer, root: Path) -> None:
    assert careless.server_port
    with pytest.raises(Misconfigured, match=r"s3://bucket/x does not honour `If-None-Match: \*`") as caught:
        open_store(root, "s3://bucket/x")
    assert "AWS S3, MinIO" in caught.value.remedy
    assert Careless.objects == {}, "no probe is left"


def test_a_start_leaves_no_probe(url: str, root: Path) -> None:
    assert open_store(root, url).backend.files("probes") == {}


def test_a_bucket_that_is_not_there(url: str, root: Path) -> None:
    assert url
    with pytest.raises(Misconfigured, match="There is no bucket for s3://no-such-bucket/x") as caught:
        open_store(root, "s3://no-such-bucket/x")
    assert caught.value.remedy == "Create it, or correct STORE_URL."


@pytest.mark.parametrize(
    ("name", "code"),
    [("AWS_SECRET_ACCESS_KEY", "SignatureDoesNotMatch"), ("AWS_ACCESS_KEY_ID", "InvalidAccessKeyId")],
)
def test_wrong_credentials(
    url: str, root: Path, monkeypatch: pytest.MonkeyPatch, name: str, code: str
) -> None:
    monkeypatch.setenv(name, "another")
    with pytest.raises(Misconfigured, match=rf"refuses {url}/probes/\w+ with these credentials") as caught:
        open_store(root, url)
    assert code in caught.value.message
    assert name in caught.value.remedy


def test_nobody_answers(url: str, root: Path, proxy: Proxy) -> None:
    proxy.refuse()
    with pytest.raises(Unavailable, match=r"cannot be reached: .*: Connection refused") as caught:
        open_store(root, url, patience=0.3)
    assert "Is STORE_URL right" in caught.value.remedy


def test_plain_http_where_it_is_not_wanted(url: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", os.environ["AWS_ENDPOINT_URL"].replace("http:", "https:"))
    with pytest.raises(Unavailable, match="cannot be reached"):
        open_store(root, url, patience=0.3)


def run(arguments: list[str], **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "serinus", *arguments],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_command_line_says_it_and_fails(url: str, tmp_path: Path, proxy: Proxy) -> None:
    proxy.refuse()
    done = run(
        ["versions", "list"],
        STORE_URL=url,
        STORE_PATIENCE_SECONDS="0.5",
        MODEL_DIR=str(tmp_path / "models"),
    )
    assert done.returncode == 1
    assert "The store cannot be reached" in done.stderr and "Traceback" not in done.stderr


def test_without_the_client(url: str, tmp_path: Path) -> None:
    """As where the extra `s3` is not installed: importing obstore fails."""
    absent = tmp_path / "absent" / "obstore"
    absent.mkdir(parents=True)
    (absent / "__init__.py").write_text("raise ImportError('No module named obstore')\n")
    done = run(
        ["versions", "list"],
        STORE_URL=url,
        MODEL_DIR=str(tmp_path / "models"),
        PYTHONPATH=os.pathsep.join([str(absent.parent), os.environ.get("PYTHONPATH", "")]),
    )
    assert done.returncode == 1
    assert "the client for it is not installed" in done.stderr
    assert "pip install 'serinus[s3]'" in done.stderr


def test_a_folder_that_is_a_store_holds_no_copies_of_another(tmp_path: Path, url: str) -> None:
    """The limit of the copies would take its artifacts away."""
    open_store(tmp_path / "models")
    with pytest.raises(Misconfigured, match="is a store of its own"):
        open_store(tmp_path / "models", url)


def test_what_was_served_last_is_of_this_bucket(tmp_path: Path, url: str) -> None:
    one = open_store(tmp_path / "copies", f"{url}/one")
    one.publish(write_draft(tmp_path / "draft"), note="", actor="test", initial=True)
    one.remember(one.state())
    assert one.last_known() == one.state()
    assert open_store(tmp_path / "copies", f"{url}/other").last_known() is None
