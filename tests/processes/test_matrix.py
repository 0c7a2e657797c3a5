"""Five canaries at 0, 1, 10 and 50 requests a second, on real processes. Minutes: only in `make test-long`.

`tests/control/test_matrix.py` does the same in simulated time.
"""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from serinus.control.explain import explain, in_words
from serinus.core.enums import ReasonCode, RolloutPhase
from serinus.rollout.state import Rollout
from tests import models
from tests.control.golden import write_golden
from tests.processes.installation import Installation, eventually, failures, pair, traffic

pytestmark = [pytest.mark.processes, pytest.mark.long, pytest.mark.timeout(900)]

RATES = (0, 1, 10, 50)
WORK = 1500
"""Rounds of a model's loop where latency is the question: 15 ms of a core. Else next to nothing, since 50
requests a second of such work saturate two cores, and then the queue decides how long a request takes."""
AS_CURRENT = (0, 1, 3, 2)
"""Current takes major damage for destroyed, and destroyed for major damage."""
RIGHT = (0, 1, 2, 3)
SQUARE = [pair(seed) for seed in range(8)]
EDGE = [pair(seed, height=48) for seed in range(8)]
"""What `fails` fails on; the golden pairs, and so the probes, are square."""
PATIENCE = 400.0

GOOD = (RolloutPhase.PROMOTED, ReasonCode.EVIDENCE_GOOD)
FAILED = (RolloutPhase.ROLLED_BACK, ReasonCode.ERRORS)
SLOW = (RolloutPhase.ROLLED_BACK, ReasonCode.LATENCY)
UNDECIDED = (RolloutPhase.HELD, ReasonCode.INSUFFICIENT)

Make = Callable[[Path], Path]


def healthy(folder: Path) -> Path:
    return models.calling(folder, AS_CURRENT, rounds=2)


def failing(folder: Path) -> Path:
    return models.raising(folder, only_when_height_is_not=64)


def failing_sometimes(folder: Path) -> Path:
    return models.raising(folder, seed=20, only_when_height_is_not=64)


def slower(folder: Path) -> Path:
    return models.calling(folder, AS_CURRENT, rounds=WORK * 3 // 2)


def better(folder: Path) -> Path:
    return models.calling(folder, RIGHT, rounds=1)


MIXED = [*SQUARE, *EDGE[:2]]
"""One in five is an edge tile."""
CASES: dict[str, tuple[Make, list[tuple[bytes, bytes]], tuple[set[tuple[RolloutPhase, ReasonCode]], ...]]] = {
    "healthy": (healthy, SQUARE, ({GOOD}, {GOOD}, {GOOD}, {GOOD})),
    # Without users it meets nothing that it fails on.
    "fails always": (failing, EDGE, ({GOOD}, {FAILED}, {FAILED}, {FAILED})),
    # At a request a second few users have met it when probes have proved what they can.
    "fails 20 %": (failing_sometimes, MIXED, ({GOOD}, {GOOD, FAILED, UNDECIDED}, {FAILED}, {FAILED})),
    "1.5 times slower": (slower, SQUARE, ({SLOW}, {SLOW}, {SLOW}, {SLOW})),
    "different and better": (better, SQUARE, ({GOOD}, {GOOD}, {GOOD}, {GOOD})),
}


@pytest.fixture(scope="module", params=RATES)
def rate(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(params=CASES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def place(name: str, rate: int, tmp_path: Path) -> Iterator[Installation]:
    settings = {"WINDOW_SECONDS": "10", "MAX_EVALUATION": "30"}
    timed = CASES[name][0] is slower
    if timed:  # else the floor of all tests on busy cores
        settings["LATENCY_FLOOR_SECONDS"] = "0.01"
    models.calling(tmp_path / "base", AS_CURRENT, rounds=WORK if timed else 1)
    found = Installation(tmp_path, settings)
    write_golden(tmp_path / "golden", pairs=24)
    found.store.add_golden("coast", tmp_path / "golden", actor="test")
    found.up()
    try:
        yield found
    finally:
        found.down()


def decided(place: Installation) -> Rollout | None:
    """The rollout, once it ended or was held."""
    state = place.state()
    if state.rollout is not None:
        return state.rollout if state.rollout.phase is RolloutPhase.HELD else None
    return state.last


def test_each_canary_at_each_rate_ends_as_it_must(place: Installation, rate: int, name: str) -> None:
    make, pictures, expected = CASES[name]
    users = min(rate, 10)
    with traffic(place, pictures, users, pause=users / rate) if rate else nullcontext([]) as seen:
        place.publish(make(place.root / "draft"))
        eventually(lambda: decided(place), f"{name} at {rate}/s is decided", PATIENCE, place.log)
    ended = decided(place)
    assert ended is not None
    told = in_words(explain(place.store, ended.number))
    assert (ended.phase, ended.code) in expected[RATES.index(rate)], told
    assert not failures(seen), failures(seen)[:3]
    assert ended.reason in told
