"""Six canaries at 0, 1, 10 and 50 requests a second: real controller, store and decisions, simulated time.

The clock is turned by hand, so that minutes of rollout take as long as the controller's own work.
`tests/processes/test_matrix.py` does the same with real processes.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
import pytest

from serinus.control.explain import explain, in_words
from serinus.core.enums import Arm, ReasonCode, RolloutPhase, Stratum
from serinus.evidence.counts import Cell, latency_bin
from tests.control.world import ALIKE, FakeReplica, World

WINDOW_SECONDS = 60.0
LONGEST = 5
"""Windows, as by default."""
RATES = (0, 1, 10, 50)
MEDIAN_SECONDS = 0.04
SPREAD = 0.25
"""Of the logarithm of a latency."""

Error = Callable[[float, Stratum], float]
"""Error rate of the canary, by the seconds of its life and by who asks."""


@dataclass(frozen=True)
class Canary:
    errors: Error = lambda _seconds, _stratum: 0.0
    slower: float = 1.0
    """How many times its latency is that of current."""
    answers: dict[str, int] = field(default_factory=lambda: ALIKE)
    """Dominant class -> how many of ten answers."""
    vouched: tuple[str, ...] = ()
    """Golden sets on which it was not found worse."""


CANARIES = {
    "healthy": Canary(),
    "fails always": Canary(errors=lambda _seconds, _stratum: 1.0),
    "fails 20 %": Canary(errors=lambda _seconds, _stratum: 0.2),
    "1.5 times slower": Canary(slower=1.5),
    "different and better": Canary(answers={"no-damage": 3, "destroyed": 7}, vouched=("golden set coast",)),
    "fails late, users only": Canary(
        errors=lambda seconds, stratum: float(stratum is Stratum.USERS and seconds > 0.75 * WINDOW_SECONDS)
    ),
}
GOOD = (RolloutPhase.PROMOTED, ReasonCode.EVIDENCE_GOOD)
FAILED = (RolloutPhase.ROLLED_BACK, ReasonCode.ERRORS)
SLOW = (RolloutPhase.ROLLED_BACK, ReasonCode.LATENCY)
EXPECTED = {
    "healthy": (GOOD, GOOD, GOOD, GOOD),
    "fails always": (FAILED, FAILED, FAILED, FAILED),
    "fails 20 %": (FAILED, FAILED, FAILED, FAILED),
    "1.5 times slower": (SLOW, SLOW, SLOW, SLOW),
    "different and better": (GOOD, GOOD, GOOD, GOOD),
    # Nobody asked, so nobody was failed: probes alone cannot see what only users meet.
    "fails late, users only": (GOOD, FAILED, FAILED, FAILED),
}


class Paced(FakeReplica):
    """Its requests take time, and its canary has a character."""

    def become(self, canary: Canary) -> None:
        self.character = canary
        self.answers[Arm.CANARY] = canary.answers
        self.born = self.clock()
        self._times = np.random.default_rng(7)

    def _cells(self, stratum: Stratum, requests: int, share: float) -> list[Cell]:
        self.errors[Arm.CANARY] = self.character.errors(self.clock() - self.born, stratum)
        return [self._timed(cell) for cell in super()._cells(stratum, requests, share)]

    def _timed(self, cell: Cell) -> Cell:
        factor = self.character.slower if cell.arm is Arm.CANARY else 1.0
        seconds = MEDIAN_SECONDS * factor * self._times.lognormal(0.0, SPREAD, cell.successes)
        return msgspec.structs.replace(cell, ok=dict(Counter(map(latency_bin, seconds.tolist()))))


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("name", CANARIES)
def test_each_canary_at_each_rate_ends_as_it_must(tmp_path: Path, name: str, rate: int) -> None:
    world = World(tmp_path, window_seconds=WINDOW_SECONDS, max_evaluation=LONGEST)
    replica = Paced(world.store, world.clock)
    replica.become(CANARIES[name])
    world.replica = replica
    world.controllers = [world.controller()]
    world.canary(vouched=CANARIES[name].vouched)
    for _ in range(int(WINDOW_SECONDS * LONGEST) + 10):
        if world.state.rollout is None or world.rollout.phase is not RolloutPhase.CANARY:
            break
        world.step(users=rate)
    ended = world.state.last if world.state.rollout is None else world.rollout
    assert ended is not None
    assert (ended.phase, ended.code) == EXPECTED[name][RATES.index(rate)], world.story()
    assert world.state.current == (2 if ended.phase is RolloutPhase.PROMOTED else 1)
    if ended.phase is RolloutPhase.PROMOTED:
        assert world.clock_of_window >= WINDOW_SECONDS
        assert ("on probes" in ended.reason) == (rate <= 1)
    noted = "vouched for by golden set coast" in world.story()
    assert noted == (name == "different and better"), world.story()
    told = in_words(explain(world.store, 1))
    assert ended.reason in told
