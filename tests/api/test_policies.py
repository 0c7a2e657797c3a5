"""`/api/policies`, and the policies of rollouts, over HTTP."""

import pytest

from serinus.rollout.policy import Policy
from tests.api.stage import Stage

pytestmark = pytest.mark.anyio


async def test_a_policy_is_set_shown_and_listed_with_who_did_it(stage: Stage) -> None:
    async with stage.client() as client:
        for share in (0.1, 0.2):
            document = {"document": {"share": share}, "reason": "slowly", "actor": "alice"}
            reply = await client.put("/api/policies/careful", json=document)
            assert reply.status_code == 200, reply.text
        assert reply.json()["policy"]["edition"] == 2
        shown = (await client.get("/api/policies/careful")).json()
        assert [(one["edition"], one["actor"]) for one in shown["editions"]] == [
            (1, "alice via ui"),
            (2, "alice via ui"),
        ]
        page = (await client.get("/api/policies")).json()
        assert [one["name"] for one in page["policies"]] == ["default", "literal", "careful"]
        assert page["default"] == "default"
        schema = await client.get("/api/policies/schema")
        assert schema.headers["content-type"] == "application/schema+json"
        assert "steps" in schema.json()["properties"]
        assert (await client.get("/api/policies/none")).status_code == 404


async def test_an_edition_that_somebody_else_wrote_meanwhile_is_not_run_over(stage: Stage) -> None:
    async with stage.client() as client:

        async def put(share: float, expect: int | None) -> tuple[int, str]:
            body = {"document": {"share": share}, "reason": "slowly", "expect": expect}
            reply = await client.put("/api/policies/careful", json=body)
            return reply.status_code, reply.text

        assert (await put(0.1, 0))[0] == 200
        status, words = await put(0.2, 0)
        assert status == 409 and "has edition 1 meanwhile, and was to be a new one" in words
        assert (await put(0.2, 1))[0] == 200
        status, words = await put(0.3, 1)
        assert status == 409 and "has edition 2 meanwhile, not 1" in words
        assert (await put(0.3, -1))[0] == 400
        assert (await put(0.3, None))[0] == 200
    assert [one.policy.share for one in stage.store.policy_history("careful")] == [0.1, 0.2, 0.3]


async def test_a_bad_document_is_refused_with_lines(stage: Stage) -> None:
    async with stage.client() as client:
        reply = await client.put(
            "/api/policies/careful", json={"document": {"share": 2, "steep": 1}, "reason": "r"}
        )
        assert reply.status_code == 400
        assert "document:2:12: share is 2; allowed: a number above 0 and at most 1." in reply.text
        assert "document:3:3: there is no field 'steep'" in reply.text
        for name in ("default", "literal"):
            reply = await client.put(f"/api/policies/{name}", json={"document": {}, "reason": "r"})
            assert reply.status_code == 400
            assert "built in" in reply.text
        reply = await client.put("/api/policies/careful", json={"document": {}})
        assert reply.status_code == 400, "a change needs a reason"
    assert stage.store.policy_names() == ()


async def test_the_active_rollout_obeys_another_policy(stage: Stage) -> None:
    stage.base()
    stage.canary()
    async with stage.client() as client:

        async def change(status: int, **body: object) -> str:
            reply = await client.post("/api/rollout/policy", json={"reason": "because", **body})
            assert reply.status_code == status, reply.text
            return reply.text

        assert "literal" in await change(200, name="literal")
        await change(200, document={"share": 0.25})
        rollout = stage.store.state().rollout
        assert rollout is not None
        assert (rollout.policy, rollout.share) == (Policy(name="unnamed", share=0.25), 0.25)
        assert "names no policy" in await change(400)
        assert "no policy" in await change(404, name="none")
        assert "allowed" in await change(400, document={"share": -1})
        await change(409, name="literal", expect=1)
        await client.post("/api/rollout/rollback", json={"reason": "because"})
        await change(409, name="literal")
        reply = await client.post(
            "/api/rollout/start", json={"reason": "again", "version": 2, "policy": "literal"}
        )
        assert reply.status_code == 200
        rollout = stage.store.state().rollout
        assert rollout is not None
        assert rollout.policy.name == "literal"
