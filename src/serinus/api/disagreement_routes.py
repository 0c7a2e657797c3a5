"""`/api/rollouts/{n}/disagreements`: what both versions said of the same pictures, and the worst of it."""

from asyncio import to_thread
from typing import Annotated

import msgspec
from fastapi import APIRouter, Path, Request, Response

from serinus.api.control_deps import ControlDeps
from serinus.api.errors import responses
from serinus.api.schema import answers, answers_words, json_response, takes
from serinus.control.disagreements import (
    DisagreementDetail,
    DisagreementsPage,
    DisagreementView,
    disagreement,
    disagreements,
    mark,
    picture,
)
from serinus.control.labelling import QueueFormat, queue_archive
from serinus.core.errors import InvalidInput, NotFound
from serinus.observe.principal import acting
from serinus.store import GalleryFile, Right


class MarkCommand(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a person says of a disagreement."""

    dismissed: bool | None = None
    """Nothing to learn from it: it is left out of the labelling queue. false takes that back. Without it,
    what was said stays; without `right`, too, it is dismissed."""
    right: Right | msgspec.UnsetType | None = msgspec.UNSET
    """Which version is right about the picture; null: nobody says. Without it, what was said stays."""
    actor: str = ""
    reason: str = ""


DOCUMENTS: list[type] = [DisagreementsPage, DisagreementDetail, DisagreementView, MarkCommand]

_TYPES = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"RIFF": "image/webp"}
_Number = Annotated[int, Path(ge=1)]
_Id = Annotated[str, Path(alias="id")]


def router(deps: ControlDeps) -> APIRouter:
    """The routes under `/api/rollouts/{n}/disagreements`."""
    routes = APIRouter(prefix="/api/rollouts/{n}/disagreements", tags=["Disagreements"])

    @routes.get("", responses=answers(DisagreementsPage, "The worst first") | responses(NotFound))
    async def listing(n: _Number) -> Response:
        """What shadow pairs say, and the pictures that the versions disagree on most."""
        return json_response(await to_thread(disagreements, deps.store, n))

    @routes.get(
        "/export",
        responses=answers_words("A zip archive", "application/zip") | responses(NotFound, InvalidInput),
        response_class=Response,
    )
    async def export(n: _Number, format: QueueFormat = QueueFormat.COCO) -> Response:
        """The labelling queue: what is not dismissed, with both versions' boxes as suggestions."""
        data = await to_thread(queue_archive, deps.store, n, format)
        name = f"disagreements-{n}-{format}.zip"
        headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
        return Response(data, media_type="application/zip", headers=headers)

    @routes.get("/{id}", responses=answers(DisagreementDetail, "Both answers") | responses(NotFound))
    async def one(n: _Number, name: _Id) -> Response:
        """One picture with both answers and their confusion."""
        return json_response(await to_thread(disagreement, deps.store, n, name))

    @routes.get(
        "/{id}/{file}",
        responses=answers_words("The picture", "image/jpeg") | responses(NotFound),
        response_class=Response,
    )
    async def file(n: _Number, name: _Id, file: GalleryFile) -> Response:
        """An overlay (`current`, `canary`: JPEG), or a picture as it was sent (`pre`, `post`), where kept."""
        data = await to_thread(picture, deps.store, n, name, file)
        headers = {
            "Cache-Control": "private, max-age=3600",
            "X-Content-Type-Options": "nosniff",
            "Content-Security-Policy": "default-src 'none'",
        }
        return Response(data, media_type=_type_of(data), headers=headers)

    @routes.post(
        "/{id}/mark",
        openapi_extra=takes(MarkCommand),
        responses=answers(DisagreementView, "As it is now") | responses(NotFound),
    )
    async def say(n: _Number, name: _Id, request: Request) -> Response:
        """Says which version is right, dismisses a disagreement, or takes either back."""
        command = _command(await request.body())
        actor = acting(command.actor)

        bare = command.dismissed is None and command.right is msgspec.UNSET
        view = await to_thread(
            mark,
            deps.store,
            n,
            name,
            actor=actor,
            time=deps.clock(),
            reason=command.reason,
            dismissed=True if bare else command.dismissed,
            right=command.right,
        )
        return json_response(view)

    return routes


def _command(body: bytes) -> MarkCommand:
    try:
        return msgspec.json.decode(body or b"{}", type=MarkCommand)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"It cannot be read: {error}.", remedy='Send {"dismissed": true}.') from error


def _type_of(data: bytes) -> str:
    """By its first bytes: a picture that somebody sent is shown as a picture or not at all."""
    kinds = (kind for magic, kind in _TYPES.items() if data.startswith(magic))
    return next(kinds, "application/octet-stream")
