"""kill -9 of any process at random moments of rollouts loses no event and leaves no half state."""

import random
import time
from pathlib import Path

import pytest

from serinus.core.enums import RolloutPhase, VersionState
from tests import models
from tests.processes.installation import Installation, eventually, pair, traffic

pytestmark = [pytest.mark.processes, pytest.mark.timeout(3600)]
VICTIMS = ("infer", "controller", "ui", "worker", "up")


def kill_during_rollouts(tmp_path: Path, kills: int, seed: int) -> None:
    chance = random.Random(seed)
    place = Installation(tmp_path, settings={"WINDOW_SECONDS": "3"})
    place.up()
    try:
        with traffic(place, [pair(n) for n in range(6)], users=2):
            for number in range(kills):
                version = place.publish(models.healthy(tmp_path / f"v{number}", seed=number + 10))
                before = [event.id for event in place.store.events()]
                victim = VICTIMS[number % len(VICTIMS)]
                time.sleep(chance.uniform(0, 3))
                assert place.kill(victim) or victim == "worker", f"no process {victim}"
                if victim == "up":
                    eventually(lambda: not place.ready(), "the tree dies with its root")
                    place.up()
                else:
                    eventually(place.ready, f"{victim} is back", tell=place.log)
                after = [event.id for event in place.store.events()]
                assert after[: len(before)] == before, "an event was lost"
                ended = place.wait_ended(version)
                assert ended.phase is RolloutPhase.PROMOTED, f"after kill -9 of {victim}: {ended.reason}"
    finally:
        place.down()
    whole_and_right(place)


def whole_and_right(place: Installation) -> None:
    """The chain holds from the first event, every version is intact, exactly one is current."""
    fresh = Installation(place.root).store
    state = fresh.state()
    assert [event.seq for event in fresh.events()] == list(range(1, state.seq + 1))
    for record in state.versions.values():
        fresh.verify(record.digest)
    current = [record.version for record in state.versions.values() if record.state is VersionState.CURRENT]
    assert current == [state.current] == [max(state.versions)]


def test_five_kills(tmp_path: Path) -> None:
    kill_during_rollouts(tmp_path, kills=5, seed=1)


@pytest.mark.long
def test_fifty_kills(tmp_path: Path) -> None:
    kill_during_rollouts(tmp_path, kills=50, seed=2)
