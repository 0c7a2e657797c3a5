"""Against MLflow's real tracking server: import over HTTP, outcomes back, the server away meanwhile."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from serinus.cli.app import run
from serinus.cli.exits import Exit
from serinus.core.enums import ReasonCode, RolloutPhase
from serinus.core.ids import Version
from serinus.rollout.events import RolledBack, Undone, Verified
from serinus.store import Store
from serinus.tracking.registry import CREDENTIALS
from tests import models
from tests.processes.installation import Installation, eventually, free_port, pair, traffic
from tests.tracking.shop import Server, Shop, running
from tests.tracking.test_outcomes import happen, promoted, rollout

pytestmark = pytest.mark.processes


@pytest.fixture
def server(tmp_path: Path, empty: Path) -> Any:
    with running(tmp_path / "server", empty) as found:
        yield found


@pytest.fixture
def based(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    store.publish(models.healthy(tmp_path / "base"), note="", actor="first start", initial=True)
    monkeypatch.setenv("MODEL_DIR", str(store.root))
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    for name in CREDENTIALS:
        monkeypatch.delenv(name, raising=False)
    return store


def said(capsys: pytest.CaptureFixture[str], *words: str, code: int = Exit.DONE) -> Any:
    capsys.readouterr()
    assert run([*words, "--json"]) == code, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def test_import_over_http_and_outcomes_back_by_hand(
    server: Server,
    based: Store,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shop = Shop(server.uri)
    for seed in (2, 3):
        shop.register("roofs", models.healthy(tmp_path / f"v{seed}", seed=seed), metrics={"mAP50": 0.5})
    address = server.uri.replace("//", "//alice:s3cret@")
    record = said(capsys, "import", "mlflow", address, "roofs/1", "--note", "from afar")
    assert (record["version"], record["note"]) == (2, "from afar")
    assert said(capsys, "import", "mlflow", server.uri, "roofs/latest")["version"] == 3
    written = b"".join(path.read_bytes() for path in based.root.rglob("*.json"))
    assert server.uri.encode() in written and b"s3cret" not in written

    two, three = Version(2), Version(3)
    happen(based, rollout(1, two), Verified(rollout=1, share=0.5), promoted(1, two))
    happen(based, rollout(2, three), RolledBack(rollout=2, version=three, code=ReasonCode.ERRORS))
    would = said(capsys, "import", "mlflow-tags", "--dry-run")
    assert [item["changed"] for item in would] == [True, True] and not shop.tags("roofs", "1")
    monkeypatch.setenv("MLFLOW_ALIAS", "serving")
    assert [item["changed"] for item in said(capsys, "import", "mlflow-tags")] == [True, True]
    tags = shop.tags("roofs", "1")
    assert (tags["serinus.version"], tags["serinus.outcome"]) == ("2", "promoted")
    assert tags["serinus.evidence"] == "e" * 64 and tags["serinus.reason"] == "because of Promoted"
    assert tags["serinus.sha256"] == based.state().versions[two].digest
    assert shop.tags("roofs", "2")["serinus.outcome"] == "rolled_back"
    assert str(shop.client.get_model_version_by_alias("roofs", "serving").version) == "1"

    assert [item["changed"] for item in said(capsys, "import", "mlflow-tags")] == [False, False]
    happen(based, Undone(version=Version(1), undone=two))
    said(capsys, "import", "mlflow-tags")
    tags = shop.tags("roofs", "1")
    assert tags["serinus.outcome"] == "undone" and "serinus.evidence" not in tags
    assert shop.client.get_registered_model("roofs").aliases == {}

    said_by = run(["import", "mlflow", server.uri, "roofs/7"])
    assert said_by == Exit.USAGE and "not found" in capsys.readouterr().err

    server.stop()
    assert run(["import", "mlflow", address, "roofs/1"]) == Exit.FAILED
    words = capsys.readouterr().err
    assert "Is the server up" in words and "s3cret" not in words
    (first, *_) = said(capsys, "import", "mlflow-tags", code=Exit.FAILED)
    assert "Is the server up" in first["trouble"]


def test_a_version_of_the_same_number_elsewhere_is_left_alone(
    server: Server,
    shop: Shop,
    based: Store,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    draft = models.healthy(tmp_path / "v2", seed=2)
    shop.register("roofs", draft)
    elsewhere = Shop(server.uri)
    elsewhere.register("roofs", draft)
    two = Version(said(capsys, "import", "mlflow", shop.uri, "roofs/1")["version"])
    happen(based, rollout(1, two), RolledBack(rollout=1, version=two, code=ReasonCode.ERRORS))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    (item,) = said(capsys, "import", "mlflow-tags", code=Exit.FAILED)
    assert "not the one that was imported" in item["trouble"] and not elsewhere.tags("roofs", "1")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    said(capsys, "import", "mlflow-tags")
    assert shop.tags("roofs", "1")["serinus.outcome"] == "rolled_back"


def test_the_controller_tells_when_the_server_is_back(server: Server, tmp_path: Path) -> None:
    """A whole installation: the server is away when the rollout ends, and the rollout does not care."""
    shop = Shop(server.uri)
    shop.register("roofs", models.healthy(tmp_path / "v2", seed=2))
    place = Installation(tmp_path, settings={"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"})
    place.up()
    try:
        command = [sys.executable, "-m", "serinus", "import", "mlflow", server.uri, "roofs/1", "--json"]
        done = subprocess.run(command, env=place.env, capture_output=True, text=True, check=True)
        version = Version(json.loads(done.stdout)["version"])
        server.stop()
        with traffic(place, [pair(1), pair(2)], users=2):
            assert place.wait_ended(version).phase is RolloutPhase.PROMOTED
        eventually(lambda: "was not told" in place.log(), "the controller says that it could not tell")
        server.start()
        eventually(lambda: shop.tags("roofs", "1").get("serinus.outcome") == "promoted", "it is told")
    finally:
        place.down()


def test_a_port_where_nobody_listens_is_said(based: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["import", "mlflow", f"http://127.0.0.1:{free_port()}", "roofs/1"]) == Exit.FAILED
    assert "Is the server up" in capsys.readouterr().err
