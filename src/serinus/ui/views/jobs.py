"""Trainings, and one job of any kind: live curves, log, what came of it."""

import asyncio
from collections.abc import Set
from typing import Any

from fastapi.responses import HTMLResponse

from serinus.core.enums import JobKind, JobState
from serinus.core.errors import NotFound
from serinus.ui.site import Site

_LOOKED_THROUGH = 200
_SHOWN = 8
"""Jobs that are over."""
_DATA = frozenset({JobKind.PREPARE, JobKind.DEMO})
_TRAINING = frozenset(set(JobKind) - _DATA)


async def jobs_of(site: Site, kinds: Set[JobKind]) -> list[dict[str, Any]]:
    """Jobs of these kinds: at work, waiting (with their place in the queue), and the last others."""
    found = [
        job for job in (await site.get("/api/jobs", limit=_LOOKED_THROUGH))["jobs"] if job["kind"] in kinds
    ]
    active = [job for job in found if job["state"] in (JobState.QUEUED, JobState.RUNNING)]
    waiting: dict[str, int] = {}
    for job in sorted(active, key=lambda one: (one["created"], one["id"])):
        if job["state"] == JobState.QUEUED:
            job["place"] = waiting[job["kind"]] = waiting.get(job["kind"], 0) + 1
    active.sort(key=lambda one: (one.get("place", 0), one["created"]))
    return active + [job for job in found if job not in active][:_SHOWN]


def install(site: Site) -> None:
    """`/training` and `/jobs/JOB`."""

    async def training(data: str = "", again: str = "") -> HTMLResponse:
        sets, uploads, versions, jobs = await asyncio.gather(
            site.get("/api/datasets"),
            site.get("/api/uploads"),
            site.get("/api/versions"),
            jobs_of(site, _TRAINING),
        )
        return await site.page(
            "training.html",
            "/training",
            datasets=sets["datasets"],
            uploads=[one for one in uploads["uploads"] if not one["dataset"]],
            versions=[one for one in versions["versions"] if one["state"] != "removed"],
            jobs=jobs,
            given=(await _as_before(site, again)) | ({"data": data} if data else {}),
        )

    async def job(job: str) -> HTMLResponse:
        detail = await site.get(f"/api/jobs/{job}")
        one = detail["job"]
        number = (detail["output"] or {}).get("version")
        queue = await jobs_of(site, {JobKind(one["kind"])})
        return await site.page(
            "job.html",
            "/data" if one["kind"] in _DATA else "/training",
            detail=detail,
            job=one,
            spec=detail["spec"],
            output=detail["output"],
            place=next((each.get("place") for each in queue if each["id"] == one["id"]), None),
            version=None if number is None else await _version(site, number),
            policies=await site.get("/api/policies"),
        )

    site.add("/training", training, "/training")
    site.add("/jobs/{job}", job, "/training")


async def _version(site: Site, number: int) -> dict[str, Any] | None:
    """The version that a job published; None when it cannot be read."""
    try:
        found: dict[str, Any] = (await site.get(f"/api/versions/{number}"))["version"]
    except NotFound:
        return None
    return found


async def _as_before(site: Site, job: str) -> dict[str, Any]:
    """The fields of an earlier training; none when there is no such one."""
    if not job:
        return {}
    try:
        spec = (await site.get(f"/api/jobs/{job}"))["spec"]
    except NotFound:
        return {}
    names = ("epochs", "batch", "seed", "note", "img_size", "size", "base", "trainer", "baseline")
    return {name: spec[name] for name in names if spec.get(name)} | {"data": spec.get("dataset", "")}
