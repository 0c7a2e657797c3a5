"""The documented endpoints of the dashboard process, with the documented fields."""

from asyncio import to_thread
from typing import Annotated, Literal

import msgspec
from fastapi import APIRouter, Form, Request
from fastapi.responses import Response

from serinus.api.board import datasets
from serinus.api.control_deps import ControlDeps
from serinus.api.documents import Alive
from serinus.api.errors import responses
from serinus.api.infer_proxy import Infer
from serinus.api.job_documents import JobLogs, JobStatus, Preparing, Training, TrainingConfig, Uploaded
from serinus.api.schema import answers, answers_words, json_response, takes_form
from serinus.api.trainers import Trainers
from serinus.api.training_data import newest_data, of_batches
from serinus.api.uploads import Upload, Uploads
from serinus.core.errors import InvalidInput, NotFound, Unavailable
from serinus.data.sources import imported
from serinus.jobs.compat import job_logs, job_status
from serinus.jobs.model import PrepareJob, TrainJob

DOCUMENTS: list[type] = [Alive, JobLogs, JobStatus, Preparing, Training, Uploaded]
_LOG_LINES = 2000


def router(deps: ControlDeps, uploads: Uploads, infer: Infer, trainers: Trainers) -> APIRouter:
    """The routes that the documents promise."""
    routes = APIRouter()
    settings = deps.settings

    @routes.get("/healthz", tags=["Health"], responses=answers(Alive, "It answers"))
    async def healthz() -> Response:
        """Whether the process answers."""
        return json_response(Alive())

    @routes.post(
        "/upload-dataset",
        tags=["Data and training"],
        responses=answers(Uploaded, "Stored") | responses(),
        openapi_extra=takes_form({"file": "A zip archive in xBD layout"}),
    )
    async def upload_dataset(request: Request) -> Response:
        """Takes an archive as a stream. Its name is kept for people; it is never a path."""
        upload = await uploads.receive(request.headers.get("content-type", ""), request.stream())
        path = str(uploads.path(upload))
        return json_response(Uploaded(path=path, id=upload.id, size=upload.size, sha256=upload.sha256))

    @routes.post(
        "/trigger-preprocess",
        status_code=202,
        tags=["Data and training"],
        responses=answers(Preparing, "Queued", status=202) | responses(NotFound),
    )
    async def trigger_preprocess(
        dataset: Annotated[
            str,
            Form(
                description="An upload (its path, id or file name) or a data set id; empty: the newest upload"
            ),
        ] = "",
        confirm: Annotated[bool, Form(description="Go on with more than 10 % of the pairs lost")] = False,
        leave_out: Annotated[str, Form(max_length=100, description="A disaster to keep for testing")] = "",
        seed: Annotated[int, Form(ge=0, le=2**31 - 1, description="Another one splits otherwise")] = 0,
    ) -> Response:
        """Makes a data set of an upload, or another version of a data set, as a job.

        When it fails for want of a confirmation, GET /api/jobs/<job> says what to confirm, and how.
        """
        wanted = dataset.strip()
        spec = PrepareJob(confirm=confirm, seed=seed, leave_out=leave_out.strip())
        if any(each.id == wanted for each in await to_thread(datasets, deps.settings.data_dir / "datasets")):
            name, spec = wanted, msgspec.structs.replace(spec, dataset=wanted)
        else:
            upload = await to_thread(upload_of, uploads, wanted)
            name = upload.name or upload.id
            path = str(uploads.path(upload).absolute())
            spec = msgspec.structs.replace(spec, upload=path, name=upload.name)
            wanted = wanted or upload.id
        job = await to_thread(deps.jobs.submit, spec)
        return json_response(
            Preparing(message=f"Preparing {name}; follow it as job {job}.", dataset=wanted, job=job),
            status=202,
        )

    @routes.post(
        "/trigger-train",
        status_code=202,
        tags=["Data and training"],
        responses=answers(Training, "Queued", status=202) | responses(NotFound),
    )
    async def trigger_train(
        *,
        epochs: Annotated[int, Form(ge=1, le=1000)] = settings.epochs,
        batch: Annotated[int, Form(ge=1, le=512)] = settings.batch,
        note: Annotated[str, Form(max_length=500, description="What changed, for people")] = "",
        data: Annotated[str, Form(description="Data set id; empty: the newest upload or data set")] = "",
        seed: Annotated[int, Form(ge=0, le=2**31 - 1)] = 0,
        confirm: Annotated[bool, Form(description="Import it with more than 10 % of its pairs lost")] = False,
        trainer: Annotated[
            str, Form(pattern="^[A-Za-z0-9_.-]{0,60}$", description="Who trains; empty: as TRAINER says")
        ] = "",
        size: Annotated[Literal["n", "s", "m"], Form(description="Of the network")] = "n",
        base: Annotated[
            str,
            Form(
                pattern="^(none|[0-9]{0,9})$",
                description="Version to start from; 0: the current one; none: from scratch",
            ),
        ] = "0",
        baseline: Annotated[
            bool, Form(description="Train on the post picture alone as well, and compare")
        ] = False,
        img_size: Annotated[
            int, Form(ge=32, le=4096, description="Largest side of the pictures in training, pixels")
        ] = settings.img_size,
    ) -> Response:
        """Trains a version and publishes it, as a job. Imports the newest upload first where needed."""
        trainers.check(trainer)
        base = base if base == "none" else str(int(base or 0))
        if base not in ("0", "none") and int(base) not in (await to_thread(deps.store.state)).versions:
            raise InvalidInput(f"There is no version {base}.", remedy="Choose another one.", field="base")
        dataset, upload = await to_thread(_training_data, deps, uploads, data.strip())
        spec = TrainJob(
            epochs=epochs,
            batch=batch,
            img_size=img_size,
            seed=seed,
            note=note.strip(),
            dataset=dataset,
            upload=upload,
            confirm=confirm,
            trainer=trainer,
            size="" if size == "n" else size,
            base="" if base == "0" else base,
            baseline=baseline,
        )
        job = await to_thread(deps.jobs.submit, spec)
        return json_response(
            Training(
                message=f"Training {epochs} epochs; follow it as job {job}.",
                config=TrainingConfig(
                    model=trainer or settings.trainer,
                    epochs=epochs,
                    img_size=img_size,
                    batch=batch,
                ),
                job=job,
            ),
            status=202,
        )

    @routes.get(
        "/job-status/{job}", tags=["Jobs"], responses=answers(JobStatus, "Its state") | responses(NotFound)
    )
    async def status(job: str) -> Response:
        """`train` and `preprocess` mean the newest of that kind; an id means that job."""
        record = await to_thread(deps.jobs.describe, job)
        return json_response(msgspec.convert(job_status(record), JobStatus))

    @routes.get(
        "/job-logs/{job}", tags=["Jobs"], responses=answers(JobLogs, "Log and summary") | responses(NotFound)
    )
    async def logs(job: str) -> Response:
        """The end of the log, and a summary of what came of the job."""
        record = await to_thread(deps.jobs.describe, job)
        found = job_logs(record, await to_thread(deps.jobs.logs, record.id, _LOG_LINES))
        return json_response(msgspec.convert(found, JobLogs))

    @routes.get(
        "/infer-status",
        tags=["State"],
        responses=answers_words("What the inference service's /model-status says", "application/json")
        | responses(Unavailable),
    )
    async def infer_status() -> Response:
        """The inference service's /model-status; 503 when it does not answer."""
        return await infer.status()

    return routes


def upload_of(uploads: Uploads, wanted: str) -> Upload:
    """The upload that `wanted` names, or the newest. Raises NotFound."""
    if wanted:
        return uploads.find(wanted)
    found = uploads.list()
    if not found:
        raise NotFound("Nothing was uploaded yet.", remedy="POST /upload-dataset first.")
    return found[-1]


def _training_data(deps: ControlDeps, uploads: Uploads, wanted: str) -> tuple[str, str]:
    """Data set id and archive to train on; one of them may be empty. Raises InvalidInput, NotFound."""
    folder = deps.settings.data_dir / "datasets"
    known = datasets(folder)
    if wanted:
        if any(each.id == wanted for each in known):
            return wanted, ""
        upload = uploads.find(wanted)
        return "", str(uploads.path(upload).absolute())
    newest = newest_data(
        uploads.list(),
        known,
        imported=imported(folder),
        golden={one.dataset for one in deps.store.golden_sets()},
        batched=of_batches(deps.jobs.list()),
    )
    if newest is None:
        raise InvalidInput(
            "There is nothing to train on.", remedy="Upload a data set first (POST /upload-dataset)."
        )
    if isinstance(newest, Upload):
        return "", str(uploads.path(newest).absolute())
    return newest.id, ""
