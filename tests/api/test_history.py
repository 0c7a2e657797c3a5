"""The history over HTTP: found by its fields, paged from either end, taken along; the list of rollouts."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.stage import Stage

pytestmark = pytest.mark.anyio


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    stage.base()
    stage.canary("first")
    stage.traffic((11, 11), (12, 0))
    stage.decide("roll_back", "=HYPERLINK(it failed)")
    stage.canary("second")
    stage.decide("promote", "the evidence is good")
    yield stage
    stage.end_jobs()


async def seqs(stage: Stage, **query: str | int) -> list[int]:
    async with stage.client() as client:
        reply = await client.get("/api/history", params=query)
    assert reply.status_code == 200, reply.text
    return [one["seq"] for one in reply.json()["entries"]]


async def test_entries_are_found_by_any_field(stage: Stage) -> None:
    assert await seqs(stage) == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert await seqs(stage, kind="rolled_back") == [5]
    assert await seqs(stage, version=2) == [2, 3, 4, 5]
    assert await seqs(stage, rollout=2) == [7, 8, 9]
    assert await seqs(stage, actor="PUBLISH") == [1, 2, 6]
    assert await seqs(stage, text="it FAILED") == [5]
    assert await seqs(stage, kind="promoted", version=2) == []


async def test_pages_go_from_the_newest_back_and_miss_nothing(stage: Stage) -> None:
    async with stage.client() as client:
        found: list[int] = []
        query: dict[str, str | int] = {"order": "newest", "limit": 4}
        while True:
            page = (await client.get("/api/history", params=query)).json()
            assert page["total"] == 9 - len(found)
            found += [one["seq"] for one in page["entries"]]
            if page["next"] is None:
                break
            query["before"] = page["next"]
            stage.publish(f"meanwhile {len(found)}")
    assert found == [9, 8, 7, 6, 5, 4, 3, 2, 1]


async def test_it_is_taken_along_and_a_spreadsheet_computes_nothing_of_it(stage: Stage) -> None:
    async with stage.client() as client:
        rows = await client.get("/api/history/export", params={"version": 2})
        whole = await client.get("/api/history/export", params={"format": "json"})
        wrong = await client.get("/api/history/export", params={"format": "xml"})
    assert rows.headers["content-disposition"] == 'attachment; filename="serinus-history.csv"'
    read = list(csv.DictReader(io.StringIO(rows.text)))
    assert [row["seq"] for row in read] == ["2", "3", "4", "5"]
    assert read[-1]["why"] == "'=HYPERLINK(it failed)"
    assert '"canary_failures":11' in read[-1]["numbers"].replace(".0", "")
    assert [one["event"]["body"]["kind"] for one in whole.json()][:2] == ["published", "published"]
    assert wrong.status_code == 400


async def test_rollouts_are_listed_with_how_they_ended(stage: Stage) -> None:
    async with stage.client() as client:
        page = (await client.get("/api/rollouts")).json()
        kinds = (await client.get("/api/history/kinds")).json()["kinds"]
        stage.canary("third")
        started = await client.post("/api/rollout/start", json={"version": 1, "reason": "back to it"})
        newest = (await client.get("/api/rollouts", params={"limit": 2})).json()
        rest = (await client.get("/api/rollouts", params={"before": 3})).json()
    told = [(one["number"], one["version"], one["outcome"], one["code"]) for one in page["rollouts"]]
    assert told == [(2, 3, "promoted", "evidence_good"), (1, 2, "rolled_back", "errors")]
    assert page["rollouts"][1]["reason"] == "=HYPERLINK(it failed)"
    assert kinds == ["promoted", "published", "rolled_back", "rollout_started", "verified"]
    assert started.status_code == 200
    assert [(one["number"], one["outcome"]) for one in newest["rollouts"]] == [(4, None), (3, "superseded")]
    assert newest["rollouts"][1]["by"] == "operator via ui"
    assert [one["number"] for one in rest["rollouts"]] == [2, 1]
