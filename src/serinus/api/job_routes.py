"""`/api/jobs`: every job with its progress, curves and log, and how to follow one live."""

import asyncio
import re
from asyncio import to_thread
from collections.abc import AsyncGenerator
from time import monotonic
from typing import Annotated

import msgspec
from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import FileResponse, StreamingResponse

from serinus.api.control_deps import ControlDeps
from serinus.api.documents import JobView
from serinus.api.errors import responses
from serinus.api.job_documents import Confirmation, JobDetail, JobsPage, LogLines
from serinus.api.pages import PAGE_HEADERS, REPORT_HEADERS
from serinus.api.schema import answers, answers_words, json_response, live_response
from serinus.api.views import job_view
from serinus.core.enums import JobState
from serinus.core.errors import NotFound, Unavailable
from serinus.jobs.model import JobRecord, Point, PrepareJob, PrepareOutput
from serinus.jobs.render import EVALUATION, RESULT

DOCUMENTS: list[type] = [JobDetail, JobsPage, LogLines, Point]
_FILE = re.compile(r"[a-z0-9_-]{1,80}\.(?:html|jpg|png|json)")
_LOG_LINES = 200
_MOST_POINTS = 1000
_STILL_HERE_SECONDS = 5.0
"""Also how long at most a stream goes on after its token was revoked."""
_TRAINING = ("epochs", "batch", "img_size", "seed", "note", "trainer", "size", "base", "baseline")
"""What both `/trigger-train` and its job call so."""


class Followers:
    """Streams of single jobs, as many at once as the settings allow."""

    def __init__(self, deps: ControlDeps, closing: asyncio.Event) -> None:
        self._deps = deps
        self._closing = closing
        self._open = 0

    async def follow(self, job: str, last: str) -> AsyncGenerator[bytes]:
        """Server-sent events of one job: `job` when its record changed, `point` for each new point of its
        curves, `log` for new lines, and `end` with the last record.

        `last`: the id of the last event that was received (offsets into log and curves); empty: from the
        beginning. Raises NotFound, and Unavailable (before the first event) when too many follow.
        """
        settings, jobs = self._deps.settings, self._deps.jobs
        record = await to_thread(jobs.describe, job)
        if self._open >= settings.max_streams:
            raise Unavailable(f"{self._open} streams are open already.", retry_after=10.0)
        self._open += 1
        try:
            yield b"retry: 1000\n\n"
            log_at, points_at = _offsets(last)
            sent: JobView | None = None
            until, heard = monotonic() + settings.stream_seconds, monotonic()
            while monotonic() < until and not self._closing.is_set():
                # These first: what the job wrote before it ended is then read below.
                alive = await to_thread(jobs.alive, record.id)
                record = await to_thread(jobs.describe, record.id)
                view = job_view(record, "")
                lines = await to_thread(jobs.log_lines, record.id, log_at)
                points, points_next = await to_thread(jobs.points, record.id, points_at)
                more = bool(lines.text or points)
                for number, point in enumerate(points, 1):
                    # A cut between two of them must lose none: the offset moves on with the last.
                    place = points_next if number == len(points) else points_at
                    yield _message("point", point, f"{log_at}.{place}")
                if lines.text:
                    words = LogLines(lines=lines.text)
                    yield _message("log", words, f"{lines.next}.{points_next}")
                if view != sent:
                    yield _message("job", view, f"{lines.next}.{points_next}")
                    sent, heard = view, monotonic()
                log_at, points_at = lines.next, points_next
                if not record.active and not alive and not more:
                    yield _message("end", view, f"{log_at}.{points_at}")
                    return
                if monotonic() - heard > _STILL_HERE_SECONDS:
                    yield b": still here\n\n"
                    heard = monotonic()
                if not more:
                    await self._pause(settings.poll_seconds)
        finally:
            self._open -= 1

    async def _pause(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._closing.wait(), seconds)
        except TimeoutError:
            return


def router(deps: ControlDeps, closing: asyncio.Event) -> APIRouter:
    """The routes under `/api/jobs`, but for cancel."""
    routes = APIRouter(prefix="/api/jobs", tags=["Jobs"])
    followers = Followers(deps, closing)

    @routes.get("", responses=answers(JobsPage, "Jobs, newest first") | responses())
    async def all_jobs(limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> Response:
        """All jobs with state and progress."""
        records = await to_thread(deps.jobs.list)
        views = tuple(job_view(record, "") for record in reversed(records[-limit:]))
        return json_response(JobsPage(jobs=views, total=len(records)))

    @routes.get("/{job}", responses=answers(JobDetail, "The job") | responses(NotFound))
    async def one(job: str) -> Response:
        """One job: record, curves, the end of its log, and what it needs to be confirmed."""
        return json_response(await to_thread(_detail, deps, job))

    @routes.get(
        "/{job}/events",
        responses=answers_words(
            "Server-sent events: `job` (its record), `point` {time, step, fraction, metrics}, `log` {lines}, "
            "`end` (the last record), `login` when the token that opened it counts no more; `Last-Event-ID` "
            "goes on where a cut stream ended",
            "text/event-stream",
        )
        | responses(NotFound, Unavailable),
    )
    async def events(
        request: Request, job: str, last_event_id: Annotated[str, Header(description="Where to go on")] = ""
    ) -> StreamingResponse:
        """Follows one job live: progress, training curves and log."""
        return await live_response(followers.follow(job, last_event_id), request.state.same)

    @routes.get(
        "/{job}/report.html",
        responses=answers_words("The page", "text/html") | responses(NotFound),
    )
    async def refused(job: str) -> Response:
        """The data set report of an import that was refused: what was found, and what to do."""
        path = await to_thread(deps.jobs.folder, job) / "report.html"
        if not await to_thread(path.is_file):
            raise NotFound(
                f"Job {job} left no report.", remedy="An import that succeeds puts it with its data set."
            )
        return FileResponse(path, media_type="text/html", headers=REPORT_HEADERS)

    @routes.get(
        "/{job}/result.zip", responses=answers_words("The result", "application/zip") | responses(NotFound)
    )
    async def result(job: str) -> Response:
        """What a batch brought back: overlays, detections, tables."""
        path = await to_thread(deps.jobs.folder, job) / RESULT
        if not await to_thread(path.is_file):
            raise NotFound(f"Job {job} has no result.", remedy="A batch that succeeds has one.")
        return FileResponse(path, media_type="application/zip", filename=f"{path.parent.name}.zip")

    @routes.get(
        "/{job}/evaluation/{file}",
        responses=answers_words("The page, a picture, evaluation.json or comparison.json", "text/html")
        | responses(NotFound),
    )
    async def evaluation(job: str, file: str) -> Response:
        """The page of an evaluation or a comparison (index.html), and what lies beside it."""
        path = await to_thread(deps.jobs.folder, job) / EVALUATION / file
        if not _FILE.fullmatch(file) or not await to_thread(path.is_file):
            raise NotFound(f"Job {job} has no {file[:80]!r}.", remedy="An evaluation has an index.html.")
        return FileResponse(path, headers=PAGE_HEADERS)

    return routes


def _detail(deps: ControlDeps, job: str) -> JobDetail:
    record = deps.jobs.describe(job)
    points: list[Point] = []
    offset = 0
    while True:
        some, following = deps.jobs.points(record.id, offset)
        if following == offset:
            break
        points, offset = [*points, *some], following
    return JobDetail(
        job=job_view(record, deps.jobs.logs(record.id, _LOG_LINES)),
        spec=msgspec.to_builtins(record.spec),
        points=tuple(thinned(points)),
        confirmation=_confirmation(record),
        output=msgspec.to_builtins(record.output),
    )


def thinned(points: list[Point]) -> list[Point]:
    """At most _MOST_POINTS, evenly, and always the last."""
    if len(points) <= _MOST_POINTS:
        return points
    share = (len(points) - 1) / (_MOST_POINTS - 1)
    return [points[round(number * share)] for number in range(_MOST_POINTS)]


def _confirmation(record: JobRecord) -> Confirmation | None:
    """What has to be confirmed for the job to go on; None when nothing is."""
    output, spec = record.output, record.spec
    if (
        record.state is not JobState.FAILED
        or not isinstance(output, PrepareOutput)
        or not output.must_confirm
    ):
        return None
    prepared = isinstance(spec, PrepareJob)
    return Confirmation(
        question=record.reason,
        pairs_found=output.pairs_found,
        pairs_usable=output.pairs_usable,
        report=f"/api/jobs/{record.id}/report.html",
        post="/trigger-preprocess" if prepared else "/trigger-train",
        form=_form(spec) | {"confirm": "true"},
    )


def _form(spec: object) -> dict[str, str]:
    """The form that asks for the same job again."""
    if isinstance(spec, PrepareJob):
        form = {"dataset": spec.upload or spec.dataset, "leave_out": spec.leave_out, "seed": str(spec.seed)}
        return {name: value for name, value in form.items() if value}
    fields: dict[str, object] = msgspec.to_builtins(spec)
    form = {name: str(fields[name]) for name in _TRAINING if fields[name] not in ("", False)}
    return form | {"data": str(fields["upload"])}


def _offsets(last: str) -> tuple[int, int]:
    """From the id of an event; what is no such id begins at the beginning."""
    log, _, points = last.partition(".")
    return (int(log), int(points)) if log.isdecimal() and points.isdecimal() and len(last) < 40 else (0, 0)


def _message(event: str, value: msgspec.Struct, event_id: str) -> bytes:
    return f"id: {event_id}\nevent: {event}\ndata: {msgspec.json.encode(value).decode()}\n\n".encode()
