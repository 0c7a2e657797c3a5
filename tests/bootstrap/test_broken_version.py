"""The job that publishes a broken version, ended before its work was done and done again."""

from functools import partial
from pathlib import Path
from threading import Event

import httpx
import pytest

from serinus.bootstrap import broken_version
from serinus.bootstrap.broken_version import publish_broken
from serinus.bootstrap.settings import load
from serinus.bootstrap.wiring import open_store
from serinus.core.enums import ReasonCode, VersionState
from serinus.core.errors import Cancelled
from serinus.rollout.events import Rejected, RolloutStarted
from serinus.rollout.policy import Policy
from tests import models


def test_a_job_that_is_done_again_publishes_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(model_dir=tmp_path / "models", data_dir=tmp_path / "data")
    store = open_store(settings)
    store.publish(models.healthy(tmp_path / "v1", size=128), note="", actor="test", initial=True)
    there = httpx.MockTransport(lambda request: httpx.Response(200))
    monkeypatch.setattr(httpx, "Client", partial(httpx.Client, transport=there))
    stop = Event()
    monkeypatch.setattr(broken_version, "stop_event", lambda: stop)
    job, other = tmp_path / "broken-1", tmp_path / "broken-2"
    job.mkdir()
    other.mkdir()

    def run(folder: Path) -> int:
        return publish_broken(settings, actor="test", job=folder, progress=lambda *_: None).version

    stop.set()  # its node is emptied as soon as it has published
    with pytest.raises(Cancelled, match="version 2 stays published"):
        run(job)
    store.append(RolloutStarted(rollout=1, version=2, policy=Policy()), actor="controller", reason="next")
    store.append(Rejected(rollout=1, code=ReasonCode.QUALITY_GATE), actor="controller", reason="it raises")
    stop.clear()
    assert run(job) == 2
    versions = store.state().versions
    assert {number: record.state for number, record in versions.items()} == {
        1: VersionState.CURRENT,
        2: VersionState.REJECTED,
    }

    stop.set()  # another job is another version
    with pytest.raises(Cancelled, match="version 3 stays published"):
        run(other)
