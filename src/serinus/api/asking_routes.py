"""`/api/asking`: who can be asked, what may be sent, and pairs to try it with."""

from functools import cache
from importlib.resources import files
from typing import Annotated, Literal

import msgspec
from fastapi import APIRouter, Path
from fastapi.responses import Response

from serinus.api.board import Board
from serinus.api.control_deps import ControlSettings
from serinus.api.documents import StateView
from serinus.api.errors import responses
from serinus.api.schema import answers, answers_words, json_response
from serinus.core.enums import Arm
from serinus.core.errors import NotFound, Unavailable
from serinus.core.ids import Version

_FOLDER = files("serinus.api") / "examples"
_A_YEAR = {"Cache-Control": "public, max-age=31536000, immutable"}


class Askable(msgspec.Struct, frozen=True, kw_only=True):
    """A version that can be asked."""

    version: Version
    role: Arm | None = None
    """None: it stands by for an undo."""
    loaded_on: int
    """Processes that have it loaded."""


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """A pair to try it with."""

    name: str
    words: str
    pre: str
    """Path of the picture before; `post`: of the one after."""
    post: str


class Asking(msgspec.Struct, frozen=True, kw_only=True):
    """Who can be asked, and what may be sent."""

    versions: tuple[Askable, ...]
    """The newest first; empty: nobody can answer now."""
    processes: int
    """Inference processes that were heard of lately."""
    beside: tuple[Version, ...] = ()
    """The two that are compared when both are asked: current and its canary, else current and the version
    before; empty where there are no two."""
    max_bytes: int
    """Longest form with a pair, in bytes."""
    max_archive_bytes: int
    """Longest archive of a batch, in bytes."""
    examples: tuple[Example, ...]


DOCUMENTS: list[type] = [Asking]
_EXAMPLES = {
    "hurricane": "A town after a hurricane",
    "wildfire": "A village after a wildfire",
}
"""Synthetic, our own; `python tools/examples.py` draws them."""


def router(board: Board, settings: ControlSettings) -> APIRouter:
    """The routes under `/api/asking`."""
    routes = APIRouter(prefix="/api/asking", tags=["Predictions"])

    @routes.get("", responses=answers(Asking, "Who, and what") | responses(Unavailable))
    async def asking() -> Response:
        """Which versions can be asked for the damage in a pair, the limits of what is sent, and examples."""
        return json_response(asking_of((await board.look()).view, settings))

    @routes.get(
        "/examples/{name}/{when}",
        responses=answers_words("The picture", "image/png") | responses(NotFound),
    )
    async def picture(
        name: Annotated[str, Path(max_length=40)], when: Annotated[Literal["pre", "post"], Path()]
    ) -> Response:
        """A picture of an example pair: before the disaster, or after it."""
        if name not in _EXAMPLES:
            raise NotFound("There is no such example.", remedy="GET /api/asking lists them.")
        return Response(_picture(f"{name}-{when}.png"), media_type="image/png", headers=_A_YEAR)

    return routes


def examples() -> tuple[Example, ...]:
    """All that are shipped."""
    return tuple(
        Example(
            name=name,
            words=words,
            pre=f"/api/asking/examples/{name}/pre",
            post=f"/api/asking/examples/{name}/post",
        )
        for name, words in _EXAMPLES.items()
    )


def asking_of(view: StateView, settings: ControlSettings) -> Asking:
    """From the state as the dashboard sees it."""
    fresh = [each for each in view.replicas if each.fresh]
    current = None if view.current is None else view.current.version
    canary = None if view.canary is None else view.canary.version
    roles = {current: Arm.CURRENT, canary: Arm.CANARY}
    loaded = sorted({version for each in fresh for version in each.loaded}, reverse=True)
    other = canary or (None if view.previous is None else view.previous.version)
    pair = tuple(version for version in (current, other) if version in loaded)
    return Asking(
        versions=tuple(
            Askable(
                version=version,
                role=roles.get(version),
                loaded_on=sum(version in each.loaded for each in fresh),
            )
            for version in loaded
        ),
        processes=len(fresh),
        beside=pair if len(pair) == 2 else (),
        max_bytes=settings.max_predict_bytes,
        max_archive_bytes=settings.max_upload_bytes,
        examples=examples(),
    )


@cache
def _picture(name: str) -> bytes:
    return (_FOLDER / name).read_bytes()
