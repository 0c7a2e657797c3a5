"""Somebody else's training container writes into MODEL_DIR as the document says, on a real `serinus up`."""

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from serinus.core.enums import RolloutPhase
from serinus.core.ids import Version
from serinus.rollout.events import ImportRejected
from tests import foreign
from tests.processes.installation import Installation, eventually

pytestmark = pytest.mark.processes


def write_slowly(ready: Path, target: Path) -> None:
    """As a container does: the weights in pieces, `version.json` last."""
    target.mkdir()
    for name in ("best.pt", "best.json", "version.json"):
        data = (ready / name).read_bytes()
        with (target / name).open("wb") as file:
            for start in range(0, len(data), 1 + len(data) // 5):
                file.write(data[start : start + 1 + len(data) // 5])
                file.flush()
                time.sleep(0.1)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Installation]:
    found = Installation(tmp_path, settings={"IMPORT_SETTLE_SECONDS": "1", "WINDOW_SECONDS": "2"})
    found.up()
    try:
        yield found
    finally:
        found.down()


def test_a_foreign_container_makes_a_canary(place: Installation, tmp_path: Path) -> None:
    models = tmp_path / "models"
    write_slowly(foreign.compact(tmp_path / "theirs"), models / "canary")
    place.wait_version(2)
    eventually(lambda: place.ended(Version(2)), "its rollout ends", tell=place.log)
    ended = place.wait_ended(Version(2))
    assert ended.phase is RolloutPhase.PROMOTED, ended.reason
    assert ended.canary_at is not None, "it was a canary first"
    eventually(lambda: not (models / "canary").exists(), "nothing is left in its place")
    card = json.loads((models / "current" / "version.json").read_text())
    assert (card["version"], card["metrics"]["final_map"]) == (2, 0.84)
    assert (models / "current" / "best.pt").read_bytes() == (tmp_path / "theirs" / "best.pt").read_bytes()
    record = place.state().versions[Version(2)]
    assert record.note == "version 7 of another trainer, 2024-01-15T10:30:00"

    # What cannot be imported is refused in words, and changes nothing for anybody.
    proof = tmp_path / "executed"
    shutil.copytree(foreign.checkpoint(tmp_path / "evil", foreign.Attack(proof)), models / "canary")
    eventually(lambda: place.state().refused, "it is refused", tell=place.log)
    assert not proof.exists()
    (event,) = [event for event in place.store.events() if isinstance(event.body, ImportRejected)]
    assert "posix.system" in event.reason
    kept = models / "incoming" / "rejected" / event.body.source
    eventually((kept / "best.pt").exists, "its files are kept")
    assert place.state().current == 2
    assert "was written by somebody else" in place.log()
