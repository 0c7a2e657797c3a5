"""What the pages Data and Training read and do: pairs of data sets, uploads taken away, demo, trainers."""

from pathlib import Path
from typing import Any

import pytest

from serinus.data.importing import import_archive
from serinus.data.synth import Disaster, SynthSet, write_sets
from serinus.jobs.model import BrokenJob, DemoJob, TrainJob
from tests.api.stage import Stage, zipped

pytestmark = pytest.mark.anyio
TUS = {"Tus-Resumable": "1.0.0"}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("archive") / "two.zip"
    write_sets(path, [SynthSet(disaster=each, pairs=4, size=128, seed=3) for each in Disaster])
    return path


def real(stage: Stage, archive: Path) -> str:
    found = import_archive(archive, stage.data / "datasets", clock=stage.clock, name="<b>two</b>.zip")
    return found.id


async def ask(stage: Stage, method: str, path: str, status: int = 200, **more: Any) -> Any:
    async with stage.client() as client:
        reply = await client.request(method, path, **more)
    assert reply.status_code == status, reply.text
    return reply


async def test_a_data_set_says_where_it_comes_from_and_shows_its_pairs(stage: Stage, archive: Path) -> None:
    name = real(stage, archive)
    (one,) = (await ask(stage, "GET", "/api/datasets")).json()["datasets"]
    assert one == (await ask(stage, "GET", f"/api/datasets/{name}")).json()
    assert (one["source"], one["pairs"], len(one["disasters"])) == ("<b>two</b>.zip", 8, 2)
    page = (await ask(stage, "GET", f"/api/datasets/{name}/pairs?limit=3&offset=6")).json()
    assert (page["total"], len(page["pairs"])) == (8, 2)
    fire = (await ask(stage, "GET", f"/api/datasets/{name}/pairs?disaster=synth-wildfire")).json()
    assert fire["total"] == 4 and {pair["disaster"] for pair in fire["pairs"]} == {"synth-wildfire"}
    destroyed = (await ask(stage, "GET", f"/api/datasets/{name}/pairs?label=3")).json()
    assert 0 < destroyed["total"] <= 8 and all(3 in pair["classes"] for pair in destroyed["pairs"])
    splits = [
        (await ask(stage, "GET", f"/api/datasets/{name}/pairs?split={each}")).json()["total"]
        for each in one["splits"]
    ]
    assert splits == list(one["splits"].values())
    picture = page["pairs"][0]["sha256_post"]
    reply = await ask(stage, "GET", f"/api/datasets/{name}/images/{picture}.png")
    assert reply.headers["content-type"] == "image/png" and reply.content.startswith(b"\x89PNG")
    for odd in ("0" * 64, "..%2f..%2fmanifest", "A" * 64):
        await ask(stage, "GET", f"/api/datasets/{name}/images/{odd}.png", 404)
    await ask(stage, "GET", f"/api/datasets/{name}/pairs?label=4", 400)
    await ask(stage, "GET", "/api/datasets/ds-000000000000/pairs", 404)


async def test_an_upload_is_taken_away_unless_a_job_needs_it(stage: Stage, archive: Path) -> None:
    files = {"file": ("a.zip", archive.read_bytes())}
    first = (await ask(stage, "POST", "/upload-dataset", files=files)).json()
    twin = (await ask(stage, "POST", "/upload-dataset", files=files)).json()
    name = real(stage, archive)
    known = (await ask(stage, "GET", "/api/uploads")).json()["uploads"]
    assert [one["dataset"] for one in known] == [name, name]
    job = (await ask(stage, "POST", "/trigger-preprocess", 202, data={"dataset": first["id"]})).json()["job"]
    refused = (await ask(stage, "DELETE", f"/api/uploads/{first['id']}", 409, headers=TUS)).json()
    assert job in refused["detail"]
    stage.end_jobs()
    await ask(stage, "DELETE", f"/api/uploads/{first['id']}", 204, headers=TUS)
    await ask(stage, "DELETE", f"/api/uploads/{first['id']}", 404, headers=TUS)
    assert not Path(first["path"]).exists()
    assert Path(twin["path"]).read_bytes() == archive.read_bytes(), "an equal one keeps its file"
    left = (await ask(stage, "GET", "/api/uploads")).json()["uploads"]
    assert [one["id"] for one in left] == [twin["id"]]


async def test_unfinished_uploads_are_listed_with_what_is_here(stage: Stage) -> None:
    headers = TUS | {"Upload-Length": "1000", "Upload-Metadata": "filename YS56aXA="}
    place = (await ask(stage, "POST", "/api/uploads", 201, headers=headers)).headers["location"]
    piece = TUS | {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
    await ask(stage, "PATCH", place, 204, headers=piece, content=b"x" * 400)
    (one,) = (await ask(stage, "GET", "/api/uploads")).json()["unfinished"]
    assert (one["name"], one["offset"], one["length"], one["id"]) == (
        "a.zip",
        400,
        1000,
        place.split("/")[-1],
    )
    await ask(stage, "DELETE", place, 204, headers=TUS)
    assert (await ask(stage, "GET", "/api/uploads")).json()["unfinished"] == []


async def test_demo_data_and_the_broken_version_are_jobs(stage: Stage) -> None:
    reply = (await ask(stage, "POST", "/api/datasets/demo", 202, data={"pairs": "40"})).json()
    assert stage.jobs.describe(reply["job"]).spec == DemoJob(pairs=40)
    assert (await ask(stage, "POST", "/api/datasets/demo", 400, data={"pairs": "3"})).json()[
        "fields"
    ].keys() == {"pairs"}
    nothing = (await ask(stage, "POST", "/api/versions/broken", 409)).json()
    assert "no current version" in nothing["detail"] and nothing["remedy"]
    stage.base()
    reply = (await ask(stage, "POST", "/api/versions/broken", 202, data={"actor": "alice"})).json()
    assert stage.jobs.describe(reply["job"]).spec == BrokenJob(actor="alice via ui")


async def test_what_is_wrong_with_a_training_is_told_at_its_field(stage: Stage) -> None:
    stage.base()
    stage.dataset()
    train = {"data": "ds-0c1f2e3d4b5a"}
    for field, value in (("epochs", "0"), ("batch", "x"), ("img_size", "9"), ("base", "7"), ("size", "xl")):
        body = (await ask(stage, "POST", "/trigger-train", 400, data=train | {field: value})).json()
        assert list(body["fields"]) == [field], body
    found = (await ask(stage, "GET", "/api/trainers")).json()
    assert found["default"] == "compact"
    assert [one["licence"] for one in found["trainers"]] == ["Apache-2.0", "AGPL-3.0", ""]
    for name in ("nobody", "odd"):
        body = (await ask(stage, "POST", "/trigger-train", 400, data=train | {"trainer": name})).json()
        assert list(body["fields"]) == ["trainer"]
    asked = train | {"trainer": "ultralytics", "img_size": "256", "base": "1"}
    job = (await ask(stage, "POST", "/trigger-train", 202, data=asked)).json()["job"]
    spec = stage.jobs.describe(job).spec
    assert isinstance(spec, TrainJob) and (spec.trainer, spec.img_size, spec.base) == (
        "ultralytics",
        256,
        "1",
    )
    detail = (await ask(stage, "GET", f"/api/jobs/{job}")).json()
    assert detail["output"] is None


async def test_an_archive_of_the_form_is_imported_by_id(stage: Stage) -> None:
    upload = (await ask(stage, "POST", "/upload-dataset", files={"file": ("b.zip", zipped())})).json()
    (one,) = (await ask(stage, "GET", "/api/uploads")).json()["uploads"]
    assert (one["id"], one["dataset"]) == (upload["id"], "")
