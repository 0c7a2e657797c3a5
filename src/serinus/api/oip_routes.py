"""The Open Inference Protocol v2 (KServe, Triton) beside `/predict`: raw tensors in, detections out.

A request without a version is routed, counted and answered as one of `/predict`. One with a version is
answered by that version or not at all, and is no evidence. The tensor is a stacked pair of any size; boxes
come back in its pixels, and only those that the version's threshold shows.
"""

import re
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Path, Request, Response

from serinus import __version__
from serinus.api.admission import body_bytes
from serinus.api.departure import for_as_long_as_asked
from serinus.api.errors import responses
from serinus.api.forms import read_body
from serinus.api.oip_documents import (
    InferReply,
    ModelMetadata,
    ModelReady,
    ServerLive,
    ServerMetadata,
    ServerReady,
    TensorMetadata,
)
from serinus.api.replica import Replica, stratum_of
from serinus.api.schema import answers, json_response
from serinus.api.tensors import (
    INPUT_TYPE,
    LENGTH_HEADER,
    OUTPUT_TYPE,
    Ask,
    read_ask,
    tensor_out,
    write_reply,
)
from serinus.artifact.manifest import Contract
from serinus.core.enums import Arm, Stratum
from serinus.core.errors import InvalidInput, ModelFault, NotFound, Unavailable
from serinus.core.ids import Version
from serinus.engine.output import COLUMNS
from serinus.observe.logs import request_id
from serinus.serving.assignment import Caller
from serinus.serving.prediction import Prediction

LIVE, READY = "/v2/health/live", "/v2/health/ready"
_PLATFORM = "onnxruntime_onnx"
_Model = Annotated[str, Path(description="Setting MODEL_NAME.", examples=["xview"])]
_Number = Annotated[str, Path(description="Number of a version.", examples=["1"])]
_VERSION = re.compile(r"[1-9][0-9]{0,8}")


def router(replica: Replica) -> APIRouter:
    """The routes under `/v2`."""
    routes = APIRouter(tags=["Open Inference Protocol"])
    _add_server(routes, replica)
    _add_model(routes, replica)
    _add_infer(routes, replica)
    return routes


def _add_server(routes: APIRouter, replica: Replica) -> None:
    @routes.get("/v2", summary="What this server is", responses=answers(ServerMetadata, "The server."))
    async def server() -> Response:
        return json_response(
            ServerMetadata(name="serinus", version=__version__, extensions=("binary_tensor_data",))
        )

    @routes.get(LIVE, summary="The process is alive", responses=answers(ServerLive, "Alive."))
    async def live() -> Response:
        return json_response(ServerLive(live=True))

    @routes.get(
        READY,
        summary="A version is loaded, and the process is to stay",
        responses=answers(ServerReady, "Ready.") | answers(ServerReady, "Not ready.", status=503),
    )
    async def ready() -> Response:
        told = replica.is_ready
        return json_response(ServerReady(ready=told), status=200 if told else 503)


def _add_model(routes: APIRouter, replica: Replica) -> None:
    metadata = answers(ModelMetadata, "Tensors.") | responses(NotFound, Unavailable)
    readiness = (
        responses(NotFound)
        | answers(ModelReady, "Ready.")
        | answers(ModelReady, "No version is loaded, or the process is about to end.", status=503)
    )

    def described(model: str, version: str | None) -> Response:
        contract = _contract(replica, _named(replica, model, version))
        given = TensorMetadata(
            name=contract.input_name, datatype=INPUT_TYPE, shape=(1, -1, -1, len(contract.channels))
        )
        found = TensorMetadata(name=contract.output_name, datatype=OUTPUT_TYPE, shape=(1, -1, COLUMNS))
        return json_response(
            ModelMetadata(
                name=model,
                versions=tuple(str(seat.target.version) for seat in replica.residency.seats()),
                platform=_PLATFORM,
                inputs=(given,),
                outputs=(found,),
            )
        )

    def told(model: str, version: str | None) -> Response:
        number = _named(replica, model, version)
        if number is not None:
            _contract(replica, number)
        ready = replica.is_ready
        return json_response(ModelReady(name=model, ready=ready), status=200 if ready else 503)

    @routes.get("/v2/models/{model}", summary="What the model takes and gives", responses=metadata)
    async def model_metadata(model: _Model) -> Response:
        return described(model, None)

    @routes.get(
        "/v2/models/{model}/versions/{version}",
        summary="What one version takes and gives",
        responses=metadata,
    )
    async def version_metadata(model: _Model, version: _Number) -> Response:
        return described(model, version)

    @routes.get("/v2/models/{model}/ready", summary="The model can be asked", responses=readiness)
    async def model_ready(model: _Model) -> Response:
        return told(model, None)

    @routes.get(
        "/v2/models/{model}/versions/{version}/ready",
        summary="One version can be asked",
        responses=readiness,
    )
    async def version_ready(model: _Model, version: _Number) -> Response:
        return told(model, version)


def _add_infer(routes: APIRouter, replica: Replica) -> None:
    replies = answers(InferReply, "Detections [1, K, 6], the most confident first.") | responses(
        NotFound, ModelFault, Unavailable
    )
    replies[200]["content"]["application/octet-stream"] = {"schema": {"type": "string", "format": "binary"}}

    @routes.post(
        "/v2/models/{model}/infer",
        summary="Find buildings and their damage in a stacked pair",
        openapi_extra=_takes(),
        responses=replies,
    )
    async def infer(request: Request, model: _Model) -> Response:
        return await _infer(replica, request, _named(replica, model, None))

    @routes.post(
        "/v2/models/{model}/versions/{version}/infer",
        summary="Ask one version; no evidence for a rollout",
        openapi_extra=_takes(),
        responses=replies,
    )
    async def infer_by(request: Request, model: _Model, version: _Number) -> Response:
        return await _infer(replica, request, _named(replica, model, version))


async def _infer(replica: Replica, request: Request, version: Version | None) -> Response:
    settings = replica.settings
    stratum = stratum_of(request.headers)
    with replica.admission.place(body_bytes(request, settings.max_body_bytes)):
        body = await read_body(request)
        contract = _contract(replica, version)

        def read() -> Ask:
            if request.headers.get("content-encoding", "identity") != "identity":
                raise InvalidInput("The body is compressed.", remedy="Send it as it is.")
            length = request.headers.get(LENGTH_HEADER)
            return read_ask(body, length, contract, max_pixels=settings.max_image_pixels)

        with for_as_long_as_asked(request.scope):
            try:
                ask = await replica.predictor.in_turn(read)
            except InvalidInput:
                replica.metrics.refused.labels("bad_input").inc()
                raise
            except Unavailable:
                replica.metrics.refused.labels("busy").inc()
                raise
            prediction = await replica.predictor.infer(
                ask.pair, version=version, stratum=stratum, caller=Caller(request.headers, request.cookies)
            )
        if stratum is Stratum.USERS:
            replica.recorder.note(request_id(), prediction)
        return _reply(settings.model_name, ask, prediction, contract)


def _reply(model: str, ask: Ask, prediction: Prediction, contract: Contract) -> Response:
    rows = prediction.detections
    rows = rows[np.argsort(-rows[:, 4], kind="stable")]
    tensor, binary = tensor_out(contract.output_name, rows, binary=ask.binary)
    told: dict[str, Any] = {
        "request_id": request_id(),
        "model_used": prediction.role.value,
        "assigned": prediction.assigned.value,
        "override": prediction.override,
        "fallback": prediction.fallback,
    }
    body, headers = write_reply(
        InferReply(
            model_name=model,
            model_version=str(prediction.target.version),
            id=ask.request.id or request_id(),
            parameters=told,
            outputs=(tensor,),
        ),
        binary,
    )
    return Response(body, headers=headers | {"Cache-Control": "no-store"})


def _named(replica: Replica, model: str, version: str | None) -> Version | None:
    """The version that a path names, if any. Raises NotFound for another model, or no number."""
    served = replica.settings.model_name
    if model != served:
        raise NotFound(f"There is no model {model[:64]!r}.", remedy=f"The model is {served!r}.")
    if version is None:
        return None
    if _VERSION.fullmatch(version) is None:
        raise NotFound(f"{version[:64]!r} is no version.", remedy="Versions are numbers from 1.")
    return Version(int(version))


def _contract(replica: Replica, version: Version | None) -> Contract:
    """Names and types of a version; without one those of current, whoever answers.

    Raises NotFound when the version is not loaded, Unavailable when none is.
    """
    if version is None:
        with replica.residency.lease() as lease:
            seat = lease.seats.get(Arm.CURRENT) or lease.seats.get(Arm.CANARY)
        if seat is None:
            raise Unavailable("No version is loaded yet.", remedy="Ask /readyz; try again soon.")
        return seat.contract
    with replica.residency.lease(version) as lease:
        return next(iter(lease.seats.values())).contract


def _takes() -> dict[str, Any]:
    numbers = {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 255}}
    tensor = {
        "type": "object",
        "required": ["name", "shape", "datatype"],
        "properties": {
            "name": {"type": "string", "examples": ["images"]},
            "shape": {
                "type": "array",
                "items": {"type": "integer", "minimum": 1},
                "examples": [[1, 64, 64, 6]],
            },
            "datatype": {"type": "string", "enum": [INPUT_TYPE]},
            "parameters": {"type": "object"},
            "data": numbers | {"description": "In row-major order, flat or nested like the shape."},
        },
    }
    wanted = {
        "type": "object",
        "required": ["name"],
        "properties": {"name": {"type": "string"}, "parameters": {"type": "object"}},
    }
    schema = {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string"},
            "inputs": {"type": "array", "items": tensor, "minItems": 1, "maxItems": 1},
            "outputs": {"type": "array", "items": wanted, "maxItems": 1},
            "parameters": {"type": "object"},
        },
    }
    binary = {
        "type": "string",
        "format": "binary",
        "description": f"The JSON, its length in {LENGTH_HEADER}, then the tensor's bytes.",
    }
    example = {"name": "images", "shape": [1, 1, 2, 6], "datatype": INPUT_TYPE, "data": [0] * 12}
    content = {
        "application/json": {"schema": schema, "example": {"inputs": [example]}},
        "application/octet-stream": {"schema": binary},
    }
    return {"requestBody": {"required": True, "content": content}}
