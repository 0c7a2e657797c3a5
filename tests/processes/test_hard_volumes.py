"""`serinus infer` on a volume that takes no write: it serves what the store has and says so, once."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from serinus.bootstrap import edge
from serinus.store import Store
from tests.processes.installation import PATIENCE, Installation, eventually, pair
from tests.store.hard import fill_up, read_only, volume


@contextmanager
def infer(place: Installation) -> Iterator[Path]:
    """The process alone; gives its log."""
    path = place.root / "infer.log"
    with path.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "serinus", "infer"], env=place.env, stdout=log, stderr=log
        )
    try:
        yield path
    finally:
        process.terminate()
        assert process.wait(PATIENCE) in (0, -signal.SIGTERM), path.read_text()


def answers(place: Installation) -> bool:
    try:
        return httpx.get(f"{place.infer}/readyz", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.mark.parametrize("condition", ["full", "read-only"])
def test_infer_starts_and_serves(tmp_path: Path, condition: str) -> None:
    with volume(tmp_path / "models", 8) as models:
        place = Installation(tmp_path, settings={"POLL_SECONDS": "0.05"})
        place.store.publish(place.base, note="", actor="test", initial=True)
        ballast = models / "ballast"
        if condition == "full":
            fill_up(models)
        else:
            read_only(models)
        with infer(place) as log:
            eventually(lambda: answers(place), "infer is ready", tell=log.read_text)
            for _ in range(20):
                assert place.predict(pair(1)).status_code == 200, log.read_text()
            eventually(lambda: not place.status()["store_reachable"], "infer says that it cannot write")
            told = [line for line in log.read_text().splitlines() if " ERROR " in line]
            assert len(told) == 2, told
            assert "store that cannot be written" in told[0] and condition in told[0]
            assert "goes on serving" in told[1] and "Traceback" not in log.read_text()
            if condition == "full":
                assert replicas(models) == []
                ballast.unlink()
                eventually(lambda: replicas(models), "the heartbeat is there", tell=log.read_text)
                eventually(lambda: place.status()["store_reachable"], "the store can be used again")


def replicas(models: Path) -> list[str]:
    store = Store.look(models, clock=edge.now, new_id=edge.new_id)
    return [one.replica for one in store.replicas()]
