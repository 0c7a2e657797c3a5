"""Puts msgspec documents into OpenAPI, so that `/docs` is complete without a second set of models."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import msgspec
from fastapi import FastAPI, Response
from fastapi.responses import StreamingResponse

from serinus.api.errors import Problem

_REF = "#/components/schemas/{name}"
_LOGIN = b"event: login\ndata: {}\n\n"
"""The last message when the token that opened the stream was revoked, or has another role now."""


def json_response(value: object, *, status: int = 200) -> Response:
    """`value` as JSON; what the state is now is never cached."""
    return Response(
        msgspec.json.encode(value),
        status_code=status,
        media_type="application/json",
        headers={"Cache-Control": "no-store"},
    )


async def live_response(messages: AsyncGenerator[bytes, None], same: Callable[[], bool]) -> StreamingResponse:
    """`messages` as server-sent events. Raises what the first of them raises: a status can still be sent.

    `same`: whether who asked is still the same; is asked before each message, and a message `login` is the
    last when not.
    """
    first = await anext(messages)

    async def body() -> AsyncIterator[bytes]:
        async with aclosing(messages):
            yield first
            async for message in messages:
                if not same():
                    yield _LOGIN
                    return
                yield message

    return StreamingResponse(
        body(),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


def answers(kind: type, description: str, *, status: int = 200) -> dict[int | str, dict[str, Any]]:
    """For FastAPI's `responses=`: a `kind` is the answer."""
    return {status: {"description": description, "content": {"application/json": {"schema": _ref(kind)}}}}


def answers_words(description: str, media_type: str) -> dict[int | str, dict[str, Any]]:
    """For FastAPI's `responses=`: the answer is of `media_type`, which `description` explains."""
    schema = {"type": "object" if media_type.endswith("json") else "string"}
    return {200: {"description": description, "content": {media_type: {"schema": schema}}}}


def takes(kind: type) -> dict[str, Any]:
    """For FastAPI's `openapi_extra=`: the body is a JSON `kind`."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": _ref(kind)}}}}


def takes_form(fields: dict[str, str]) -> dict[str, Any]:
    """For FastAPI's `openapi_extra=`: the body is a form of files, `fields` maps name -> description."""
    properties = {
        name: {"type": "string", "format": "binary", "description": words} for name, words in fields.items()
    }
    schema = {"type": "object", "properties": properties, "required": list(fields)}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


def describe(app: FastAPI, kinds: list[type]) -> None:
    """Adds the schemas of `kinds` to the app's OpenAPI document, and takes out what it never answers."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema:
            return app.openapi_schema
        document = generate()
        _, components = msgspec.json.schema_components(kinds, ref_template=_REF)
        components["Problem"] = Problem.model_json_schema(mode="serialization")
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        for name, schema in components.items():
            schemas.setdefault(name, schema)
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)  # `api.errors` answers 400 with a Problem instead
        for operation in (each for path in document["paths"].values() for each in path.values()):
            operation["responses"].pop("422", None)
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _ref(kind: type) -> dict[str, str]:
    return {"$ref": _REF.format(name=kind.__name__)}
