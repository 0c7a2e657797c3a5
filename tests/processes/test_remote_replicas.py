"""Two replicas on machines of their own and one controller, which meet in a bucket only."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from serinus.bootstrap import edge
from serinus.control import commands
from serinus.core.enums import RolloutPhase
from serinus.core.ids import Version
from serinus.store import Address, Store
from tests import models
from tests.processes.installation import eventually, free_port

pytestmark = [pytest.mark.processes, pytest.mark.timeout(600)]


@contextmanager
def running(machine: Path, command: str, **settings: str) -> Iterator[str]:
    """A process with a MODEL_DIR of its own; gives the URL of infer."""
    machine.mkdir()
    port = free_port()
    with (machine / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "serinus", command],
            cwd=machine,
            env={
                **os.environ,
                "INFER_PORT": str(port),
                "INFER_WORKERS": "1",
                "WINDOW_SECONDS": "1",
                "PROBES": "false",
                "TICK_SECONDS": "0.2",
                "POLL_SECONDS": "0.2",
                **settings,
            },
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        try:
            assert process.wait(60) in (0, -signal.SIGTERM), (machine / "log").read_text()[-4000:]
        finally:
            process.kill()


def serves(url: str, version: int) -> bool:
    try:
        status = httpx.get(f"{url}/model-status", timeout=10).json()
    except httpx.HTTPError:
        return False
    return bool(status.get("current_version", {}).get("version") == version)


def card(machine: Path, role: str) -> int:
    """The version that a view of that machine names; 0 when there is no such view."""
    folder = machine / "models" / role
    try:
        document = json.loads((folder / "version.json").read_text())
        assert (folder / "model.onnx").stat().st_size > 0
    except FileNotFoundError:
        return 0
    return int(document["version"])


def test_both_obey_and_show_what_serves(tmp_path: Path, url: str) -> None:
    base = models.healthy(tmp_path / "base", seed=0)
    store = Store.open(
        tmp_path / "observer",
        clock=edge.now,
        new_id=edge.new_id,
        bucket=Address(url, patience=10.0, allow_http=True),
    )
    settings = {"STORE_URL": url, "BASE_WEIGHTS": str(base)}
    machines = [tmp_path / "one", tmp_path / "two"]
    with ExitStack() as stack:
        replicas = [stack.enter_context(running(each, "infer", **settings)) for each in machines]
        stack.enter_context(running(tmp_path / "three", "controller", **settings))

        def everywhere(version: int, canary: int) -> bool:
            return all(serves(each, version) for each in replicas) and all(
                (card(each, "current"), card(each, "canary")) == (version, canary) for each in machines
            )

        eventually(lambda: everywhere(1, 0), "both serve the base")
        store.publish(models.healthy(tmp_path / "v2", seed=12), note="second", actor="test")
        eventually(lambda: everywhere(1, 2), "both have the canary, and show it")
        rollout = store.state().rollout
        assert rollout is not None and rollout.phase is RolloutPhase.CANARY
        commands.promote(store, actor="test", reason="enough", confirm=True)
        eventually(lambda: everywhere(2, 0), "both obey the promotion")
        for machine in machines:
            assert sorted(path.name for path in (machine / "models" / "versions").iterdir()) == [
                "000001",
                "000002",
            ]
            assert "Fetching" in (machine / "log").read_text(), "an operator sees what is waited for"
        commands.undo(store, actor="test", reason="after all")
        eventually(lambda: everywhere(1, 0), "both obey the undo")
        assert store.state().current == Version(1)
