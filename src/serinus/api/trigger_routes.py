"""What is started beside imports and trainings: batches and evaluations, as jobs."""

from asyncio import to_thread
from typing import Annotated, Literal

from fastapi import APIRouter, Form
from fastapi.responses import Response

from serinus.api.board import datasets
from serinus.api.compat_routes import upload_of
from serinus.api.control_deps import ControlDeps
from serinus.api.data_documents import Started, TrainersPage
from serinus.api.errors import responses
from serinus.api.job_documents import Preparing
from serinus.api.schema import answers, json_response
from serinus.api.trainers import Trainers
from serinus.api.uploads import Uploads
from serinus.core.errors import Conflict, NotFound, Unavailable
from serinus.jobs.model import BatchJob, BrokenJob, EvaluateJob
from serinus.observe.principal import acting

DOCUMENTS: list[type] = [TrainersPage]


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
        split: Annotated[Literal["test", "val", "train", "all"], Form()] = "test",
    ) -> Response:
        """Measures a version on a data set, as a job; its page is /api/jobs/<job>/evaluation/index.html."""
        if version not in (await to_thread(deps.store.state)).versions:
            raise NotFound(f"There is no version {version}.", remedy="GET /api/versions lists them.")
        if not any(
            each.id == data for each in await to_thread(datasets, deps.settings.data_dir / "datasets")
        ):
            raise NotFound(f"There is no data set {data[:80]!r}.", remedy="GET /api/datasets lists them.")
        spec = EvaluateJob(version=version, dataset=data, split=split)
        job = await to_thread(deps.jobs.submit, spec)
        words = f"Measuring version {version} on {data}; follow it as job {job}."
        return json_response(Preparing(message=words, dataset=data, job=job), status=202)

    return routes
