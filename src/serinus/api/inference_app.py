"""The inference service: /predict, /batch_predict, /model-status, health, metrics."""

import asyncio
import base64
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path as FilePath
from time import monotonic
from typing import Annotated

import msgspec
from fastapi import FastAPI, Path, Query, Request, Response
from fastapi.responses import FileResponse, HTMLResponse
from starlette.background import BackgroundTask
from starlette.datastructures import UploadFile

from serinus import __version__
from serinus.api import errors, guards, oip_documents, oip_routes
from serinus.api.access import HEALTH, Access, to_infer
from serinus.api.admission import body_bytes
from serinus.api.batch import Batch, draw, result_path
from serinus.api.departure import for_as_long_as_asked
from serinus.api.docs_page import docs_page
from serinus.api.findings import findings
from serinus.api.forms import Form, files_of, pictures_of, read_form, spool_form
from serinus.api.inference_documents import (
    BatchProgress,
    BatchReply,
    FeedbackPage,
    Health,
    ModelStatus,
    OverlayChoice,
    PredictReply,
    Readiness,
    TimingMs,
)
from serinus.api.model_status import model_status
from serinus.api.reading import read_json
from serinus.api.replica import Replica, stratum_of
from serinus.api.schema import answers, answers_words, describe, json_response, takes, takes_form
from serinus.api.tokens import Tokens
from serinus.core.enums import Stratum
from serinus.core.errors import Forbidden, InvalidInput, ModelFault, NotFound, SerinusError, Unavailable
from serinus.core.ids import Version
from serinus.imagery.decode import Data
from serinus.observe.logs import request_id
from serinus.observe.metrics import CONTENT_TYPE
from serinus.serving.assignment import Caller
from serinus.serving.feedback import GroundTruth, Taken, take
from serinus.serving.prediction import Prediction
from serinus.store import Routes

DOCUMENTS: list[type] = [
    BatchProgress,
    BatchReply,
    FeedbackPage,
    GroundTruth,
    Health,
    ModelStatus,
    PredictReply,
    Readiness,
    Taken,
    *oip_documents.DOCUMENTS,
]

_SPOOL_BYTES = 1 << 20
_ENVELOPE_BYTES = 64 * 1024
_GOLDEN_HEADER = "x-serinus-golden"
_BUILDINGS = "buildings"
_ERRORS_SHOWN = 20
_PAIR = ("pre_disaster", "post_disaster")
_GROUND_TRUTH_REMEDY = 'Send {"request_id": "...", "boxes": [{"xyxy": [0, 0, 9, 9], "cls": 0}]}.'
_FEEDBACK_BYTES = 4_000_000
_EXAMPLES = {
    "/predict": "curl -F pre_disaster=@pre.png -F post_disaster=@post.png localhost:9000/predict",
    "/batch_predict": "curl -F zipfile=@pairs.zip localhost:9000/batch_predict",
    "/feedback": """curl -d '{"request_id": "...", "boxes": []}' localhost:9000/feedback""",
    "/model-status": "curl localhost:9000/model-status",
}


def build_app(replica: Replica, tokens: Tokens | None = None, *, trust_loopback: bool = True) -> FastAPI:
    """The app. Its lifespan starts the replica's loop (which loads the versions), if it does not run yet, and
    ends the workers.

    `app.state.replica` holds the parts. `tokens`: of who may send ground truth from beyond this machine.
    """
    settings = replica.settings

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        replica.agent.start()
        replica.shadows.start()
        try:
            yield
        finally:
            await asyncio.to_thread(replica.close)

    app = FastAPI(
        title="Serinus inference",
        summary="Building damage from pairs of pictures, by the current version or its canary.",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.replica = replica
    _add_predictions(app, replica)
    _add_batches(app, replica)
    _add_status(app, replica)
    app.include_router(oip_routes.router(replica))
    describe(app, DOCUMENTS)
    app.add_api_route(
        "/docs",
        lambda: HTMLResponse(docs_page(app.openapi(), _EXAMPLES)),
        include_in_schema=False,
        response_class=HTMLResponse,
    )
    errors.install(app)
    guards.install(
        app,
        guards.GuardRules(
            allowed_hosts=settings.allowed_hosts,
            max_body_bytes=settings.max_body_bytes,
            body_limits={
                "/batch_predict": settings.max_upload_bytes + _ENVELOPE_BYTES,
                "/feedback": min(_FEEDBACK_BYTES, settings.max_body_bytes),
            },
            limit_settings={"/batch_predict": "MAX_UPLOAD_MB", "/feedback": ""},
            access=Access(needed=to_infer, tokens=tokens or Tokens(), trust_loopback=trust_loopback),
            health_paths=HEALTH | {oip_routes.LIVE, oip_routes.READY},
        ),
        replica.new_id,
    )
    return app


def _add_predictions(app: FastAPI, replica: Replica) -> None:
    settings = replica.settings

    @app.post(
        "/predict",
        summary="Find buildings and their damage in one pair",
        openapi_extra=takes_form(
            {
                "pre_disaster": "The picture before: PNG, JPEG, TIFF or WebP.",
                "post_disaster": "The picture after, of the same size.",
            }
        ),
        responses=answers(PredictReply, "What was found.")
        | errors.responses(NotFound, ModelFault, Unavailable),
    )
    async def predict(
        request: Request,
        overlay: Annotated[
            OverlayChoice | None, Query(description="Picture with boxes; png when not given.")
        ] = None,
        version: Annotated[
            int | None,
            Query(ge=1, description="This loaded version and no other; such a request is no evidence."),
        ] = None,
    ) -> Response:
        started = monotonic()
        stratum = stratum_of(request.headers)
        shows = request.headers.get(_GOLDEN_HEADER) == _BUILDINGS
        with replica.admission.place(body_bytes(request, settings.max_body_bytes)):
            form = await read_form(request)
            try:
                pre, post = pictures_of(form, _PAIR)
                choice = overlay or _choice(_text(form))
            except InvalidInput:
                replica.metrics.refused.labels("bad_input").inc()
                raise
            with for_as_long_as_asked(request.scope):
                prediction = await replica.predictor.predict(
                    pre,
                    post,
                    stratum=stratum,
                    golden=shows and stratum is Stratum.PROBES,
                    caller=Caller(request.headers, request.cookies),
                    keep_post=choice is not OverlayChoice.NONE,
                    shadowed=True,
                    version=None if version is None else Version(version),
                )
                drawing = monotonic()
                members = findings(prediction)
                if choice is not OverlayChoice.NONE:
                    picture = await replica.predictor.in_thread(_drawn, prediction, choice)
                    members[f"overlay_{choice.value}_base64"] = picture
            now = monotonic()
            if stratum is Stratum.USERS:
                replica.recorder.note(request_id(), prediction, pre, post)
            reply = json_response(
                PredictReply(
                    **members,
                    request_id=request_id(),
                    timing_ms=TimingMs(
                        decode=prediction.timing.decode,
                        model=prediction.timing.model,
                        overlay=round(1000 * (now - drawing), 2),
                        total=round(1000 * (now - started), 2),
                    ),
                )
            )
            reply.background = _shadow(replica, prediction, pre, post)
            return reply

    @app.post(
        "/feedback",
        summary="Tell what was really there, for an answer of /predict",
        openapi_extra=takes(GroundTruth),
        responses=answers(Taken, "Kept.") | errors.responses(NotFound, Unavailable),
    )
    async def feedback(request: Request) -> Response:
        """Counts in the version's precision, recall and mAP on real traffic; newer truth replaces older."""
        if not settings.take_feedback:
            raise Forbidden("Ground truth is not taken here.", remedy="See TAKE_FEEDBACK.")
        truth = read_json(await request.body(), GroundTruth, what="ground truth", remedy=_GROUND_TRUTH_REMEDY)

        def keep() -> Taken:
            replica.recorder.send()  # what was answered a moment ago can be judged, too
            return take(replica.store, truth, clock=replica.clock)

        return json_response(await asyncio.to_thread(keep))

    @app.get(
        "/feedback",
        summary="How versions do on what users sent and judged",
        responses=answers(FeedbackPage, "Versions that were judged, the newest first."),
    )
    def judged() -> Response:
        """Precision, recall and mAP50 of each version, with 95 % intervals."""
        from serinus.control.feedback import online  # the metrics' library is heavy, and rarely needed here

        return json_response(
            FeedbackPage(versions=[msgspec.to_builtins(row) for row in online(replica.store)])
        )


def _add_batches(app: FastAPI, replica: Replica) -> None:
    settings = replica.settings
    running: dict[str, BatchProgress] = {}
    """By the result's name: ids are the clients' own, and two of them may choose the same."""

    @app.post(
        "/batch_predict",
        summary="Find buildings in a zip of pairs; the results come as a zip",
        openapi_extra=takes_form({"zipfile": "A zip of <disaster>_<number>_{pre,post}_disaster.png."}),
        responses=answers(BatchReply, "Where the results are.") | errors.responses(Unavailable),
    )
    async def batch_predict(
        request: Request,
        overlay: Annotated[
            OverlayChoice | None, Query(description="Pictures with boxes; png when not given.")
        ] = None,
    ) -> Response:
        name = f"batch_{replica.new_id()}.zip"
        with replica.batches.place(_SPOOL_BYTES):
            form = await spool_form(request, memory_bytes=_SPOOL_BYTES)
            try:
                (archive,) = files_of(form, ["zipfile"])
                with tempfile.NamedTemporaryFile(prefix="serinus-batch-", suffix=".zip") as copy:
                    await asyncio.to_thread(shutil.copyfileobj, archive.file, copy)
                    copy.flush()
                    batch = Batch(
                        replica.predictor,
                        settings,
                        overlay or _choice(form.get("overlay")),
                        request_id=request_id(),
                        caller=Caller(request.headers, request.cookies),
                        told=partial(running.__setitem__, name),
                    )
                    with for_as_long_as_asked(request.scope):
                        results = await batch.run(FilePath(copy.name), name)
            finally:
                running.pop(name, None)
                await form.close()
        return json_response(
            BatchReply(
                status="success",
                num_pairs=results.num_pairs,
                download_url=f"/files/{name}",
                num_failed=len(results.errors),
                errors=results.errors[:_ERRORS_SHOWN],
                request_id=results.request_id,
            )
        )

    @app.get(
        "/batch-status/{batch}",
        summary="How far a batch is that runs here; of several with one id, the newest",
        responses=answers(BatchProgress, "How far it is.") | errors.responses(NotFound),
    )
    async def batch_status(
        batch: Annotated[str, Path(description="The X-Request-ID that the batch was sent with")],
    ) -> Response:
        at = next((one for one in reversed(running.values()) if one.request_id == batch), None)
        if at is None:
            raise NotFound("No such batch runs here.", remedy="It is over, or another replica works on it.")
        return json_response(at)

    @app.get(
        "/files/{name}",
        summary="The results of a batch",
        responses=answers_words("overlays/, results.json, errors.csv", "application/zip")
        | errors.responses(NotFound),
        response_class=FileResponse,
    )
    def files(name: str) -> FileResponse:
        return FileResponse(result_path(settings.outputs, name), media_type="application/zip", filename=name)


def _shadow(replica: Replica, prediction: Prediction, pre: Data, post: Data) -> BackgroundTask | None:
    """What the server does once the answer has been sent."""
    if prediction.shadow is None:
        return None
    name = request_id()

    async def offer() -> None:
        replica.shadows.offer(name, prediction, pre, post)

    return BackgroundTask(offer)


def _add_status(app: FastAPI, replica: Replica) -> None:
    settings = replica.settings
    hint = _Hint(replica)

    @app.get(
        "/model-status",
        summary="Which versions serve, and how far the canary is",
        responses=answers(ModelStatus, "The state of this replica."),
    )
    def status() -> Response:
        return json_response(
            model_status(
                replica.agent.state,
                replica.residency.snapshot,
                hint.read(),
                failed=replica.residency.failed,
                store_reachable=replica.agent.store_reachable,
                state_age_seconds=replica.agent.state_age_seconds,
                replica=replica.agent.name,
                device=settings.device,
                seats=replica.residency.seats(),
            )
        )

    @app.get("/healthz", summary="The process is alive", responses=answers(Health, "Alive."))
    async def healthz() -> Response:
        return json_response(Health(ok=True))

    @app.get(
        "/readyz",
        summary="A version is loaded, and the process is to stay",
        responses=answers(Readiness, "Ready.") | answers(Readiness, "Not ready.", status=503),
    )
    async def readyz() -> Response:
        ready, serving, agent = replica.is_ready, replica.serving, replica.agent
        found = Readiness(
            ready=ready,
            version=serving.version if ready and serving else None,
            store_reachable=agent.store_reachable,
            state_age_seconds=round(agent.state_age_seconds, 3),
        )
        return json_response(found, status=200 if ready else 503)

    @app.get(
        "/metrics",
        summary="Prometheus metrics",
        responses=answers_words("Text exposition.", "text/plain"),
    )
    def metrics() -> Response:
        replica.metrics.ready.set(replica.is_ready)
        return Response(replica.metrics.text(), media_type=CONTENT_TYPE)


def _text(form: Form) -> str | None:
    part = form.get("overlay")
    if part is None:
        return None
    return "" if part.is_file else bytes(part.content).decode("utf-8", "replace")


def _choice(given: UploadFile | str | None) -> OverlayChoice:
    """What the form's field says."""
    if given is None:
        return OverlayChoice.PNG
    try:
        return OverlayChoice("" if isinstance(given, UploadFile) else given)
    except ValueError as error:
        raise InvalidInput("overlay must be none, png or jpeg.") from error


def _drawn(prediction: Prediction, choice: OverlayChoice) -> str:
    return base64.b64encode(draw(prediction, choice)).decode("ascii")


class _Hint:
    """What the controller last wrote of the window's clock."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._last: Routes | None = None

    def read(self) -> Routes | None:
        """As it is now, or was before the store went away: whoever asks must not wait for that."""
        if self._replica.agent.store_reachable:
            with suppress(OSError, SerinusError):
                self._last = self._replica.store.routes()
        return self._last
