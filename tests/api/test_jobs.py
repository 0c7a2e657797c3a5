"""Jobs and data sets over HTTP: lists, details, live streams, what to confirm, reports."""

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from serinus.bootstrap.datasets import keep_refusal
from serinus.core.enums import JobState
from serinus.core.ids import Version
from serinus.data.dataset import Dataset
from serinus.data.importing import ImportRefused, import_archive
from serinus.data.page import page_file
from serinus.jobs import remains
from serinus.jobs.folder import Folder, Launched
from serinus.jobs.model import (
    CompareJob,
    CompareOutput,
    EvaluateJob,
    JobSpec,
    Point,
    PrepareJob,
    PrepareOutput,
    Result,
    TrainJob,
)
from tests.api.stage import NOON, Stage
from tests.data.archives import name, pack, pairs

pytestmark = pytest.mark.anyio


async def get(stage: Stage, path: str, status: int = 200) -> Any:
    async with stage.client() as client:
        reply = await client.get(path)
    assert reply.status_code == status, reply.text
    return reply


def events(text: str) -> list[tuple[str, str, Any]]:
    """(id, event, data) of each message."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line and line[0] != ":")
        if "event" in fields:
            found.append((fields["id"], fields["event"], json.loads(fields["data"])))
    return found


async def followed(stage: Stage, job: str, last: str = "") -> list[tuple[str, str, Any]]:
    """All events of a job until its end; it is cancelled meanwhile."""
    headers = {"Last-Event-ID": last} if last else {}
    async with stage.client() as client, asyncio.timeout(60):
        following = asyncio.create_task(client.get(f"/api/jobs/{job}/events", headers=headers))
        if stage.jobs.describe(job).active:
            await stage.until(lambda: stage.jobs.describe(job).progress.step == 4)
            assert (await client.get(f"/api/jobs/{job}")).json()["job"]["eta_seconds"] == 38
            await asyncio.to_thread(stage.jobs.cancel, job)
            await stage.until(lambda: not stage.jobs.alive(job))
        return events((await following).text)


async def test_a_job_is_followed_live_to_its_end(stage: Stage) -> None:
    job = stage.jobs.submit(TrainJob(epochs=10))
    found = await followed(stage, job)
    kinds = [kind for _, kind, _ in found]
    assert kinds[-1] == "end"
    assert (found[-1][2]["state"], found[-1][2]["eta_seconds"]) == ("cancelled", None)
    assert [data["metrics"] for _, kind, data in found if kind == "point"] == [{"map50": 0.6}]
    lines = [line for _, kind, data in found if kind == "log" for line in data["lines"]]
    assert [line.split("/")[0] for line in lines] == [f"epoch {number}" for number in range(1, 5)]
    states = [data["state"] for _, kind, data in found if kind == "job"]
    assert states[0] == "running" and states[-1] == "cancelled"


async def test_a_cut_stream_goes_on_where_it_ended(stage: Stage) -> None:
    job = stage.jobs.submit(TrainJob(epochs=10))
    whole = await followed(stage, job)
    last_log = max(place for place, (_, kind, _) in enumerate(whole) if kind == "log")
    rest = await followed(stage, job, whole[last_log][0])
    assert [kind for _, kind, _ in rest] == ["job", "end"], "neither a line nor a point twice"
    for nonsense in ("x", "-1.5", "1", "9" * 60 + ".1"):
        again = await followed(stage, job, nonsense)
        assert [one for one in again if one[1] == "point"], "from the beginning"


async def test_a_stream_cut_between_two_points_loses_none(stage: Stage) -> None:
    job = ended(stage, TrainJob(), Result(state=JobState.SUCCEEDED, time=NOON))
    folder = Folder(stage.jobs.folder(job))
    for step in range(1, 6):
        folder.add_point(Point(time=NOON, step=step, fraction=0.5, metrics={"loss": 1.0}))
    whole = [one for one in await followed(stage, job) if one[1] == "point"]
    assert [data["step"] for _, _, data in whole] == [1, 2, 3, 4, 5]
    for seen, (place, _, _) in enumerate(whole, 1):
        rest = {data["step"] for _, kind, data in await followed(stage, job, place) if kind == "point"}
        assert rest >= set(range(seen + 1, 6)), "one may come twice, none is lost"
    assert not rest


async def test_streams_are_bounded_and_unknown_jobs_are_not_found(tmp_path: Path) -> None:
    stage = Stage(tmp_path, max_streams=0)
    job = stage.jobs.submit(TrainJob())
    try:
        await get(stage, f"/api/jobs/{job}/events", 503)
        await get(stage, "/api/jobs/train-0123456789ab/events", 404)
        await get(stage, "/api/jobs/..%2f..", 404)
    finally:
        stage.end_jobs()


async def test_the_list_has_the_newest_first_and_says_what_waits(stage: Stage) -> None:
    first = stage.jobs.submit(TrainJob(note="one"))
    stage.now += 1
    second = stage.jobs.submit(TrainJob(note="two"))
    page = (await get(stage, "/api/jobs")).json()
    assert [job["id"] for job in page["jobs"]] == [second, first]
    assert page["jobs"][0]["reason"] == f"Waits until {first} is over."
    assert page["total"] == 2
    assert len((await get(stage, "/api/jobs?limit=1")).json()["jobs"]) == 1


def ended(stage: Stage, spec: JobSpec, result: Result) -> str:
    """A job that is over."""
    stage.now += 1
    job = stage.jobs.submit(spec)
    remains.end(job)
    folder = Folder(stage.jobs.folder(job))
    folder.put_launched(Launched(started=NOON))
    folder.put_result(result)
    return job


async def test_a_refused_import_says_what_to_confirm_and_how(stage: Stage) -> None:
    files = pairs(5)
    del files[name(2, "post", "png")]
    archive = pack(stage.root / "upload.zip", files)
    with pytest.raises(ImportRefused) as refused:
        import_archive(archive, stage.data / "datasets", clock=stage.clock)
    output = PrepareOutput(
        dataset="",
        splits={},
        total_images=0,
        total_polygons=0,
        pairs_found=5,
        pairs_usable=4,
        must_confirm=True,
    )
    result = Result(state=JobState.FAILED, time=NOON, reason=str(refused.value), output=output)
    job = ended(stage, PrepareJob(upload=str(archive), seed=3), result)
    keep_refusal(refused.value, stage.jobs.folder(job), "upload.zip")
    asked = (await get(stage, f"/api/jobs/{job}")).json()["confirmation"]
    assert "1 of 5 pairs cannot be used" in asked["question"]
    assert (asked["pairs_found"], asked["pairs_usable"]) == (5, 4)
    assert asked["post"] == "/trigger-preprocess"
    assert asked["form"] == {"dataset": str(archive), "seed": "3", "confirm": "true"}
    page = await get(stage, asked["report"])
    assert "Needs your confirmation" in page.text
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    async with stage.client() as client:
        upload = (await client.post("/upload-dataset", files={"file": archive.read_bytes()})).json()["path"]
    wanted = TrainJob(
        epochs=3,
        batch=2,
        img_size=96,
        seed=5,
        note="more",
        trainer="ultralytics",
        size="s",
        base="none",
        baseline=True,
        upload=upload,
    )
    training = ended(stage, wanted, result)
    asked = (await get(stage, f"/api/jobs/{training}")).json()["confirmation"]
    assert asked["post"] == "/trigger-train"
    async with stage.client() as client:
        again = (await client.post(asked["post"], data=asked["form"])).json()["job"]
    assert stage.jobs.describe(again).spec == msgspec.structs.replace(wanted, confirm=True)
    fine = msgspec.structs.replace(result, state=JobState.SUCCEEDED)
    assert (await get(stage, f"/api/jobs/{ended(stage, PrepareJob(), fine)}")).json()["confirmation"] is None


async def test_an_evaluation_is_started_and_its_page_is_shown(stage: Stage) -> None:
    stage.base()
    stage.dataset("ds-0123456789ab")
    form = {"version": "1", "data": "ds-0123456789ab"}
    async with stage.client() as client:
        started = await client.post("/trigger-evaluate", data=form)
        missing = [
            await client.post("/trigger-evaluate", data=form | wrong)
            for wrong in ({"version": "7"}, {"data": "ds-no"}, {"split": "some"})
        ]
    assert started.status_code == 202
    assert [reply.status_code for reply in missing] == [404, 404, 400]
    job = started.json()["job"]
    assert stage.jobs.describe(job).spec == EvaluateJob(version=1, dataset="ds-0123456789ab")
    folder = stage.jobs.folder(job) / "evaluation"
    folder.mkdir()
    (folder / "index.html").write_text("<p>a page")
    page = await get(stage, f"/api/jobs/{job}/evaluation/index.html")
    assert page.text == "<p>a page"
    assert "img-src 'self'" in page.headers["content-security-policy"]
    for name_ in ("spec.json", "..%2fspec.json", "x.png"):
        await get(stage, f"/api/jobs/{job}/evaluation/{name_}", 404)


async def test_a_comparison_is_started_and_what_came_of_it_is_listed(stage: Stage) -> None:
    stage.base()
    for note in ("second", "third", "fourth"):
        stage.publish(note)
    stage.store.remove_versions((Version(3),), actor="test", reason="space is needed")
    stage.dataset("ds-0123456789ab")
    form = {"a": "1", "b": "2", "data": "ds-0123456789ab"}
    async with stage.client() as client:
        started = await client.post("/trigger-compare", data=form)
        wrong = [
            await client.post("/trigger-compare", data=form | one)
            for one in ({"b": "7"}, {"data": "ds-no"}, {"split": "some"}, {"b": "1"}, {"a": "3"})
        ]
        removed = await client.post("/trigger-evaluate", data={"version": "3", "data": form["data"]})
    assert started.status_code == 202
    assert [reply.status_code for reply in wrong] == [404, 404, 400, 400, 400]
    assert wrong[3].json()["fields"] == {"b": "Version 1 does not differ from itself. Name two."}
    for reply in (wrong[4], removed):
        assert reply.json()["detail"] == "Version 3 was removed: its model is gone."
    job = started.json()["job"]
    spec = CompareJob(a=1, b=2, dataset="ds-0123456789ab")
    assert stage.jobs.describe(job).spec == spec
    output = CompareOutput(
        a=2, b=1, dataset=spec.dataset, split="all", pictures=9, words="No.", warnings=(), figures=()
    )
    result = Result(state=JobState.SUCCEEDED, time=NOON, output=output)
    done = ended(stage, CompareJob(a=2, b=1, dataset=spec.dataset, split="all"), result)
    ended(stage, EvaluateJob(version=1, dataset=spec.dataset), Result(state=JobState.FAILED, time=NOON))
    folder = stage.jobs.folder(done) / "evaluation"
    folder.mkdir()
    (folder / "change-1-truth.jpg").write_bytes(b"a picture")
    picture = await get(stage, f"/api/jobs/{done}/evaluation/change-1-truth.jpg")
    assert picture.headers["content-type"] == "image/jpeg"
    listed = (await get(stage, "/api/comparisons?a=1&b=2")).json()["comparisons"]
    assert [(one["job"]["id"], one["found"] and one["found"]["words"]) for one in listed] == [
        (done, "No."),
        (job, None),
    ]
    assert len((await get(stage, "/api/comparisons?a=2&b=1&limit=1")).json()["comparisons"]) == 1
    assert (await get(stage, "/api/comparisons?a=1&b=4")).json()["comparisons"] == []


async def test_a_training_takes_a_trainer_a_size_and_a_base(stage: Stage) -> None:
    stage.dataset("ds-0123456789ab")
    stage.base()
    form = {"data": "ds-0123456789ab", "trainer": "ultralytics", "size": "s", "base": "1"}
    async with stage.client() as client:
        reply = await client.post("/trigger-train", data=form)
        wrong = [
            await client.post("/trigger-train", data=form | one)
            for one in ({"trainer": "--x y"}, {"size": "xl"}, {"base": "-1"}, {"base": "7"}, {"base": "no"})
        ]
    assert reply.json()["config"]["model"] == "ultralytics"
    spec = stage.jobs.describe(reply.json()["job"]).spec
    assert spec == TrainJob(dataset="ds-0123456789ab", trainer="ultralytics", size="s", base="1")
    async with stage.client() as client:
        scratch = (await client.post("/trigger-train", data=form | {"base": "none"})).json()["job"]
    assert stage.jobs.describe(scratch).spec == msgspec.structs.replace(spec, base="none")
    assert {one.status_code for one in wrong} == {400}


async def test_many_points_are_thinned_and_the_last_stays(stage: Stage) -> None:
    job = ended(stage, TrainJob(), Result(state=JobState.SUCCEEDED, time=NOON))
    folder = Folder(stage.jobs.folder(job))
    for step in range(2500):
        folder.add_point(Point(time=NOON, step=step, fraction=0.5, metrics={"loss": 1.0}))
    with folder.points.open("ab") as file:
        file.write(b'{"time":1,"st')  # cut short by a kill
    points = (await get(stage, f"/api/jobs/{job}")).json()["points"]
    steps = [point["step"] for point in points]
    assert len(steps) == 1000 and steps == sorted(set(steps)) and steps[-1] == 2499


async def test_the_report_of_a_data_set_in_every_form(stage: Stage) -> None:
    archive = pack(stage.root / "a.zip", pairs(3))
    dataset: Dataset = import_archive(archive, stage.data / "datasets", clock=stage.clock)
    place = f"/api/datasets/{dataset.id}"
    assert (await get(stage, f"{place}/report")).json()["pairs_usable"] == 3
    assert (await get(stage, f"{place}/issues.csv")).text == dataset.issues_file.read_text()
    missing = await get(stage, f"{place}/report.html", 404)
    assert f"serinus data report {dataset.id}" in missing.json()["remedy"]
    page_file(dataset)
    page = await get(stage, f"{place}/report.html")
    assert page.headers["content-type"].startswith("text/html")
    assert "script" not in page.headers["content-security-policy"]
    assert dataset.id in page.text
    assert (await get(stage, "/api/datasets")).json()["datasets"][0]["id"] == dataset.id


@pytest.mark.parametrize("wanted", ["ds-000000000000", "..", "..%2f..%2fetc", "ds-x", "%00"])
async def test_unknown_data_sets(stage: Stage, wanted: str) -> None:
    for file in ("report", "issues.csv", "report.html"):
        await get(stage, f"/api/datasets/{wanted}/{file}", 404)


async def test_a_data_set_can_be_split_again(stage: Stage) -> None:
    stage.dataset("ds-0123456789ab")
    async with stage.client() as client:
        reply = await client.post(
            "/trigger-preprocess", data={"dataset": "ds-0123456789ab", "leave_out": "flood", "seed": "4"}
        )
    assert reply.status_code == 202
    spec = stage.jobs.describe(reply.json()["job"]).spec
    assert spec == PrepareJob(dataset="ds-0123456789ab", leave_out="flood", seed=4)
