"""Servers that lie, hang, refuse or listen for credentials; an installation without the extra."""

import json
import socket
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest

from serinus.artifact.manifest import Lineage
from serinus.bootstrap.settings import load
from serinus.bootstrap.tracking import _tell_in_child
from serinus.cli.app import run
from serinus.cli.exits import Exit
from serinus.core.enums import ReasonCode
from serinus.core.errors import TooLarge
from serinus.rollout.events import Rejected
from serinus.store import Store
from serinus.tracking.importing import import_draft
from serinus.tracking.registry import Found, Registry
from serinus.tracking.source import Wanted
from tests import models
from tests.tracking.shop import Shop
from tests.tracking.test_outcomes import happen, rollout


class Understated(Registry):
    """Declares every artifact as one byte."""

    def files(self, found: Found) -> dict[str, int]:
        return dict.fromkeys(super().files(found), 1)


class Guarded(ThreadingHTTPServer):
    """Refuses everybody, and remembers what they showed."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Refusal)
        self.shown: list[str | None] = []

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Refusal(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Guarded)
        self.server.shown.append(self.headers.get("Authorization"))
        body = json.dumps({"error_code": "UNAUTHENTICATED", "message": "who are you?"}).encode()
        self.send_response(401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def guarded() -> Iterator[Guarded]:
    with Guarded() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def based(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    store.publish(models.healthy(tmp_path / "base"), note="", actor="first start", initial=True)
    monkeypatch.setenv("MODEL_DIR", str(store.root))
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "s3cret")
    return store


def ended(store: Store, tmp_path: Path, uri: str, actor: str) -> None:
    """A rejected version whose lineage names `uri`."""
    draft = models.healthy(tmp_path / "v2", seed=2)
    origin = {"tracking_uri": uri, "model": "roofs", "version": "1"}
    (draft / "lineage.json").write_bytes(msgspec.json.encode(Lineage(config={"mlflow": origin})))
    version = store.publish(draft, note="", actor=actor)
    happen(store, rollout(1, version), Rejected(rollout=1, code=ReasonCode.VERIFY_FAILED))


def test_more_than_was_declared_is_stopped_while_it_comes(shop: Shop, tmp_path: Path) -> None:
    draft = models.healthy(tmp_path / "draft")
    (draft / "best.pt").write_bytes(bytes(8_000_000))
    shop.register("roofs", draft)
    work = tmp_path / "work"
    work.mkdir()
    with pytest.raises(TooLarge, match=r"best\.pt"):
        import_draft(
            Understated(shop.uri),
            Wanted("roofs", "1"),
            work,
            limit_bytes=2_000_000,
            progress=lambda *_: None,
        )
    assert max(path.stat().st_size for path in work.rglob("*") if path.is_file()) <= 2_000_000
    (tmp_path / "after").write_bytes(bytes(4_000_000))  # the limit is gone again


def test_who_may_not_is_told_which_variables_help(
    based: Store, guarded: Guarded, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["import", "mlflow", guarded.uri, "roofs/1"]) == Exit.USAGE
    words = capsys.readouterr().err
    assert "MLFLOW_TRACKING_USERNAME" in words and "s3cret" not in words
    assert set(guarded.shown) == {"Bearer s3cret"}, "a person named this server"


def test_credentials_go_to_the_server_of_the_setting_only(
    based: Store, guarded: Guarded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended(based, tmp_path, guarded.uri, actor="mallory via mlflow import")
    assert run(["import", "mlflow-tags", "--json"]) == Exit.FAILED
    assert guarded.shown and set(guarded.shown) == {None}
    guarded.shown.clear()
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "s3cret")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", guarded.uri)
    assert run(["import", "mlflow-tags", "--json"]) == Exit.FAILED
    assert set(guarded.shown) == {"Bearer s3cret"}


def test_an_address_in_a_foreign_lineage_is_never_called(
    based: Store, guarded: Guarded, tmp_path: Path
) -> None:
    ended(based, tmp_path, guarded.uri, actor="mallory via cli")
    assert run(["import", "mlflow-tags", "--json"]) == Exit.DONE
    assert guarded.shown == []


def test_a_server_that_hangs_is_left_after_the_time_limit(based: Store, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        ended(based, tmp_path, f"http://127.0.0.1:{silent.getsockname()[1]}", "alice via mlflow import")
        settings = load(model_dir=based.root, data_dir=tmp_path / "data")
        stop = threading.Event()
        assert "took longer than 5 s" in _tell_in_child(settings, stop, 5.0)
        stop.set()
        assert _tell_in_child(settings, stop, 600.0) == "", "the controller ends: no trouble, no waiting"


def test_without_the_extra_it_is_said_how_to_get_it(
    based: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)  # what Python sees where it is not installed
    assert run(["import", "mlflow", "http://127.0.0.1:1", "roofs/1"]) == Exit.FAILED
    words = capsys.readouterr().err
    assert "MLflow is not installed here" in words and "'.[mlflow]'" in words
