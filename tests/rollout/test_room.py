"""Whether a version finds room, from what a loaded one takes."""

import pytest

from serinus.rollout.policy import OnNoRoom, Policy
from serinus.rollout.room import Memory, need, shortage

MB = 1_000_000


def memory(free: int) -> Memory:
    return Memory(
        worker=100 * MB, workers=2, model=10 * MB, free=free, limit="this machine", load_seconds=1.5
    )


@pytest.mark.parametrize(("model", "expected"), [(10, 200), (5, 200), (0, 200), (40, 320)])
def test_a_version_takes_what_the_loaded_one_takes_and_its_larger_weights_twice(
    model: int, expected: int
) -> None:
    assert need(memory(0), model * MB) == expected * MB


def test_what_is_missing_is_said_with_its_numbers() -> None:
    assert shortage(memory(200 * MB), 10 * MB) == ""
    assert shortage(None, 10 * MB) == "", "nothing is known"
    words = shortage(memory(199 * MB), 10 * MB)
    assert words == ("it would take about 200 MB beside what is loaded, and 199 MB are free (this machine)")
    assert "0 MB are free" in shortage(memory(-5 * MB), 10 * MB)


def test_no_policy_climbs_steps_with_one_version_loaded() -> None:
    (problem,) = Policy(steps=(0.1, 0.5), on_no_room=OnNoRoom.SEQUENTIAL).problems()
    assert problem.startswith("steps ")
