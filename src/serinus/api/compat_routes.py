"""The documented endpoints of the dashboard process, with the documented fields."""

from asyncio import to_thread
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from fastapi.responses import Response

from serinus.api.board import datasets
from serinus.api.control_deps import ControlDeps
from serinus.api.errors import responses
from serinus.api.infer_proxy import Infer
from serinus.api.schema import takes_form
from serinus.api.uploads import Upload, Uploads
from serinus.core.errors import InvalidInput, NotFound, Unavailable
from serinus.jobs.compat import job_logs, job_status
from serinus.jobs.model import PrepareJob, TrainJob

_MODEL = "compact"
_LOG_LINES = 2000


def compat_routes(deps: ControlDeps, uploads: Uploads, infer: Infer) -> APIRouter:
    """The routes that the documents promise."""
    router = APIRouter()
    settings = deps.settings

    @router.get("/healthz", tags=["Health"])
    async def healthz() -> dict[str, bool]:
        """Whether the process answers."""
        return {"ok": True}

    @router.post(
        "/upload-dataset",
        tags=["Data and training"],
        responses=responses(),
        openapi_extra=takes_form({"file": "A zip archive in xBD layout"}),
    )
    async def upload_dataset(request: Request) -> dict[str, Any]:
        """Takes an archive as a stream. Its name is kept for people; it is never a path."""
        upload = await uploads.receive(request.headers.get("content-type", ""), request.stream())
        return {
            "status": "ok",
            "path": str(uploads.path(upload)),
            "id": upload.id,
            "size": upload.size,
            "sha256": upload.sha256,
        }

    @router.post(
        "/trigger-preprocess", status_code=202, tags=["Data and training"], responses=responses(NotFound)
    )
    async def trigger_preprocess(
        dataset: Annotated[
            str, Form(description="An upload: its path, id or file name; empty: the newest")
        ] = "",
    ) -> dict[str, Any]:
        """Imports an upload as a data set, as a job."""
        upload = await to_thread(_upload, uploads, dataset.strip())
        job = await to_thread(deps.jobs.submit, PrepareJob(upload=str(uploads.path(upload).absolute())))
        return {
            "status": "started",
            "message": f"Importing {upload.name or upload.id}; follow it as job {job}.",
            "dataset": dataset.strip() or upload.id,
            "job": job,
        }

    @router.post("/trigger-train", status_code=202, tags=["Data and training"], responses=responses(NotFound))
    async def trigger_train(
        epochs: Annotated[int, Form(ge=1, le=1000)] = settings.epochs,
        batch: Annotated[int, Form(ge=1, le=512)] = settings.batch,
        note: Annotated[str, Form(max_length=500, description="What changed, for people")] = "",
        data: Annotated[str, Form(description="Data set id; empty: the newest upload or data set")] = "",
        seed: Annotated[int, Form(ge=0, le=2**31 - 1)] = 0,
    ) -> dict[str, Any]:
        """Trains a version and publishes it, as a job. Imports the newest upload first where needed."""
        dataset, upload = await to_thread(_training_data, deps, uploads, data.strip())
        spec = TrainJob(
            epochs=epochs,
            batch=batch,
            img_size=settings.img_size,
            seed=seed,
            note=note.strip(),
            dataset=dataset,
            upload=upload,
        )
        job = await to_thread(deps.jobs.submit, spec)
        return {
            "status": "started",
            "message": f"Training {epochs} epochs; follow it as job {job}.",
            "config": {"model": _MODEL, "epochs": epochs, "img_size": settings.img_size, "batch": batch},
            "job": job,
        }

    @router.get("/job-status/{job}", tags=["Jobs"], responses=responses(NotFound))
    async def status(job: str) -> dict[str, Any]:
        """`train` and `preprocess` mean the newest of that kind; an id means that job."""
        return job_status(await to_thread(deps.jobs.describe, job))

    @router.get("/job-logs/{job}", tags=["Jobs"], responses=responses(NotFound))
    async def logs(job: str) -> dict[str, Any]:
        """The end of the log, and a summary of what came of the job."""
        record = await to_thread(deps.jobs.describe, job)
        return job_logs(record, await to_thread(deps.jobs.logs, record.id, _LOG_LINES))

    @router.get("/infer-status", tags=["State"], responses=responses(Unavailable))
    async def infer_status() -> Response:
        """What the inference service's /model-status says; 503 when it does not answer."""
        return await infer.status()

    return router


def _upload(uploads: Uploads, wanted: str) -> Upload:
    """Raises NotFound."""
    if wanted:
        return uploads.find(wanted)
    found = uploads.list()
    if not found:
        raise NotFound("Nothing was uploaded yet.", remedy="POST /upload-dataset first.")
    return found[-1]


def _training_data(deps: ControlDeps, uploads: Uploads, wanted: str) -> tuple[str, str]:
    """Data set id and archive to train on; one of them may be empty. Raises InvalidInput, NotFound."""
    known = datasets(deps.settings.data_dir / "datasets")
    if wanted:
        if any(each.id == wanted for each in known):
            return wanted, ""
        upload = uploads.find(wanted)
        return "", str(uploads.path(upload).absolute())
    uploaded = uploads.list()
    if uploaded and (not known or uploaded[-1].time > known[0].time):
        return "", str(uploads.path(uploaded[-1]).absolute())
    if not known:
        raise InvalidInput(
            "There is nothing to train on.", remedy="Upload a data set first (POST /upload-dataset)."
        )
    return known[0].id, ""
