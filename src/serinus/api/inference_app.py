"""The inference service: /predict, /batch_predict, /model-status, health, metrics."""

import asyncio
import base64
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from time import monotonic
from typing import Annotated

import msgspec
from fastapi import FastAPI, Query, Request, Response
from fastapi.responses import FileResponse, HTMLResponse
from starlette.datastructures import UploadFile

from serinus import __version__
from serinus.api import errors, guards
from serinus.api.batch import Batch, draw, result_path
from serinus.api.docs_page import docs_page
from serinus.api.findings import findings
from serinus.api.forms import Form, files_of, pictures_of, read_form, spool_form
from serinus.api.inference_documents import (
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
from serinus.api.schema import answers, answers_words, describe, json_response, takes, takes_form
from serinus.core.enums import Stratum
from serinus.core.errors import InvalidInput, ModelFault, NotFound, SerinusError, Unavailable
from serinus.core.ids import Clock, Coin, NewId
from serinus.observe.counters import Counters
from serinus.observe.logs import request_id
from serinus.observe.metrics import CONTENT_TYPE, Metrics
from serinus.serving.agent import Agent
from serinus.serving.assignment import Caller
from serinus.serving.feedback import GroundTruth, Taken, take
from serinus.serving.predict import Prediction, Predictor
from serinus.serving.recorder import Recorder
from serinus.serving.residency import Residency
from serinus.serving.settings import InferenceSettings
from serinus.store import Routes, Store

DOCUMENTS: list[type] = [
    BatchReply,
    FeedbackPage,
    GroundTruth,
    Health,
    ModelStatus,
    PredictReply,
    Readiness,
    Taken,
]

_SPOOL_BYTES = 1 << 20
_ENVELOPE_BYTES = 64 * 1024
_STRATUM_HEADER = "x-serinus-stratum"
_PROBE = "probe"
_ERRORS_SHOWN = 20
_PAIR = ("pre_disaster", "post_disaster")
_EXAMPLES = {
    "/predict": "curl -F pre_disaster=@pre.png -F post_disaster=@post.png localhost:9000/predict",
    "/batch_predict": "curl -F zipfile=@pairs.zip localhost:9000/batch_predict",
    "/feedback": """curl -d '{"request_id": "...", "boxes": []}' localhost:9000/feedback""",
    "/model-status": "curl localhost:9000/model-status",
}


class Replica:
    """The parts of one inference process, wired; `bootstrap` and the routes share it."""

    def __init__(
        self, settings: InferenceSettings, store: Store, *, clock: Clock, new_id: NewId, coin: Coin
    ) -> None:
        self.settings = settings
        self.store = store
        self.new_id = new_id
        self.metrics = Metrics()
        self.counters = Counters(
            settings.slice_seconds, monotonic, deadline_seconds=settings.deadline_seconds
        )
        self.residency = Residency(store, settings, clock=clock)
        self.predictor = Predictor(self.residency, self.counters, self.metrics, settings, coin=coin)
        boot = new_id()[:12]
        self.recorder = Recorder(
            store,
            f"{settings.replica}-{boot}",
            most=settings.keep_predictions,
            pictures=settings.keep_pictures,
            clock=clock,
        )
        self.agent = Agent(
            store,
            self.residency,
            self.counters,
            self.metrics,
            settings,
            recorder=self.recorder,
            clock=clock,
            boot=boot,
        )
        self.clock = clock
        self._inside = 0

    @contextmanager
    def admission(self) -> Iterator[None]:
        """A place in the service, taken before the body is read. Raises Unavailable when there is none."""
        if self._inside >= self.settings.max_requests:
            self.metrics.refused.labels("busy").inc()
            raise Unavailable("The service is busy.", remedy="Try again soon.", retry_after=1.0)
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1

    def close(self) -> None:
        """Reports what was counted and ends the workers. Requests must be over."""
        self.agent.stop()
        self.predictor.close()
        self.residency.close()


def build_app(
    settings: InferenceSettings, store: Store, *, clock: Clock, new_id: NewId, coin: Coin
) -> FastAPI:
    """The app. Its lifespan starts the replica's loop (which loads the versions) and ends the workers.

    `app.state.replica` holds the parts.
    """
    replica = Replica(settings, store, clock=clock, new_id=new_id, coin=coin)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        replica.agent.start()
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
    _add_status(app, replica)
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
            body_limits={"/batch_predict": settings.max_upload_bytes + _ENVELOPE_BYTES},
            limit_settings={"/batch_predict": "MAX_UPLOAD_MB"},
        ),
        new_id,
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
        responses=answers(PredictReply, "What was found.") | errors.responses(ModelFault, Unavailable),
    )
    async def predict(
        request: Request,
        overlay: Annotated[
            OverlayChoice | None, Query(description="Picture with boxes; png when not given.")
        ] = None,
    ) -> Response:
        started = monotonic()
        stratum = Stratum.PROBES if request.headers.get(_STRATUM_HEADER) == _PROBE else Stratum.USERS
        with replica.admission():
            form = await read_form(request)
            try:
                pre, post = pictures_of(form, _PAIR)
                choice = overlay or _choice(_text(form))
            except InvalidInput:
                replica.metrics.refused.labels("bad_input").inc()
                raise
            prediction = await replica.predictor.predict(
                pre,
                post,
                stratum=stratum,
                caller=Caller(request.headers, request.cookies),
                keep_post=choice is not OverlayChoice.NONE,
            )
            drawing = monotonic()
            members = findings(prediction)
            if choice is not OverlayChoice.NONE:
                picture = await replica.predictor.in_thread(_drawn, prediction, choice)
                members[f"overlay_{choice.value}_base64"] = picture
            now = monotonic()
            if stratum is Stratum.USERS:
                replica.recorder.note(request_id(), prediction, pre, post)
            return json_response(
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

    @app.post(
        "/feedback",
        summary="Tell what was really there, for an answer of /predict",
        openapi_extra=takes(GroundTruth),
        responses=answers(Taken, "Kept.") | errors.responses(NotFound, Unavailable),
    )
    async def feedback(request: Request) -> Response:
        """Counts in the version's precision, recall and mAP on real traffic; newer truth replaces older."""
        truth = _ground_truth(await request.body())

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
        with replica.admission():
            form = await spool_form(request, memory_bytes=_SPOOL_BYTES)
            try:
                (archive,) = files_of(form, ["zipfile"])
                with tempfile.NamedTemporaryFile(prefix="serinus-batch-", suffix=".zip") as copy:
                    await asyncio.to_thread(shutil.copyfileobj, archive.file, copy)
                    copy.flush()
                    name = f"batch_{replica.new_id()}.zip"
                    batch = Batch(
                        replica.predictor,
                        settings,
                        overlay or _choice(form.get("overlay")),
                        request_id=request_id(),
                        caller=Caller(request.headers, request.cookies),
                    )
                    results = await batch.run(Path(copy.name), name)
            finally:
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
        "/files/{name}",
        summary="The results of a batch",
        responses=answers_words("overlays/, results.json, errors.csv", "application/zip")
        | errors.responses(NotFound),
        response_class=FileResponse,
    )
    def files(name: str) -> FileResponse:
        return FileResponse(result_path(settings.outputs, name), media_type="application/zip", filename=name)


def _add_status(app: FastAPI, replica: Replica) -> None:
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
                _routes(replica.store),
                failed=replica.residency.failed,
                store_reachable=replica.agent.store_reachable,
                replica=replica.agent.name,
            )
        )

    @app.get("/healthz", summary="The process is alive", responses=answers(Health, "Alive."))
    async def healthz() -> Response:
        return json_response(Health(ok=True))

    @app.get(
        "/readyz",
        summary="A version is loaded",
        responses=answers(Readiness, "Ready.") | answers(Readiness, "No version is loaded.", status=503),
    )
    async def readyz() -> Response:
        snapshot = replica.residency.snapshot
        serving = snapshot.current or (snapshot.canary if snapshot.share >= 1 else None)
        if serving is None:
            return json_response(Readiness(ready=False), status=503)
        return json_response(Readiness(ready=True, version=serving.version))

    @app.get(
        "/metrics",
        summary="Prometheus metrics",
        responses=answers_words("Text exposition.", "text/plain"),
    )
    def metrics() -> Response:
        return Response(replica.metrics.text(), media_type=CONTENT_TYPE)


def _ground_truth(body: bytes) -> GroundTruth:
    try:
        return msgspec.json.decode(body, type=GroundTruth)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(
            f"The ground truth cannot be read: {error}.",
            remedy='Send {"request_id": "...", "boxes": [{"xyxy": [0, 0, 9, 9], "cls": 0}]}.',
        ) from error


def _text(form: Form) -> str | None:
    part = form.get("overlay")
    return None if part is None or part.is_file else bytes(part.content).decode("utf-8", "replace")


def _choice(given: UploadFile | str | None) -> OverlayChoice:
    """What the form's field says."""
    try:
        return OverlayChoice("" if isinstance(given, UploadFile) else given or OverlayChoice.PNG)
    except ValueError as error:
        raise InvalidInput("overlay must be none, png or jpeg.") from error


def _drawn(prediction: Prediction, choice: OverlayChoice) -> str:
    return base64.b64encode(draw(prediction, choice)).decode("ascii")


def _routes(store: Store) -> Routes | None:
    try:
        return store.routes()
    except (OSError, SerinusError):
        return None  # a hint
