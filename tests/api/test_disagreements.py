"""`/api/rollouts/{n}/disagreements` over HTTP."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from serinus.control.disagreements import queue
from serinus.core.enums import Arm
from serinus.data.queue import Source
from serinus.store import GalleryFile
from serinus.store.gallery import Limits
from tests.api.stage import Stage
from tests.store.test_gallery import disagreement

pytestmark = pytest.mark.anyio
JPEG = b"\xff\xd8\xff a picture"
PNG = b"\x89PNG a picture"


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    stage.base()
    stage.canary()
    yield stage
    stage.end_jobs()


def keep(stage: Stage) -> None:
    """Two pictures; the first with boxes that agree, that differ in class, and that one version has alone."""
    item = disagreement("request-1", 0.25)
    boxes = tuple((30.0 * n, 0.0, 30.0 * n + 20, 20.0) for n in range(3))
    mixed = msgspec.structs.replace(
        item,
        answered=msgspec.structs.replace(
            item.answered, role=Arm.CANARY, version=2, boxes=boxes, scores=(0.9, 0.8, 0.7), classes=(0, 1, 2)
        ),
        shadow=msgspec.structs.replace(
            item.shadow, role=Arm.CURRENT, version=1, boxes=boxes[:2], scores=(0.6, 0.5), classes=(0, 3)
        ),
        matched=2,
        agreed=1,
        confusion={-1: {2: 1}, 0: {0: 1}, 3: {1: 1}},
    )
    files = {GalleryFile.CURRENT: JPEG, GalleryFile.CANARY: JPEG + b"2", GalleryFile.PRE: PNG}
    stage.store.gallery.put(mixed, files, Limits())
    odd = {GalleryFile.CURRENT: JPEG, GalleryFile.CANARY: JPEG, GalleryFile.POST: b"<script>"}
    stage.store.gallery.put(disagreement("request-2", 0.5), odd, Limits())


async def test_they_are_listed_shown_and_dismissed(stage: Stage) -> None:
    keep(stage)
    at = "/api/rollouts/1/disagreements"
    async with stage.client() as client:
        page = (await client.get(at)).json()
        assert (page["rollout"], page["pairs"], page["damaged"]) == (1, None, 0)
        assert [item["request_id"] for item in page["items"]] == ["request-1", "request-2"]
        first, second = page["items"]
        assert (first["answered_by"], first["current"], first["canary"]) == ("canary", 1, 2)
        assert (first["boxes_current"], first["boxes_canary"], first["disputed"]) == (2, 3, 3)
        detail = (await client.get(f"{at}/{first['id']}")).json()
        assert len(detail["current"]["boxes"]) == 2 and len(detail["canary"]["boxes"]) == 3
        assert detail["confusion"][0] == {"current": None, "canary": "major-damage", "boxes": 1}
        for name, kind, content in (
            ("canary", "image/jpeg", JPEG + b"2"),
            ("pre", "image/png", PNG),
        ):
            reply = await client.get(f"{at}/{first['id']}/{name}")
            assert (reply.headers["content-type"], reply.content) == (kind, content)
        foreign = await client.get(f"{at}/{second['id']}/post")
        assert foreign.headers["content-type"] == "application/octet-stream", "never shown as a page"
        assert foreign.headers["x-content-type-options"] == "nosniff"

        marked = await client.post(f"{at}/{second['id']}/mark", json={"actor": "alice", "reason": "clouds"})
        assert marked.json()["mark"] == {
            "dismissed": True,
            "right": None,
            "actor": "alice via ui",
            "reason": "clouds",
            "time": stage.now,
        }
        assert [one.name for one in queue(stage.store, 1)] == ["request-1"]
        await client.post(f"{at}/{second['id']}/mark", json={"dismissed": False})
        assert [one.name for one in queue(stage.store, 1)] == ["request-1", "request-2"]


async def test_what_one_person_says_leaves_what_another_said_of_something_else(stage: Stage) -> None:
    keep(stage)
    at = f"/api/rollouts/1/disagreements/{stage.store.gallery.ids(1)[0]}/mark"
    async with stage.client() as client:

        async def say(**words: object) -> tuple[bool, str | None]:
            said = (await client.post(at, json=words)).json()["mark"]
            return said["dismissed"], said["right"]

        assert await say(right="canary") == (False, "canary")
        assert await say(dismissed=True) == (True, "canary")
        assert await say(right="both") == (True, "both")
        assert await say(dismissed=False) == (False, "both")
        assert await say() == (True, "both"), "nothing more: it is dismissed"
        assert await say(right=None) == (True, None)
        kept = next(stage.store.root.rglob("*.mark"))
        kept.write_bytes(b"damaged")
        assert await say(right="neither") == (False, "neither"), "a new word replaces a damaged one"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/rollouts/7/disagreements", 404),
        ("/api/rollouts/1/disagreements/nothing", 404),
        ("/api/rollouts/1/disagreements/..%2f..%2fjournal", 404),
        ("/api/rollouts/1/disagreements/{id}/post", 404),
        ("/api/rollouts/1/disagreements/{id}/json", 400),
    ],
)
async def test_what_is_not_there_is_said_so(stage: Stage, path: str, status: int) -> None:
    keep(stage)
    name = stage.store.gallery.ids(1)[0]
    async with stage.client() as client:
        reply = await client.get(path.format(id=name))
        assert reply.status_code == status, reply.text
        wrong: Any = await client.post(f"/api/rollouts/1/disagreements/{name}/mark", content=b"[")
        assert wrong.status_code == 400


def test_suggestions_name_who_sees_what(stage: Stage) -> None:
    keep(stage)
    first = next(queue(stage.store, 1))
    assert [(one.source, one.label, one.partner) for one in first.suggestions] == [
        (Source.BOTH, 0, None),
        (Source.CURRENT, 3, 2),
        (Source.CANARY, 1, 1),
        (Source.CANARY, 2, None),
    ]
    assert first.suggestions[0].score == 0.9, "of the canary"
