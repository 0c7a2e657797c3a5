"""One replica of many: it loads what is to become the canary, and says when it is cut off."""

import shutil
import threading
from pathlib import Path

import pytest

from serinus.bootstrap.edge import new_id
from serinus.core.ids import Version
from serinus.rollout.events import Rejected, RolloutStarted, Verified
from serinus.rollout.policy import Policy
from serinus.store import Routes, Served
from serinus.store.local import Disk
from tests import models
from tests.serving.house import House, house, publish, wait_for

pytestmark = pytest.mark.processes


def start(made: House, version: Version) -> None:
    body = RolloutStarted(rollout=1, version=version, policy=Policy())
    made.store.append(body, actor="test", reason="test")


def hint(made: House, version: Version) -> None:
    digest = made.store.state().versions[version].digest
    routes = Routes(seq=made.store.state().seq, candidate=Served(version=version, digest=digest))
    made.store.put_routes(routes)


def has(made: House, version: Version) -> bool:
    return made.store.state().versions[version].digest in made.residency.loaded


def test_a_candidate_is_loaded_gets_no_request_and_goes_when_it_is_rejected(tmp_path: Path) -> None:
    with house(tmp_path) as made:
        second = made.healthy(2)
        hint(made, second)
        wait_for(lambda: made.serves(Version(1)), "current")
        start(made, second)
        wait_for(lambda: has(made, second), "the candidate")
        assert made.serves(Version(1)), "it is no canary yet"
        made.store.append(Rejected(rollout=1, code="memory"), actor="test", reason="test")  # type: ignore[arg-type]
        wait_for(lambda: not has(made, second), "its end")


def test_a_candidate_that_is_loaded_is_the_canary_at_once(tmp_path: Path) -> None:
    with house(tmp_path) as made:
        second = made.healthy(2)
        start(made, second)
        hint(made, second)
        wait_for(lambda: has(made, second), "the candidate")
        (worker,) = made.pids(second)
        made.store.append(Verified(rollout=1, share=0.5), actor="test", reason="test")
        made.wait_serves(Version(1), second)
        assert made.pids(second) == [worker], "it was not loaded again"


def test_newer_routes_read_between_two_files_do_not_unload_a_candidate(tmp_path: Path) -> None:
    """The controller appends its event, then renews the hint: who read the journal before may see it."""
    with house(tmp_path) as made:
        second = made.healthy(2)
        start(made, second)
        hint(made, second)
        wait_for(lambda: has(made, second), "the candidate")
        (worker,) = made.pids(second)
        made.store.put_routes(Routes(seq=made.store.state().seq + 1))
        for _ in range(3):
            (told,) = made.store.replicas()
            wait_for(lambda: made.store.replicas()[0].time > told.time, "a later round")  # noqa: B023
        assert made.pids(second) == [worker], "it stays loaded"
        hint(made, second)
        made.store.append(Verified(rollout=1, share=0.5), actor="test", reason="test")
        made.wait_serves(Version(1), second)
        assert made.pids(second) == [worker], "it was not loaded again"


def test_a_candidate_without_room_is_no_failure_but_waits_for_the_policy(tmp_path: Path) -> None:
    with house(tmp_path, memory_bytes=1) as made:
        made.wait_serves(Version(1))
        second = made.healthy(2)
        start(made, second)
        hint(made, second)
        wait_for(lambda: made.store.replicas()[0].seq == made.store.state().seq, "the state is read")
        (told,) = made.store.replicas()
        wait_for(lambda: made.store.replicas()[0].time > told.time, "a later round")
        assert not made.store.replicas()[0].failed and not has(made, second)
        made.store.append(
            Verified(rollout=1, share=1.0, sequential=True), actor="test", reason="in place of current"
        )
        wait_for(lambda: has(made, second), "it takes the place of current")
        assert not made.pids(Version(1))


def test_a_candidate_that_does_not_load_is_told_of(tmp_path: Path) -> None:
    with house(tmp_path) as made:
        bad = publish(made.store, models.crashing(tmp_path / "bad"))
        start(made, bad)
        hint(made, bad)
        digest = made.store.state().versions[bad].digest
        wait_for(lambda: any(digest in beat.failed for beat in made.store.replicas()), "the heartbeat")


def test_a_volume_that_is_not_mounted_any_more_is_noticed(tmp_path: Path) -> None:
    """An empty folder looks like a store in which nothing happens."""
    with house(tmp_path) as made:
        made.wait_serves(Version(1))
        assert made.agent.store_reachable
        made.store.root.rename(tmp_path / "elsewhere")
        made.store.root.mkdir(exist_ok=True)
        wait_for(lambda: not made.agent.store_reachable, "the replica says so")
        assert made.serves(Version(1))
        assert b"serinus_store_up 0.0" in made.metrics.text()
        wait_for(lambda: made.agent.state_age_seconds > 2.0, "the age of what it knows", 10.0)
        assert not (made.store.root / "journal").exists(), "it makes no second store"
        shutil.rmtree(made.store.root)
        (tmp_path / "elsewhere").rename(made.store.root)
        wait_for(lambda: made.agent.store_reachable, "the replica is back")


class HangingDisk(Disk):
    """A volume that keeps whoever reads it waiting, as NFS does whose server is away."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, new_id)
        self.goes_on = threading.Event()
        self.goes_on.set()

    def read(self, path: Path) -> bytes | None:
        self.goes_on.wait()
        return super().read(path)


def test_a_volume_that_hangs_is_noticed(tmp_path: Path) -> None:
    disk = HangingDisk(tmp_path / "store")
    with house(tmp_path, disk=disk) as made:
        made.wait_serves(Version(1))
        disk.goes_on.clear()
        try:
            wait_for(lambda: not made.agent.store_reachable, "the replica says so")
            assert made.agent.state_age_seconds > 10.0
            assert b"serinus_store_up 0.0" in made.metrics.text()
        finally:
            disk.goes_on.set()
        wait_for(lambda: made.agent.store_reachable, "the replica is back")
