"""The S3 server dies in the middle of a rollout: serving goes on, decisions wait, nothing is lost."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from serinus.core.enums import Arm, RolloutPhase, Stratum
from serinus.core.ids import Version
from serinus.evidence.counts import Slice
from serinus.store import Address
from serinus.store.journal import decode_snapshot
from tests import models
from tests.processes.installation import Installation, eventually, failures, pair, traffic
from tests.store.s3server import BUCKET, S3Server

pytestmark = [pytest.mark.processes, pytest.mark.timeout(600)]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    server = S3Server(tmp_path / "s3")
    server.start()
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    try:
        yield server
    finally:
        server.stop()


def history(place: Installation) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", "serinus", "rollout", "history", "--output", "json"],
        env=place.env,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return list(json.loads(done.stdout))


def ready(place: Installation) -> bool:
    return httpx.get(f"{place.infer}/readyz", timeout=10).status_code == 200


def outage_during_a_rollout(tmp_path: Path, server: S3Server, seconds: float) -> None:
    place = Installation(
        tmp_path,
        settings={"WINDOW_SECONDS": "4", "PROBES": "false"},
        bucket=Address(f"s3://{BUCKET}/outage", patience=5.0, allow_http=True),
    )
    place.up()
    try:
        with traffic(place, [pair(n) for n in range(6)], users=2) as seen:
            version = place.publish(models.healthy(tmp_path / "v2", seed=12), note="second")
            place.wait_phase(RolloutPhase.CANARY)
            eventually(lambda: any(r.get("model_used") == "canary" for r in seen), "the canary serves")
            before = [event.id for event in place.store.events()]
            assert "canary" in page(place)

            server.kill()
            died = time.monotonic()
            during = len(seen)
            eventually(lambda: not place.status()["store_reachable"], "infer sees that the store is away")
            eventually(lambda: "The store does not answer since" in page(place), "the page says so")
            assert ready(place)
            refused = place.steer("promote")
            assert refused.status_code == 503, refused.text
            assert "Traceback" not in refused.text
            while time.monotonic() - died < seconds:
                assert ready(place)
                time.sleep(0.5)
            answered = {reply["model_used"] for reply in seen[during:]}
            assert answered == {"current", "canary"}, "both arms as before"

            server.start()
            eventually(lambda: place.status()["store_reachable"], "infer sees that the store is back")
            ended = place.wait_ended(version)
        assert not failures(seen), failures(seen)[:3]
        assert ended.phase is RolloutPhase.PROMOTED, ended.reason
        after = list(place.store.events())
        assert [event.id for event in after][: len(before)] == before, "an event was lost"
        assert [event.seq for event in after] == list(range(1, len(after) + 1))
        assert len({event.id for event in after}) == len(after)
        assert [entry["seq"] for entry in sorted(history(place), key=lambda each: each["seq"])] == [
            event.seq for event in after
        ]
        assert "The store does not answer" not in page(place)
        every_request_is_accounted_for(place, ended.number, seen)
        said = log(place)
        for words in ("decisions wait", "this replica goes on with what is loaded"):
            assert 1 <= said.count(words) <= 3, "once for each reason, not once a look"
        a_replica_starts_without_the_store(place, server)
        assert "Traceback" not in log(place), "an outage is no bug"
    finally:
        place.down()


def log(place: Installation) -> str:
    return (place.root / "up.log").read_text()


def page(place: Installation) -> str:
    return httpx.get(f"{place.ui}/", timeout=30).text


def remembered(place: Installation) -> list[Version | None]:
    """The current version of each state that infer keeps for a start without the store."""
    kept = (place.root / "models").glob("last-state-*.json")
    return [decode_snapshot(path.read_bytes(), str(path)).current for path in kept]


def a_replica_starts_without_the_store(place: Installation, server: S3Server) -> None:
    """It serves what was current when the store was last seen, from its own copies."""
    current = place.state().current
    eventually(lambda: current in remembered(place), "infer remembers the state", tell=place.log)
    server.kill()
    assert place.kill("infer")
    eventually(lambda: not_ready(place), "infer is gone")
    eventually(place.ready, "infer is back without the store", tell=place.log)
    status = place.status()
    assert (status["current_version"]["version"], status["store_reachable"]) == (current, False)
    assert place.predict(pair(1)).json()["model"]["version"] == current
    server.start()
    eventually(lambda: place.status()["store_reachable"], "infer sees that the store is back")


def not_ready(place: Installation) -> bool:
    try:
        return not ready(place)
    except httpx.HTTPError:
        return True


def every_request_is_accounted_for(place: Installation, rollout: int, seen: list[dict[str, Any]]) -> None:
    """What the replica counted while the store was away arrived afterwards, and was judged once."""
    answered = sum(reply["model_used"] == "canary" for reply in seen)

    def reported(up_to: dict[str, int] | None = None) -> int:
        found = place.store.new_observations(rollout, {})
        return sum(users(slice_) for who, n, slice_ in found if up_to is None or n <= up_to[who])

    eventually(lambda: reported() == answered, "every canary request is reported", 30, lambda: f"{answered}")
    last = place.store.last_frozen(rollout)
    assert last is not None
    frozen = [place.store.frozen(rollout, k) for k in range(last.k + 1)]
    assert sum(users(one.slice) for one in frozen if one is not None) == reported(last.sources)


def users(slice_: Slice) -> int:
    """Canary requests of users."""
    cells = [cell for cell in slice_ if (cell.arm, cell.stratum) == (Arm.CANARY, Stratum.USERS)]
    return sum(cell.successes + cell.failures for cell in cells)


def test_an_outage_of_six_seconds(tmp_path: Path, server: S3Server) -> None:
    outage_during_a_rollout(tmp_path, server, 6.0)


@pytest.mark.long
def test_an_outage_of_half_a_minute(tmp_path: Path, server: S3Server) -> None:
    outage_during_a_rollout(tmp_path, server, 30.0)
