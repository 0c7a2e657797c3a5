"""A replica that has no room for two versions: it refuses the second, or one makes way for the other."""

from pathlib import Path

import pytest

from serinus.core.enums import Arm
from serinus.core.errors import Unavailable
from serinus.rollout.events import RolloutStarted, Undone, Verified
from serinus.rollout.policy import OnNoRoom, Policy
from tests.serving.house import House, house, promote, roll_back, start_canary, wait_for
from tests.serving.test_predict import ask
from tests.serving.test_residency import beats_failed, failed

pytestmark = pytest.mark.processes

TINY = 1
"""So few bytes that nothing fits beside what is loaded."""
IN_TURN = Policy(on_no_room=OnNoRoom.SEQUENTIAL)


def start_in_turn(made: House, version: int) -> int:
    """Journals what the controller would: the canary takes the place of current."""
    rollout = made.store.state().rollouts + 1
    started = RolloutStarted(rollout=rollout, version=version, policy=IN_TURN)  # type: ignore[arg-type]
    made.store.append(started, actor="test", reason="test")
    made.store.append(Verified(rollout=rollout, share=1.0, sequential=True), actor="test", reason="test")
    return rollout


def one_after_the_other(made: House, before: int, after: int) -> None:
    """`after` is loaded when `before` is gone, and nobody answers between."""
    seen = []

    def replaced() -> bool:
        loaded = (bool(made.pids(before)), bool(made.pids(after)))  # type: ignore[arg-type]
        if loaded not in seen:
            seen.append(loaded)
        return loaded == (False, True)

    wait_for(replaced, f"version {after} in place of {before}")
    assert (True, True) not in seen, "both were loaded at once"


def test_a_canary_without_room_is_a_load_failure_and_current_goes_on(tmp_path: Path) -> None:
    with house(tmp_path, memory_bytes=TINY) as made:
        workers = made.pids(1)
        version = made.healthy(2)
        start_canary(made.store, version)
        wait_for(lambda: failed(made, version), "the load failure")
        assert "there is no room: it would take about" in failed(made, version)
        assert "INFER_MEMORY_MB" in failed(made, version)
        wait_for(lambda: beats_failed(made, version), "the heartbeat")
        assert made.pids(1) == workers and not made.pids(version) and not made.loading()
        assert ask(made)[0].target.version == 1


def test_a_replica_says_what_a_version_takes(tmp_path: Path) -> None:
    with house(tmp_path, memory_bytes=10**12) as made:
        wait_for(lambda: any(r.memory for r in made.store.replicas(0.0)), "a heartbeat")
        (told,) = [r.memory for r in made.store.replicas(0.0)]
        assert told is not None
        assert 10_000_000 < told.worker < 10**9
        assert told.load_seconds > 0
        version = made.healthy(2)
        start_canary(made.store, version)
        made.wait_serves(1, version)


def test_a_sequential_rollout_unloads_current_first_and_a_rollback_brings_it_back(tmp_path: Path) -> None:
    with house(tmp_path, memory_bytes=TINY) as made:
        version = made.healthy(2)
        rollout = start_in_turn(made, version)
        one_after_the_other(made, 1, version)
        made.wait_serves(None, version)  # type: ignore[arg-type]
        answer = ask(made)[0]
        assert (answer.assigned, answer.role, answer.target.version) == (Arm.CANARY, Arm.CANARY, version)
        roll_back(made.store, rollout, version)
        one_after_the_other(made, version, 1)
        made.wait_serves(1)  # type: ignore[arg-type]
        assert ask(made)[0].target.version == 1


def test_in_the_gap_a_request_is_told_to_come_back(tmp_path: Path) -> None:
    with house(tmp_path, memory_bytes=TINY) as made:
        version = made.healthy(2)
        start_in_turn(made, version)
        wait_for(made.loading, "the worker in current's place")
        (loading,) = made.loading()
        loading.suspend()
        with pytest.raises(Unavailable) as refused:
            ask(made)
        assert refused.value.retry_after
        loading.resume()
        made.wait_serves(None, version)  # type: ignore[arg-type]
        assert not failed(made, 1)


def test_current_comes_back_when_the_one_in_its_place_does_not_load(tmp_path: Path) -> None:
    with house(tmp_path, memory_bytes=TINY) as made:
        version = made.healthy(2)
        (made.store.artifact(made.store.state().versions[version].digest) / "model.onnx").unlink()
        start_in_turn(made, version)
        wait_for(lambda: failed(made, version), "the load failure")
        made.wait_serves(1)  # type: ignore[arg-type]
        assert ask(made)[0].target.version == 1


def test_a_promoted_version_stays_and_undo_swaps_in_turn(tmp_path: Path) -> None:
    with house(tmp_path, memory_bytes=TINY) as made:
        version = made.healthy(2)
        rollout = start_in_turn(made, version)
        made.wait_serves(None, version)  # type: ignore[arg-type]
        workers = made.pids(version)
        promote(made.store, rollout, version)
        made.wait_serves(version)
        assert made.pids(version) == workers, "it is not loaded again"
        assert not made.pids(1), "and the one before does not stand by"  # type: ignore[arg-type]
        made.store.append(Undone(version=1, undone=version), actor="test", reason="test")  # type: ignore[arg-type]
        one_after_the_other(made, version, 1)
        made.wait_serves(1)  # type: ignore[arg-type]


def test_without_room_and_leave_to_swap_in_turn_an_undo_leaves_the_later_version_serving(
    tmp_path: Path,
) -> None:
    with house(tmp_path, memory_bytes=10**12) as made:
        version = made.healthy(2)
        rollout = start_canary(made.store, version, policy=Policy(rollback_window_seconds=0.0))
        made.wait_serves(1, version)  # type: ignore[arg-type]
        promote(made.store, rollout, version)
        wait_for(lambda: not made.pids(1), "version 1 to be unloaded")  # type: ignore[arg-type]
    with House(tmp_path, memory_bytes=TINY) as made:
        made.wait_serves(version)
        made.store.append(Undone(version=1, undone=version), actor="test", reason="test")  # type: ignore[arg-type]
        wait_for(lambda: failed(made, 1), "the failure")
        assert "there is no room" in failed(made, 1)
        assert ask(made)[0].target.version == version
