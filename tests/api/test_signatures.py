"""What the control API says of signatures, and what it refuses for want of one."""

from dataclasses import replace
from pathlib import Path

import pytest

from serinus.api.control_app import build_control_app
from serinus.artifact.keys import new_pair, read_private, read_trusted
from serinus.control.countersign import sign_version
from serinus.control.trust import Trust
from serinus.core.ids import Version
from serinus.ui import install_pages
from tests.api.stage import Stage

pytestmark = pytest.mark.anyio


async def test_an_unsigned_version_does_not_come_back_by_undo_where_one_is_required(
    stage: Stage, tmp_path: Path
) -> None:
    private, public, _ = new_pair(tmp_path / "alice", bytes(32))
    alice = read_private(private)

    def trust(required: bool) -> None:
        settings = replace(stage.deps.settings, trust=Trust(required, lambda: read_trusted([public])))
        stage.app = build_control_app(replace(stage.deps, settings=settings))
        install_pages(stage.app, stage.app.state.board)

    stage.base()
    stage.canary("second")
    stage.decide("promote", "good")
    trust(required=True)
    undo = {"reason": "it is odd"}
    async with stage.client() as client:
        refused = await client.post("/api/rollout/undo", json=undo)
        home = (await client.get("/")).text
        versions = (await client.get("/versions")).text
    assert refused.status_code == 409
    assert "It is not signed. Trusted: alice" in refused.json()["detail"]
    assert 'data-action="undo"' not in home + versions, "what would be refused is not offered"
    assert "cannot be undone now" in home and "It is not signed. Trusted: alice" in home
    assert stage.store.state().current == 2
    trust(required=False)
    async with stage.client() as client:
        assert 'data-action="undo"' in (await client.get("/")).text
        done = await client.post("/api/rollout/undo", json=undo)
        sign_version(stage.store, Version(1), signer=alice, actor="alice")
        detail = (await client.get("/api/versions/3")).json()
    assert done.status_code == 200
    assert (detail["signature"]["standing"], detail["signature"]["name"]) == ("trusted", "alice")


async def test_a_promotion_by_hand_whose_signature_cannot_be_checked_is_a_conflict_with_the_remedy(
    stage: Stage,
) -> None:
    stage.base()
    stage.canary("second", require_signature=True)
    anyway = {"reason": "now", "confirm": True}
    async with stage.client() as client:
        refused = await client.post("/api/rollout/promote", json=anyway)
        state = (await client.get("/api/state")).json()
        home = (await client.get("/")).text
    assert refused.status_code == 409
    assert state["promotion_refused"] == f"{refused.json()['detail']} {refused.json()['remedy']}"
    assert 'data-action="promote"' not in home and 'data-action="rollback"' in home
    assert "It cannot be promoted now." in home and "TRUSTED_KEYS" in home
    assert "no key is trusted here. The settings are to blame" in refused.json()["detail"]
    assert "TRUSTED_KEYS" in refused.json()["remedy"]
    assert stage.store.state().current == 1
