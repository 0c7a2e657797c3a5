"""`/api/versions/{n}`: what the checks said of a version, and the small files of its artifact."""

from asyncio import to_thread
from pathlib import PurePosixPath
from typing import Annotated

import msgspec
from fastapi import APIRouter, Path, Response

from serinus.api.control_deps import ControlDeps
from serinus.api.errors import responses
from serinus.api.schema import answers, answers_words, json_response
from serinus.artifact.files import sha256_bytes
from serinus.control.golden import GoldenResult, results_of
from serinus.core.errors import Corrupt, NotFound
from serinus.core.ids import Digest, Version

_TYPES = {
    ".csv": "text/plain; charset=utf-8",
    ".jpg": "image/jpeg",
    ".json": "application/json",
    ".md": "text/plain; charset=utf-8",
    ".png": "image/png",
    ".txt": "text/plain; charset=utf-8",
    ".yaml": "text/plain; charset=utf-8",
}
"""What is shown; models are not handed out here."""


class Gates(msgspec.Struct, frozen=True, kw_only=True):
    """What golden sets said of a version at its last verification."""

    version: Version
    golden: tuple[GoldenResult, ...]
    """Empty where it had no verification, or there was no golden set."""


DOCUMENTS: list[type] = [Gates]
_Number = Annotated[int, Path(ge=1)]


def router(deps: ControlDeps) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/api/versions", tags=["State"])

    def digest_of(n: int) -> Digest:
        record = deps.store.state().versions.get(Version(n))
        if record is None:
            raise NotFound(f"There is no version {n}.", remedy="GET /api/versions lists them.")
        return record.digest

    @routes.get("/{n}/gates", responses=answers(Gates, "The gates") | responses(NotFound))
    async def gates(n: _Number) -> Response:
        """What each golden set said of it before its traffic, gate by gate."""

        def read() -> Gates:
            digest_of(n)
            return Gates(version=Version(n), golden=results_of(deps.store, Version(n)))

        return json_response(await to_thread(read))

    @routes.get(
        "/{n}/files/{name:path}",
        responses=answers_words("The file", "text/plain") | responses(NotFound),
        response_class=Response,
    )
    async def file(n: _Number, name: str) -> Response:
        """A table, picture or text that was published with the version (`manifest.files` names them)."""
        suffix = PurePosixPath(name).suffix

        def read() -> bytes:
            digest = digest_of(n)
            known = deps.store.manifest(digest).files.get(name) if suffix in _TYPES else None
            if known is None:
                raise NotFound(
                    f"Version {n} has no file {name!r} to look at.",
                    remedy=f"GET /api/versions/{n} names them.",
                )
            data = (deps.store.artifact(digest) / name).read_bytes()
            if sha256_bytes(data) != known.sha256:
                raise Corrupt(f"{name} of version {n} is not what was published: its hash does not match.")
            return data

        data = await to_thread(read)
        headers = {
            "Cache-Control": "private, max-age=3600",
            "X-Content-Type-Options": "nosniff",
            "Content-Security-Policy": "default-src 'none'",
        }
        return Response(data, media_type=_TYPES[suffix], headers=headers)

    return routes
