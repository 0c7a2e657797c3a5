"""`/api/uploads`: resumable uploads by the tus protocol 1.0 (https://tus.io/protocols/resumable-upload).

Core, and the extensions creation, creation-with-upload, checksum, termination and expiration. Any tus client
can send: it begins with POST, adds with PATCH, and after a cut asks with HEAD where to go on.
"""

import base64
import binascii
from asyncio import to_thread
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from pathlib import Path

from fastapi import APIRouter, Request, Response

from serinus.api.control_deps import ControlDeps
from serinus.api.data_documents import UnfinishedUpload
from serinus.api.documents import UploadView
from serinus.api.errors import Kind, kind_of, problem, problem_of, responses
from serinus.api.job_documents import UploadsPage
from serinus.api.resumable import ALGORITHMS, Checksum, Resumables, Standing, WrongChecksum
from serinus.api.schema import answers, json_response
from serinus.api.uploads import Upload, Uploads
from serinus.core.errors import Conflict, InvalidInput, NotFound, SerinusError, Unavailable, VolumeFull
from serinus.data.browsing import by_archive
from serinus.jobs.local import LocalJobs

DOCUMENTS: list[type] = [UploadsPage]

VERSION = "1.0.0"
PATH = "/api/uploads"
_EXTENSIONS = "creation,creation-with-upload,checksum,termination,expiration"
_PIECE = "application/offset+octet-stream"
_HEADERS = {"Tus-Resumable": VERSION, "Cache-Control": "no-store"}
_OTHER_VERSION = Kind(412, "invalid-input", "Another version of tus", "")
_OTHER_TYPE = Kind(415, "invalid-input", "Another type of body", "")
_MISMATCH = Kind(460, "invalid-input", "Checksum mismatch", "")
_NO_BODY = {"description": "Done"}

_PATTERNS = {
    "Tus-Resumable": r"^1\.0\.0$",
    "Upload-Length": "^[0-9]{1,15}$",
    "Upload-Offset": "^[0-9]{1,15}$",
    "Upload-Metadata": "^filename [A-Za-z0-9+/]*={0,2}$",
    "Upload-Checksum": "^(sha1|sha256|md5) [A-Za-z0-9+/]+={0,2}$",
    "X-HTTP-Method-Override": "^(PATCH|DELETE)$",
}
_TAKES = {
    "POST": ("Tus-Resumable", "Upload-Length", "Upload-Metadata", "Upload-Checksum"),
    "HEAD": ("Tus-Resumable",),
    "PATCH": ("Tus-Resumable", "Upload-Offset", "Upload-Checksum"),
    "DELETE": ("Tus-Resumable",),
}
"""Method -> headers."""
_INSTEAD = ("Tus-Resumable", "Upload-Offset", "X-HTTP-Method-Override")

_Endpoint = Callable[[Request], Awaitable[Response]]


def router(resumables: Resumables, uploads: Uploads, deps: ControlDeps) -> APIRouter:
    """The routes under `/api/uploads`."""
    routes = APIRouter(prefix=PATH, tags=["Data and training"])

    @routes.get("", responses=answers(UploadsPage, "All uploads, newest first"))
    async def all_uploads() -> Response:
        """The archives that are there, and the uploads that wait for their rest."""
        return json_response(await to_thread(_page, resumables, uploads, deps.settings.data_dir))

    @routes.options("", status_code=204, responses={204: _NO_BODY})
    async def options() -> Response:
        """What this server can of tus, and how large an upload may be."""
        return Response(
            status_code=204,
            headers=_HEADERS
            | {
                "Tus-Version": VERSION,
                "Tus-Extension": _EXTENSIONS,
                "Tus-Max-Size": str(resumables.limit_bytes),
                "Tus-Checksum-Algorithm": ",".join(ALGORITHMS),
            },
        )

    async def begin(request: Request) -> Response:
        if "upload-defer-length" in request.headers:
            raise InvalidInput("The length must be known.", remedy="Send Upload-Length.")
        length = _number(request, "upload-length")
        with_piece = request.headers.get("content-type") == _PIECE
        checksum = _checksum(request) if with_piece else None
        standing = await resumables.begin(length, _file_name(request))
        if with_piece:
            standing = await resumables.append(standing.id, 0, request.stream(), checksum)
        return _answer(standing, 201, {"Location": f"{PATH}/{standing.id}"})

    async def look(request: Request) -> Response:
        standing = await resumables.standing(request.path_params["upload"])
        return _answer(standing, 200, {"Upload-Length": str(standing.length)})

    async def add(request: Request) -> Response:
        if request.headers.get("content-type") != _PIECE:
            return problem(_OTHER_TYPE, f"A piece is sent as {_PIECE}.", headers=_HEADERS)
        offset = _number(request, "upload-offset")
        standing = await resumables.append(
            request.path_params["upload"], offset, request.stream(), _checksum(request)
        )
        return _answer(standing, 204, {})

    async def end(request: Request) -> Response:
        wanted = request.path_params["upload"]
        whole = next((one for one in await to_thread(uploads.list) if one.id == wanted), None)
        if whole is None:
            await resumables.end(wanted)
        else:
            await to_thread(_remove, uploads, whole, deps.jobs)
        return Response(status_code=204, headers=_HEADERS)

    overridden = {"PATCH": add, "DELETE": end, "HEAD": look}

    async def instead(request: Request) -> Response:
        wanted = request.headers.get("x-http-method-override", "").upper()
        if wanted not in overridden:
            raise InvalidInput("POST to an upload needs X-HTTP-Method-Override: PATCH or DELETE.")
        return await overridden[wanted](request)

    def route(method: str, path: str, endpoint: _Endpoint, words: str, status: int, *more: type) -> None:
        found = responses(NotFound, Conflict, *more) if path else responses(*more)

        async def handle(request: Request) -> Response:
            return await _obeying(request, endpoint)

        async def handle_one(request: Request, upload: str) -> Response:  # noqa: ARG001 - for the document
            return await _obeying(request, endpoint)

        routes.add_api_route(
            path,
            handle_one if path else handle,
            methods=[method],
            name=f"{method.lower()} {path}",
            summary=words,
            openapi_extra=_takes(*(_INSTEAD if path and method == "POST" else _TAKES[method])),
            status_code=status,
            response_class=Response,  # no body, so none is documented
            responses={status: _NO_BODY} | found | _problems(_OTHER_VERSION, _OTHER_TYPE, _MISMATCH),
        )

    route("POST", "", begin, "Begins a resumable upload (tus)", 201, Unavailable, VolumeFull)
    route("HEAD", "/{upload}", look, "How many bytes of an upload have arrived (tus)", 200)
    route(
        "PATCH",
        "/{upload}",
        add,
        "Adds a piece (application/offset+octet-stream); the last one makes the upload whole (tus)",
        204,
    )
    route("DELETE", "/{upload}", end, "Takes an upload away, whole or not (tus)", 204)
    route("POST", "/{upload}", instead, "PATCH or DELETE, for clients that can only POST (tus)", 204)
    return routes


def _page(resumables: Resumables, uploads: Uploads, data_dir: Path) -> UploadsPage:
    made = by_archive(data_dir / "datasets")
    whole = (
        UploadView(id=one.id, name=one.name, size=one.size, time=one.time, dataset=made.get(one.sha256, ""))
        for one in reversed(uploads.list())
    )
    rest = (
        UnfinishedUpload(
            id=one.id,
            name=one.announced.name,
            offset=one.offset,
            length=one.announced.length,
            expires=one.expires,
        )
        for one in resumables.unfinished()
    )
    return UploadsPage(uploads=tuple(whole), unfinished=tuple(rest))


def _remove(uploads: Uploads, upload: Upload, jobs: LocalJobs) -> None:
    """Raises Conflict while a job needs it."""
    path = str(uploads.path(upload).absolute())
    for job in jobs.list():
        if job.active and path in (getattr(job.spec, name, "") for name in ("upload", "archive")):
            raise Conflict(
                f"{upload.name or upload.id} is needed by {job.id}.", remedy="Wait for its end, or cancel it."
            )
    uploads.remove(upload)


async def _obeying(request: Request, endpoint: _Endpoint) -> Response:
    """What tus asks of every request and of every answer."""
    if request.headers.get("tus-resumable") != VERSION:
        words = f"This server speaks tus {VERSION}."
        remedy = f"Send Tus-Resumable: {VERSION}."
        return problem(_OTHER_VERSION, words, remedy=remedy, headers=_HEADERS | {"Tus-Version": VERSION})
    try:
        return await endpoint(request)
    except WrongChecksum as error:
        return problem(_MISMATCH, error.message, remedy=error.remedy, headers=_HEADERS)
    except SerinusError as error:
        if kind_of(error).status >= 500:
            raise
        return problem_of(error, headers=_HEADERS)


def _takes(*headers: str) -> dict[str, object]:
    """For the OpenAPI document."""
    parameters = [
        {"name": name, "in": "header", "schema": {"type": "string", "pattern": _PATTERNS[name]}}
        | ({"required": True} if name == "Tus-Resumable" else {})
        for name in headers
    ]
    return {"parameters": parameters}


def _problems(*kinds: Kind) -> dict[int | str, dict[str, object]]:
    sample = next(iter(responses().values()))
    return {kind.status: sample | {"description": kind.title} for kind in kinds}


def _answer(standing: Standing, status: int, headers: dict[str, str]) -> Response:
    return Response(
        status_code=status,
        headers=_HEADERS
        | {
            "Upload-Offset": str(standing.offset),
            "Upload-Expires": formatdate(standing.expires, usegmt=True),
        }
        | headers,
    )


def _number(request: Request, header: str) -> int:
    """Raises InvalidInput."""
    given = request.headers.get(header, "")
    if not (given.isascii() and given.isdecimal() and len(given) < 20):
        raise InvalidInput(f"{header.title()} must be a number of bytes.", remedy=f"Send {header.title()}.")
    return int(given)


def _file_name(request: Request) -> str:
    """The file's name in `Upload-Metadata`: pairs of a key and a value in base64, separated by commas."""
    for pair in request.headers.get("upload-metadata", "").split(","):
        key, _, value = pair.strip().partition(" ")
        if key in ("filename", "name"):
            return _decoded(value, "Upload-Metadata").decode("utf-8", "replace")
    return ""


def _checksum(request: Request) -> Checksum | None:
    """Raises InvalidInput for an algorithm that is not known."""
    given = request.headers.get("upload-checksum")
    if given is None:
        return None
    algorithm, _, value = given.partition(" ")
    if algorithm not in ALGORITHMS:
        raise InvalidInput(
            f"The checksum {algorithm[:20]!r} is not known here.", remedy=f"Use {', '.join(ALGORITHMS)}."
        )
    return Checksum(algorithm=algorithm, digest=_decoded(value, "Upload-Checksum"))


def _decoded(value: str, header: str) -> bytes:
    try:
        return base64.b64decode(value.strip(), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidInput(f"{header} is not in base64.") from error
