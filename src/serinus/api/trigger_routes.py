"""What is started beside imports and trainings: batches, evaluations and comparisons, as jobs."""

from asyncio import to_thread
from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias

from fastapi import APIRouter, Form, Query
from fastapi.responses import Response

from serinus.api.board import datasets
from serinus.api.compat_routes import upload_of
from serinus.api.control_deps import ControlDeps
from serinus.api.data_documents import Started, TrainersPage
from serinus.api.errors import responses
from serinus.api.job_documents import Comparison, ComparisonsPage, Preparing
from serinus.api.schema import answers, json_response
from serinus.api.trainers import Trainers
from serinus.api.uploads import Uploads
from serinus.api.views import job_view
from serinus.core.enums import VersionState
from serinus.core.errors import Conflict, InvalidInput, NotFound, Unavailable
from serinus.core.ids import Version
from serinus.jobs.model import (
    BatchJob,
    BrokenJob,
    CompareJob,
    CompareOutput,
    EvaluateJob,
    JobSpec,
    refuse_itself,
)
from serinus.observe.principal import acting

DOCUMENTS: list[type] = [ComparisonsPage, TrainersPage]
Split: TypeAlias = Literal["test", "val", "train", "all"]


def router(deps: ControlDeps, uploads: Uploads, trainers: Trainers) -> APIRouter:
    """The routes beside those that the documents promise."""
    routes = APIRouter()

    @routes.get(
        "/api/trainers",
        tags=["Data and training"],
        responses=answers(TrainersPage, "The trainers") | responses(Unavailable),
    )
    async def all_trainers() -> Response:
        """Who can train here, each with the licence of what it runs. The first answer takes seconds."""
        found = await trainers.all()
        return json_response(TrainersPage(trainers=found, default=deps.settings.trainer))

    @routes.post(
        "/api/versions/broken",
        status_code=202,
        tags=["Data and training"],
        responses=answers(Started, "Queued", status=202) | responses(Conflict),
    )
    async def broken(
        actor: Annotated[str, Form(max_length=80, description="Who wants it; for the history")] = "",
    ) -> Response:
        """Publishes a version that is broken on purpose, as a job, to see it rolled back.

        It is the current version, right on square pictures and failing on others; the job sends both as users
        would, until it is decided. What it fails is answered by current.
        """
        if (await to_thread(deps.store.state)).current is None:
            raise Conflict(
                "There is no current version to break.", remedy="Start `serinus up`, or train one."
            )
        job = await to_thread(deps.jobs.submit, BrokenJob(actor=acting(actor)))
        return json_response(
            Started(message=f"Publishing a broken version; follow it as job {job}.", job=job), status=202
        )

    @routes.post(
        "/trigger-batch",
        status_code=202,
        tags=["Data and training"],
        responses=answers(Preparing, "Queued", status=202) | responses(NotFound),
    )
    async def trigger_batch(
        dataset: Annotated[
            str, Form(description="An upload: its path, id or file name; empty: the newest")
        ] = "",
    ) -> Response:
        """Sends an uploaded zip of pairs to the inference service, as a job, and keeps the result with it."""
        upload = await to_thread(upload_of, uploads, dataset.strip())
        spec = BatchJob(archive=str(uploads.path(upload).absolute()), name=upload.name)
        job = await to_thread(deps.jobs.submit, spec)
        words = f"Predicting {upload.name or upload.id}; follow it as job {job}."
        return json_response(
            Preparing(message=words, dataset=dataset.strip() or upload.id, job=job), status=202
        )

    @routes.post(
        "/trigger-evaluate",
        status_code=202,
        tags=["Data and training"],
        responses=answers(Preparing, "Queued", status=202) | responses(NotFound),
    )
    async def trigger_evaluate(
        version: Annotated[int, Form(ge=1)],
        data: Annotated[str, Form(description="Data set id")],
        split: Annotated[Split, Form()] = "test",
    ) -> Response:
        """Measures a version on a data set, as a job; its page is /api/jobs/<job>/evaluation/index.html."""
        await to_thread(_check_measurable, deps, {"version": version}, data)
        spec = EvaluateJob(version=version, dataset=data, split=split)
        return await queued(spec, f"Measuring version {version} on {data}", data)

    @routes.post(
        "/trigger-compare",
        status_code=202,
        tags=["Data and training"],
        responses=answers(Preparing, "Queued", status=202) | responses(NotFound),
    )
    async def trigger_compare(
        a: Annotated[int, Form(ge=1, description="The version to compare with")],
        b: Annotated[int, Form(ge=1, description="The version that is better or worse")],
        data: Annotated[str, Form(description="Data set id")],
        split: Annotated[Split, Form()] = "test",
    ) -> Response:
        """Measures two versions on the same pictures, as a job: differences with 95 % intervals, and a page
        with pictures of what changed at /api/jobs/<job>/evaluation/index.html.
        """
        refuse_itself(a, b)
        await to_thread(_check_measurable, deps, {"a": a, "b": b}, data)
        spec = CompareJob(a=a, b=b, dataset=data, split=split)
        return await queued(spec, f"Comparing versions {a} and {b} on {data}", data)

    @routes.get(
        "/api/comparisons", tags=["Jobs"], responses=answers(ComparisonsPage, "The comparisons") | responses()
    )
    async def comparisons(
        a: Annotated[int, Query(ge=1)],
        b: Annotated[int, Query(ge=1)],
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
    ) -> Response:
        """Jobs that compare these two versions, either with the other, newest first."""
        found = []
        for record in reversed(await to_thread(deps.jobs.list)):
            if isinstance(record.spec, CompareJob) and {record.spec.a, record.spec.b} == {a, b}:
                output = record.output if isinstance(record.output, CompareOutput) else None
                found.append(Comparison(job=job_view(record, ""), found=output))
        return json_response(ComparisonsPage(comparisons=tuple(found[:limit])))

    async def queued(spec: JobSpec, what: str, data: str) -> Response:
        job = await to_thread(deps.jobs.submit, spec)
        words = f"{what}; follow it as job {job}."
        return json_response(Preparing(message=words, dataset=data, job=job), status=202)

    return routes


def _check_measurable(deps: ControlDeps, versions: Mapping[str, int], data: str) -> None:
    """`versions`: field -> number. Raises NotFound for what is not there; InvalidInput for what is left of a
    removed version.
    """
    known = deps.store.state().versions
    for field, number in versions.items():
        record = known.get(Version(number))
        if record is None:
            raise NotFound(f"There is no version {number}.", remedy="GET /api/versions lists them.")
        if record.state is VersionState.REMOVED:
            raise InvalidInput(
                f"Version {number} was removed: its model is gone.", remedy="Choose another one.", field=field
            )
    if not any(each.id == data for each in datasets(deps.settings.data_dir / "datasets")):
        raise NotFound(f"There is no data set {data[:80]!r}.", remedy="GET /api/datasets lists them.")
