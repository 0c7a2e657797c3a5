"""The headline when the current version does not load: nobody may read that all is well."""

from pathlib import Path

import pytest

from serinus.api.words import Headline
from serinus.control.history import Tone
from serinus.core.ids import Version
from serinus.store import Replica
from tests.api.stage import Stage

pytestmark = pytest.mark.anyio
WHY = "model.onnx does not match its hash."


def says(stage: Stage, name: str, loaded: tuple[int, ...], failed: tuple[int, ...]) -> None:
    """The heartbeat of a replica."""
    versions = stage.store.state().versions
    stage.store.put_replica(
        Replica(
            replica=name,
            time=stage.now,
            seq=stage.store.state().seq,
            loaded=tuple(versions[Version(one)].digest for one in loaded),
            failed={versions[Version(one)].digest: WHY for one in failed},
        )
    )


async def shown(stage: Stage) -> Headline:
    return (await stage.app.state.board.look()).view.headline


def promoted(root: Path) -> Stage:
    """Version 2 is current, version 1 the previous one."""
    stage = Stage(root)
    stage.base()
    stage.canary()
    stage.traffic((200, 0), (200, 0), seconds=180)
    stage.decide("promote", "0 of 200 canary requests failed")
    return stage


async def test_a_current_version_that_loads_nowhere_is_bad_news(tmp_path: Path) -> None:
    stage = promoted(tmp_path)
    says(stage, "infer-1", (1,), (2,))
    says(stage, "infer-2", (1,), (2,))
    found = await shown(stage)
    assert found.tone is Tone.BAD
    assert found.title == "Version 2 is current and does not load"
    assert found.detail == (
        "model.onnx does not match its hash. Version 1 answers instead. "
        "Undo its promotion, or publish or start another version."
    )
    async with stage.client() as client:
        assert 'class="pill production bad"' in (await client.get("/")).text


@pytest.mark.parametrize("other", [((2,), ()), None], ids=["loads on another", "nobody has failed"])
async def test_it_is_in_production_while_it_loads(
    tmp_path: Path, other: tuple[tuple[int, ...], tuple[int, ...]] | None
) -> None:
    stage = promoted(tmp_path)
    says(stage, "infer-1", (1,), () if other is None else (2,))
    if other is not None:
        says(stage, "infer-2", *other)
    found = await shown(stage)
    assert (found.tone, found.title) == (Tone.GOOD, "Version 2 is in production")


async def test_an_undo_that_would_not_load_either_is_not_advised(tmp_path: Path) -> None:
    stage = promoted(tmp_path)
    says(stage, "infer-1", (), (1, 2))
    found = await shown(stage)
    assert found.tone is Tone.BAD
    assert found.detail.endswith("No other version answers in its place. Publish or start another version.")


async def test_it_is_told_beside_a_rollout_too(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.base()
    stage.canary()
    says(stage, "infer-1", (2,), (1,))
    found = await shown(stage)
    assert (found.tone, found.title) == (Tone.BAD, "Version 2 is on trial")
    assert found.detail.startswith(
        "Version 1 is current and does not load: model.onnx does not match its hash. No other version answers"
    )
    assert "50 % of the requests go to the canary" in found.detail
