"""A machine with room for one version, on real processes: the next one takes its place, or is refused."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from serinus.core.enums import ReasonCode, RolloutPhase
from serinus.rollout.events import Verified
from serinus.rollout.policy import OnNoRoom, Policy
from tests import models
from tests.processes.installation import Installation, eventually, failures, pair, traffic

pytestmark = pytest.mark.processes

IN_TURN = Policy(name="turns", window_seconds=4.0, latency_floor_seconds=0.05, on_no_room=OnNoRoom.SEQUENTIAL)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Installation]:
    """An installation whose INFER_MEMORY_MB is what it takes with one version, and half a version more."""
    made = Installation(tmp_path, settings={"POLICY": IN_TURN.name})
    made.store.put_policy(IN_TURN, actor="test", reason="one version only")
    made.up()
    try:
        eventually(lambda: worker_bytes(made), "the replica says what a version takes", tell=made.log)
        infer = made.process_of("infer")
        assert infer is not None
        taken = sum(each.memory_full_info().pss for each in (infer, *infer.children(recursive=True)))
        made.down()
        made.settings["INFER_MEMORY_MB"] = str((taken + worker_bytes(made) // 2) // 1_000_000)
        made.up()
        yield made
    finally:
        made.down()


def worker_bytes(place: Installation) -> int:
    return max((one.memory.worker for one in place.store.replicas() if one.memory is not None), default=0)


def test_the_next_version_takes_currents_place_or_is_refused(place: Installation) -> None:
    pictures = [pair(1), pair(2)]
    with traffic(place, pictures, users=2) as seen:
        eventually(lambda: len(seen) > 20, "users were answered before the rollout", tell=place.log)
        second = place.publish(models.healthy(place.root / "v2", seed=2))
        ended = place.wait_ended(second)
        assert ended.phase is RolloutPhase.PROMOTED, f"{ended.reason} {place.log()}"
        mark = len(seen)
        eventually(lambda: len(seen) > mark + 20, "users are answered after it", tell=place.log)

        refuses = Policy(name=IN_TURN.name, window_seconds=4.0, on_no_room=OnNoRoom.REFUSE)
        place.store.put_policy(refuses, actor="test", reason="no gap any more")
        refused = place.wait_ended(place.publish(models.healthy(place.root / "v3", seed=3)))
        assert (refused.phase, refused.code) == (RolloutPhase.REJECTED, ReasonCode.MEMORY), refused.reason
        assert "INFER_MEMORY_MB" in refused.reason
    [verified] = [event for event in place.store.events() if isinstance(event.body, Verified)]
    assert verified.body.sequential and "nobody answers until it is loaded" in verified.reason
    gap = failures(seen)
    assert {reply["status"] for reply in gap} <= {503}, gap[:3]
    versions = [reply["model"]["version"] for reply in seen if reply["status"] == 200]
    assert set(versions) == {1, 2}
    assert versions == sorted(versions), "never both at a time"
