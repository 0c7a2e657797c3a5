"""The one table from errors to HTTP, and the problem document (RFC 9457) that every error is answered with.

The member `error` repeats `detail`: clients of the first system read it.
"""

import html
import logging
from collections.abc import Mapping
from typing import NamedTuple

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from serinus.core.errors import (
    Cancelled,
    Conflict,
    Corrupt,
    Forbidden,
    InvalidInput,
    Misconfigured,
    ModelFault,
    NotFound,
    SerinusError,
    TooLarge,
    Unavailable,
    Unwritable,
    VolumeFull,
)
from serinus.observe.logs import cause_of, fields, request_id

log = logging.getLogger(__name__)


class Kind(NamedTuple):
    """How one type of error is answered. `slug` ends the `type` of the document, a page under /errors/."""

    status: int
    slug: str
    title: str
    help: str


TABLE: dict[type[SerinusError], Kind] = {
    InvalidInput: Kind(
        400,
        "invalid-input",
        "The request is not valid",
        "Something in the request is not what the endpoint takes; `detail` says what. Nothing was changed.",
    ),
    TooLarge: Kind(
        413,
        "too-large",
        "Too large",
        "A limit protects the service; `remedy` names the setting that an operator can raise.",
    ),
    Forbidden: Kind(
        403,
        "forbidden",
        "Not allowed from here",
        "Changes are taken from the program's own pages and from tools, not from foreign web sites, only for "
        "host names listed in ALLOWED_HOSTS, and not with the token of a viewer.",
    ),
    NotFound: Kind(
        404, "not-found", "No such thing", "The version, data set, job, file or page does not exist."
    ),
    Conflict: Kind(
        409,
        "conflict",
        "Not in this state",
        "The state has moved on or does not allow this. Read the state again, then decide.",
    ),
    Cancelled: Kind(409, "cancelled", "Cancelled", "Somebody cancelled the job; nothing half-done was kept."),
    ModelFault: Kind(
        502,
        "model-fault",
        "The model failed",
        "The version that serves raised, crashed, timed out or answered nonsense on this input. The "
        "failure is counted against it.",
    ),
    Unavailable: Kind(
        503,
        "unavailable",
        "Not now",
        "The service is busy or still loading. Try again after `Retry-After` seconds.",
    ),
    Corrupt: Kind(
        500,
        "corrupt",
        "A stored file is damaged",
        "A file is not what its hash says. It is named and not used.",
    ),
    VolumeFull: Kind(
        507, "volume-full", "No space is left", "Nothing half is kept; what is there can still be read."
    ),
    Unwritable: Kind(
        500,
        "unwritable",
        "A volume cannot be written",
        "What is there can still be read; `remedy` says more.",
    ),
    Misconfigured: Kind(
        500, "misconfigured", "The installation is wrong", "An operator must act; `remedy` says what to do."
    ),
    SerinusError: Kind(500, "internal", "Internal error", "This should not happen; the log has the cause."),
}

UNAUTHENTICATED = Kind(
    401,
    "unauthenticated",
    "A token is needed",
    "From another machine this needs a token of the right role: `Authorization: Bearer TOKEN`, or log in at "
    "/login. `serinus token create` makes one.",
)

TOO_SLOW = Kind(
    408,
    "too-slow",
    "The request did not arrive in time",
    "A connection that sends nothing, or next to nothing, is closed. Send the request again, in one go.",
)

_INTERNAL = TABLE[SerinusError]
_BY_STATUS = {kind.status: kind for kind in reversed(TABLE.values())}


class Problem(BaseModel):
    """What every error is answered with (`application/problem+json`)."""

    type: str = Field(examples=["/errors/invalid-input"], description="Opens a page that helps.")
    title: str = Field(examples=["The request is not valid"])
    status: int = Field(examples=[400])
    detail: str = Field(examples=["pre_disaster is not a picture."], description="What happened.")
    remedy: str = Field(
        examples=["Send PNG, JPEG, TIFF or WebP."], description="What to do next; may be empty."
    )
    request_id: str = Field(examples=["5f0c1e"], description="The same as in the log.")
    error: str = Field(examples=["pre_disaster is not a picture."], description="The same as `detail`.")
    fields: dict[str, str] = Field(
        default={},
        examples=[{"epochs": "Input should be greater than or equal to 1"}],
        description="Field of the request -> what is wrong with it.",
    )


def kind_of(error: SerinusError) -> Kind:
    """The table's row for the error's type or its nearest base."""
    return next(kind for base in type(error).__mro__ for type_, kind in TABLE.items() if base is type_)


def problem(
    kind: Kind,
    detail: str,
    *,
    remedy: str = "",
    status: int | None = None,
    headers: Mapping[str, str] | None = None,
    fields: Mapping[str, str] | None = None,
) -> JSONResponse:
    """The response for `kind`, with the id of the request being served."""
    body = Problem(
        type=f"/errors/{kind.slug}",
        title=kind.title,
        status=kind.status if status is None else status,
        detail=detail,
        remedy=remedy,
        request_id=request_id(),
        error=detail,
        fields=dict(fields or {}),
    )
    return JSONResponse(
        body.model_dump(),
        status_code=body.status,
        headers=dict(headers or {}),
        media_type="application/problem+json",
    )


def problem_of(error: SerinusError, *, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The response for an expected error. What is not the caller's fault is logged with its cause."""
    kind = kind_of(error)
    headers = dict(headers or {})
    if isinstance(error, Unavailable):
        headers["Retry-After"] = str(max(1, round(error.retry_after)))
    if kind.status >= 500:
        log.warning(error.message, extra=fields(status=kind.status, cause=cause_of(error)))
    named = error.field if isinstance(error, InvalidInput) else ""
    at = {named: str(error)} if named else {}
    return problem(kind, error.message, remedy=error.remedy, headers=headers, fields=at)


def internal() -> JSONResponse:
    """The response for a bug. The cause is in the log, not in the answer."""
    return problem(
        _INTERNAL, "Something went wrong in the server.", remedy="The log has the cause under request_id."
    )


def responses(*types: type[SerinusError]) -> dict[int | str, dict[str, object]]:
    """For FastAPI's `responses=`: the documents that an endpoint may answer with.

    As a reference (`schema.describe` adds what it refers to): FastAPI would build a validator for each model.
    """
    everywhere: list[type[SerinusError]] = [InvalidInput, TooLarge, Forbidden]
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        TABLE[each].status: {"description": TABLE[each].title, "content": content}
        for each in [*everywhere, *types]
    }


def install(app: FastAPI) -> None:
    """Answers errors by the table, and serves the pages that their `type` opens.

    The handlers run in the loop: also for want of descriptors or threads an error gets its words.
    """

    async def expected(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, SerinusError)
        return problem_of(error)

    async def http(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        default = TABLE[InvalidInput] if error.status_code < 500 else _INTERNAL
        kind = _BY_STATUS.get(error.status_code, default)
        return problem(kind, str(error.detail), status=error.status_code, headers=error.headers)

    async def invalid(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        found = {
            ".".join(str(part) for part in each["loc"][1:]): str(each["msg"]) for each in error.errors()[:8]
        }
        words = "; ".join(f"{name}: {what}" for name, what in found.items())
        return problem(TABLE[InvalidInput], words or "The request is not valid.", fields=found)

    app.add_exception_handler(SerinusError, expected)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_api_route("/errors/{slug}", _page, include_in_schema=False, response_class=HTMLResponse)


def _page(slug: str) -> HTMLResponse:
    found = next((kind for kind in (*TABLE.values(), UNAUTHENTICATED, TOO_SLOW) if kind.slug == slug), None)
    if found is None:
        raise NotFound("There is no such kind of error.")
    title, words = html.escape(found.title), html.escape(found.help)
    return HTMLResponse(
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title>"
        f"<body style='font-family:system-ui;max-width:40em;margin:3em auto'><h1>{title}</h1>"
        f"<p>HTTP status {found.status}</p><p>{words}</p></body></html>"
    )
