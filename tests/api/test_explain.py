"""`/api/rollouts/{n}/explain` over HTTP."""

import pytest

from tests.api.stage import Stage

pytestmark = pytest.mark.anyio


async def test_a_rollout_is_explained_as_json_and_as_a_picture(stage: Stage) -> None:
    stage.base()
    stage.canary()
    async with stage.client() as client:
        assert (await client.get("/api/rollouts/2/explain")).status_code == 404
        assert (await client.get("/api/rollouts/0/explain")).status_code == 400
        await client.post("/api/rollout/rollback", json={"reason": "it looks odd", "actor": "alice"})
        found = (await client.get("/api/rollouts/1/explain")).json()
        assert (found["phase"], found["code"], found["version"]) == ("rolled_back", "manual", 2)
        assert "by alice via ui: it looks odd." in found["headline"]
        assert [one["row"]["kind"] for one in found["timeline"]] == [
            "rollout_started",
            "verified",
            "rolled_back",
        ]
        assert [one["row"]["tone"] for one in found["timeline"]] == ["plain", "wait", "bad"]
        picture = await client.get("/api/rollouts/1/explain.svg")
    assert picture.headers["content-type"] == "image/svg+xml"
    assert picture.text.startswith("<svg")
