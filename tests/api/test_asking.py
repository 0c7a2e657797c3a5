"""Who can be asked, what may be sent, and examples; what was sent for predictions is no training data."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.inference import inference
from tests.api.stage import Stage, zipped

pytestmark = pytest.mark.anyio


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path, inference=inference(), max_predict_bytes=5000)
    yield stage
    stage.end_jobs()


async def asked(stage: Stage) -> dict[str, Any]:
    async with stage.client() as client:
        reply = await client.get("/api/asking")
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


async def test_who_can_be_asked_follows_what_is_loaded(stage: Stage) -> None:
    nobody = await asked(stage)
    assert (nobody["versions"], nobody["processes"], nobody["beside"]) == ([], 0, [])
    assert nobody["max_bytes"] == 5000
    stage.base()
    stage.heartbeat()
    alone = await asked(stage)
    assert alone["versions"] == [{"version": 1, "role": "current", "loaded_on": 1}]
    assert alone["beside"] == []
    stage.canary()
    stage.heartbeat()
    stage.heartbeat("infer-b21c")
    both = await asked(stage)
    assert [(one["version"], one["role"], one["loaded_on"]) for one in both["versions"]] == [
        (2, "canary", 2),
        (1, "current", 2),
    ]
    assert (both["beside"], both["processes"]) == ([1, 2], 2)
    stage.decide("promote", "good")
    after = await asked(stage)  # version 1 stands by, as the heartbeats say
    assert after["versions"][1] == {"version": 1, "role": None, "loaded_on": 2}
    assert after["beside"] == [2, 1]
    stage.now += 3600
    assert (await asked(stage))["versions"] == []


async def test_examples_are_pictures_of_one_size(stage: Stage) -> None:
    async with stage.client() as client:
        for one in (await asked(stage))["examples"]:
            heads = []
            for path in (one["pre"], one["post"]):
                reply = await client.get(path)
                assert reply.headers["content-type"] == "image/png"
                assert "immutable" in reply.headers["cache-control"]
                heads.append(reply.content[16:24])
            assert heads[0] == heads[1] == (256).to_bytes(4) * 2
        for path in ("nothing/pre", "..%2f..%2fcontrol_app.py/pre", "hurricane/during"):
            assert (await client.get(f"/api/asking/examples/{path}")).status_code in (400, 404)


async def test_a_version_that_is_named_is_handed_on_and_nonsense_is_not(stage: Stage) -> None:
    pictures = dict.fromkeys(("pre_disaster", "post_disaster"), ("a.png", b"a picture"))
    async with stage.client() as client:
        reply = await client.post("/api/predict?version=2&overlay=none", files=pictures)
        assert reply.json()["asked"] == {"version": "2", "overlay": "none"}
        for query in ("version=0", "version=x", "overlay=gif"):
            assert (await client.post(f"/api/predict?{query}", files=pictures)).status_code == 400


async def test_what_was_sent_for_predictions_is_not_the_newest_data_to_train_on(stage: Stage) -> None:
    async with stage.client() as client:

        async def said() -> str:
            return str((await client.get("/api/state")).json()["newest_data"])

        await client.post("/upload-dataset", files={"file": ("labelled.zip", zipped(b"labels"))})
        stage.now += 1
        sent = await client.post("/upload-dataset", files={"file": ("pairs.zip", zipped(b"pairs"))})
        assert await said() == "Newest upload: pairs.zip"
        started = await client.post("/trigger-batch", data={"dataset": sent.json()["id"]})
        assert started.status_code == 202
        assert await said() == "Newest upload: labelled.zip"
        job = (await client.post("/trigger-train")).json()["job"]
        named = (await client.post("/trigger-train", data={"data": sent.json()["id"]})).json()["job"]
    assert sent.json()["id"] not in stage.jobs.describe(job).spec.upload  # type: ignore[union-attr]
    assert sent.json()["id"] in stage.jobs.describe(named).spec.upload  # type: ignore[union-attr]
