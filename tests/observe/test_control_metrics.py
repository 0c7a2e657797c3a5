"""What the dashboard tells Prometheus of a real store."""

from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from serinus.store import Address
from tests.api.stage import Stage
from tests.store.proxy import Proxy

pytestmark = pytest.mark.anyio


async def told(stage: Stage) -> dict[str, float]:
    """Samples by name and labels."""
    async with stage.client("192.0.2.7", "10.1.2.3:8080") as client:
        reply: httpx.Response = await client.get("/metrics")
    assert reply.headers["content-type"].startswith("text/plain")
    samples = (one for family in text_string_to_metric_families(reply.text) for one in family.samples)
    return {f"{one.name}{sorted(one.labels.values())}": one.value for one in samples}


async def test_phases_replicas_and_volumes(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.base()
    before = await told(stage)
    assert before["serinus_rollout_phase['held']"] == before["serinus_replicas_ready[]"] == 0
    assert before["serinus_store_up[]"] == 1
    assert 0 < before["serinus_volume_free_bytes['data']"] <= before["serinus_volume_size_bytes['data']"]
    stage.heartbeat("one")
    stage.canary()
    stage.heartbeat("two")
    stage.decide("hold", "odd")
    held = await told(stage)
    assert held["serinus_rollout_phase['held']"] == 1
    assert held["serinus_rollout_phase['canary']"] == 0
    assert (held["serinus_replicas_alive[]"], held["serinus_replicas_ready[]"]) == (2, 2)
    assert held["serinus_journal_seq[]"] == stage.store.state().seq
    stage.now += 60
    stage.heartbeat("two")
    assert (await told(stage))["serinus_replicas_ready[]"] == 1


async def test_the_end_of_a_rollout_is_told_with_its_time(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.base()
    stage.canary()
    assert not [name for name in await told(stage) if "ended" in name]
    stage.now += 5
    stage.decide("roll_back", "too many errors")
    found = {name: value for name, value in (await told(stage)).items() if "ended" in name}
    assert found == {"serinus_rollout_ended_timestamp_seconds['2', 'rolled_back']": stage.now}
    stage.canary()
    stage.decide("promote", "well")
    assert "serinus_rollout_ended_timestamp_seconds['2', 'rolled_back']" not in await told(stage)


async def test_a_store_that_does_not_answer_is_told(tmp_path: Path, url: str, proxy: Proxy) -> None:
    stage = Stage(tmp_path, bucket=Address(url, patience=0.5, allow_http=True))
    stage.base()
    assert (await told(stage))["serinus_store_up[]"] == 1
    proxy.refuse()
    away = await told(stage)
    assert away["serinus_store_up[]"] == 0
    assert away["serinus_journal_seq[]"] == 1, "what was seen last stays"
    proxy.listen()
    assert (await told(stage))["serinus_store_up[]"] == 1
