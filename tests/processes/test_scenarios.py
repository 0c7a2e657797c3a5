"""The four scenarios of the promised document, on real processes: exactly its fields, kept as fixtures."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import binomtest

from serinus.core.enums import RolloutPhase
from tests import models
from tests.processes.installation import Installation, eventually, failures, pair, traffic
from tests.store.test_kinds import strangers

pytestmark = pytest.mark.processes
FIXTURES = Path(__file__).parent / "fixtures"


def documented(name: str) -> dict[str, Any]:
    return dict(json.loads((FIXTURES / name).read_text()))


def same_shape(given: Any, wanted: Any, where: str = "") -> None:
    """Every documented field is there, with a value of the documented type and form."""
    if isinstance(wanted, dict):
        for name, value in wanted.items():
            assert name in given, f"{where}.{name} is missing in {given}"
            same_shape(given[name], value, f"{where}.{name}")
    elif isinstance(wanted, str) and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", wanted):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", given), (where, given)
    elif isinstance(wanted, bool):
        assert given is wanted or where.endswith("ready_for_promotion"), (where, given)
    elif isinstance(wanted, float | int):
        assert isinstance(given, float | int) and not isinstance(given, bool), (where, given)
    else:
        assert given == wanted, (where, given)


def test_the_four_scenarios(place: Installation) -> None:
    status = place.status()
    assert documented("scenario_1_fresh.json").items() <= status.items()
    assert "canary_version" not in status
    assert place.predict(pair(1)).json()["model_used"] == "current"

    version = place.publish(models.healthy(place.root / "v2", seed=2), note="second")
    eventually(lambda: place.status()["deployment_mode"] == "canary", "the canary serves", tell=place.log)
    status = place.status()
    same_shape(status, documented("scenario_2_canary.json"))
    assert status["canary_version"]["version"] == version == 2
    assert status["ready_for_promotion"] is False
    view = json.loads((place.root / "models" / "canary" / "version.json").read_text())
    same_shape(view, documented("version.json"))
    assert view["version"] == 2 and view["traffic_weight"] == 0.5

    pictures = [pair(seed) for seed in range(6)]
    with traffic(place, pictures, users=4) as seen:
        ended = place.wait_ended(version)
    assert ended.phase is RolloutPhase.PROMOTED, ended.reason
    assert not failures(seen)
    canary_time = [r["model_used"] for r in seen if r["model"]["version"] in (1, 2)]
    assert {"current", "canary"} <= set(canary_time), Counter(canary_time)

    eventually(lambda: place.status()["deployment_mode"] == "production", "production again")
    status = place.status()
    assert documented("scenario_4_promoted.json").items() <= status.items()
    assert status["canary_model"] is False
    reply = place.predict(pair(1)).json()
    assert (reply["model_used"], reply["model"]["version"]) == ("current", 2)
    view = json.loads((place.root / "models" / "current" / "version.json").read_text())
    assert view["version"] == 2
    assert not (place.root / "models" / "canary").exists()
    assert strangers(place.root / "models") == [], "docs/store.md says of every file what vouches for it"


def test_two_thousand_predictions_from_canary_to_promotion_to_rollback(place: Installation) -> None:
    pictures = [pair(seed, height=64 if seed % 4 else 48) for seed in range(12)]
    with traffic(place, pictures, users=8) as seen:
        second = place.publish(models.healthy(place.root / "v2", seed=2))
        eventually(lambda: place.status()["deployment_mode"] == "canary", "the canary serves", tell=place.log)
        begin = len(seen) + 16
        eventually(lambda: place.state().rollout is None, "it is promoted", tell=place.log)
        during = seen[begin : len(seen)]
        assert place.wait_ended(second).phase is RolloutPhase.PROMOTED, place.state().last

        third = place.publish(models.raising(place.root / "v3", seed=3, only_when_height_is_not=64))
        rolled_back = place.wait_ended(third)
        assert rolled_back.phase is RolloutPhase.ROLLED_BACK, rolled_back.reason
        eventually(lambda: len(seen) >= 2000, "2,000 predictions")
    assert not failures(seen), failures(seen)[:3]
    assert {reply["model"]["version"] for reply in seen} == {1, 2, 3}
    assert any(reply["fallback"] for reply in seen), "a failing canary costs latency, not answers"
    split = Counter(reply["model_used"] for reply in during)
    chance = binomtest(split["canary"], sum(split.values()), 0.5).pvalue
    assert chance > 1e-4, split


def test_an_idle_system_promotes_on_probes(place: Installation) -> None:
    version = place.publish(models.healthy(place.root / "v2", seed=2))
    ended = place.wait_ended(version)
    assert ended.phase is RolloutPhase.PROMOTED, ended.reason
    assert "probe" in ended.reason
