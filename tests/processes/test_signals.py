"""A canary that answers differently, on real processes: a golden set vouches for it, or a person is asked."""

from collections.abc import Iterator
from html import unescape
from pathlib import Path

import httpx
import pytest

from serinus.core.enums import ReasonCode, RolloutPhase
from serinus.rollout.events import Held, Noted, Verified
from serinus.rollout.policy import OnShift, Policy
from tests import models
from tests.control.golden import write_golden
from tests.processes.installation import Installation, eventually, failures, pair, traffic

pytestmark = pytest.mark.processes


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Installation]:
    """An installation whose policy asks a person wherever nothing vouches."""
    made = Installation(tmp_path, settings={"POLICY": "asks"})
    asks = Policy(name="asks", window_seconds=4.0, latency_floor_seconds=0.05, on_shift=OnShift.HOLD)
    made.store.put_policy(asks, actor="test", reason="ask me")
    made.up()
    try:
        yield made
    finally:
        made.down()


def test_other_classes_are_held_and_with_a_golden_set_promoted(place: Installation, tmp_path: Path) -> None:
    pictures = [pair(1), pair(1, height=48)]
    with traffic(place, pictures, users=2) as seen:
        eventually(lambda: len(seen) > 40, "users were answered before the rollout", tell=place.log)
        place.publish(models.other_classes(place.root / "v2", seed=2), note="other classes")
        place.wait_phase(RolloutPhase.HELD)
        rollout = place.state().rollout
        assert rollout is not None
        assert rollout.code is ReasonCode.SIGNALS, rollout.reason
        assert "dominant class" in rollout.reason and "nothing vouches" in rollout.reason
        board = unescape(httpx.get(place.ui, timeout=30).text)
        assert "answers differently from current" in board and "its answers differ from current's" in board
        assert place.steer("rollback").status_code == 200

        write_golden(tmp_path / "golden", turned=1)
        place.store.add_golden("coast", tmp_path / "golden", actor="test")
        # Of this seed the boxes are those of the golden truth, so that something is found there.
        version = place.publish(models.other_classes(place.root / "v3", seed=20), note="vouched for")
        ended = place.wait_ended(version)
    assert ended.phase is RolloutPhase.PROMOTED, ended.reason
    assert not failures(seen)
    bodies = [event.body for event in place.store.events() if getattr(event.body, "rollout", None) == 2]
    verified = next(body for body in bodies if isinstance(body, Verified))
    assert verified.vouched == ("golden set coast",)
    assert sum(verified.past["detections"].values()) >= 40  # type: ignore[index]
    assert [body.code for body in bodies if isinstance(body, Noted)] == [ReasonCode.SIGNALS]
    assert not any(isinstance(body, Held) for body in bodies)
