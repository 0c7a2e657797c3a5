"""Four canaries on real processes, one after the other in one installation, while users send pictures.

One swaps classes, one fails always, one does one and a half times the work, one is different and better.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serinus.control.explain import explain, in_words
from serinus.control.golden import results_of
from serinus.core.enums import ReasonCode, RolloutPhase
from serinus.core.ids import Version
from serinus.rollout.state import Rollout
from tests import models
from tests.control.golden import write_golden
from tests.processes.installation import PATIENCE, Installation, failures, pair, traffic

pytestmark = [pytest.mark.processes, pytest.mark.timeout(600)]

WORK = 2500
"""Rounds of a model's loop: 25 ms of a core, so that the model's work is most of what a request takes."""
AS_CURRENT = (0, 1, 3, 2)
"""Current takes major damage for destroyed, and destroyed for major damage."""
EDGE = [pair(seed, height=48) for seed in range(6)]
"""What users look at: tiles at the edge of a scene. The golden pairs are square."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    root = tmp_path_factory.mktemp("four")
    models.calling(root / "base", AS_CURRENT, rounds=WORK)
    found = Installation(root, {"LATENCY_FLOOR_SECONDS": "0.01", "MAX_EVALUATION": "100", "PROBES": "false"})
    write_golden(root / "golden", pairs=24)
    found.store.add_golden("coast", root / "golden", actor="test")
    found.up()
    try:
        yield found
    finally:
        found.down()


def rolled_out(place: Installation, draft: Path) -> tuple[Rollout, list[dict[str, Any]]]:
    """How the rollout of a draft ended, and what the users were answered meanwhile."""
    with traffic(place, EDGE, users=2) as seen:
        version = place.publish(draft)
        ended = place.wait_ended(version, 2 * PATIENCE)
    assert not failures(seen), failures(seen)[:3]
    return ended, seen


def answered_by(version: Version, seen: list[dict[str, Any]]) -> int:
    return sum(reply["model"]["version"] == version for reply in seen)


def test_one_with_swapped_classes_never_sees_traffic(place: Installation) -> None:
    draft = models.calling(place.root / "swapped", (1, 0, 3, 2), rounds=WORK)
    ended, seen = rolled_out(place, draft)
    assert (ended.phase, ended.code) == (RolloutPhase.REJECTED, ReasonCode.QUALITY_GATE)
    assert answered_by(ended.version, seen) == 0
    assert seen
    told = in_words(explain(place.store, ended.number))
    assert "was rejected before any request" in told
    assert "Class no-damage: AP50 0.000 against 1.000 of current" in told
    failed = [gate.label for gate in results_of(place.store, ended.version)[0].gates if not gate.passed]
    assert failed == ["", "no-damage", "minor-damage"]


def test_one_that_fails_always_is_rolled_back(place: Installation) -> None:
    draft = models.raising(place.root / "failing", only_when_height_is_not=64)
    ended, seen = rolled_out(place, draft)
    assert (ended.phase, ended.code) == (RolloutPhase.ROLLED_BACK, ReasonCode.ERRORS), ended.reason
    assert answered_by(ended.version, seen) == 0
    assert any(reply["fallback"] for reply in seen)
    told = in_words(explain(place.store, ended.number))
    found = re.search(
        r"(\d+) of (\d+) canary requests failed \(0 of \d+ of current\);"
        r" evidence ([\d.e+]+) against a limit of 200",
        told,
    )
    assert found, told
    assert found[1] == found[2]
    assert float(found[3]) >= 200


def test_one_with_half_as_much_work_again_is_rolled_back(place: Installation) -> None:
    draft = models.calling(place.root / "slow", AS_CURRENT, rounds=WORK * 3 // 2)
    ended, _ = rolled_out(place, draft)
    assert (ended.phase, ended.code) == (RolloutPhase.ROLLED_BACK, ReasonCode.LATENCY), ended.reason
    assert "slower than 1.2 times current" in ended.reason


def test_one_that_differs_and_is_better_is_promoted(place: Installation) -> None:
    # A quarter less work, so that a busy machine cannot make it look slow.
    draft = models.calling(place.root / "better", (0, 1, 2, 3), rounds=WORK * 3 // 4)
    ended, seen = rolled_out(place, draft)
    assert ended.phase is RolloutPhase.PROMOTED, ended.reason
    assert ended.vouched == ("golden set coast",)
    assert answered_by(ended.version, seen) > 0
    result = results_of(place.store, ended.version)[0]
    assert (result.gates[0].current, result.gates[0].candidate) == (0.5, 1.0)
    assert place.state().current == ended.version
