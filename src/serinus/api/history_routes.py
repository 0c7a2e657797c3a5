"""`/api/history` and `/api/rollouts`: what happened, found by any of its fields, and taken along."""

import csv
import io
from asyncio import to_thread
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Query, Response
from fastapi.responses import StreamingResponse

from serinus.api.chronicle import Chronicle, HistoryPage, RolloutsPage, Search
from serinus.api.errors import responses
from serinus.api.schema import answers, answers_words, json_response
from serinus.api.words import Entry


class Kinds(msgspec.Struct, frozen=True, kw_only=True):
    """What the filter `kind` may be."""

    kinds: tuple[str, ...]


DOCUMENTS: list[type] = [HistoryPage, RolloutsPage, Kinds]

_COLUMNS = ("seq", "time", "kind", "what", "who", "why", "numbers")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class Order(StrEnum):
    """Which entries come first."""

    OLDEST = "oldest"
    NEWEST = "newest"


class Format(StrEnum):
    """Of an export."""

    CSV = "csv"
    JSON = "json"


def search(
    *,
    after: Annotated[int, Query(ge=0, description="Entries with numbers above this")] = 0,
    before: Annotated[int | None, Query(ge=1, description="Entries with numbers below this")] = None,
    kind: Annotated[str, Query(max_length=64, description="Such as `promoted`")] = "",
    actor: Annotated[str, Query(max_length=200, description="A part of the actor's name")] = "",
    version: Annotated[int | None, Query(ge=1)] = None,
    rollout: Annotated[int | None, Query(ge=1)] = None,
    text: Annotated[str, Query(max_length=200, description="A part of what happened, or why")] = "",
) -> Search:
    """The filter that all of these routes take."""
    return Search(
        after=after, before=before, kind=kind, actor=actor, version=version, rollout=rollout, text=text
    )


_Wanted = Annotated[Search, Depends(search)]


def router(chronicle: Chronicle) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/api", tags=["State"])

    @routes.get("/history", responses=answers(HistoryPage, "Entries") | responses())
    async def history(
        wanted: _Wanted,
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
        order: Order = Order.OLDEST,
    ) -> Response:
        """What happened: when, who, why, with which numbers.

        Page on with `after` = `next`; with the newest first, with `before` = `next`.
        """
        newest = order is Order.NEWEST
        return json_response(await to_thread(chronicle.page, wanted, limit, newest_first=newest))

    @routes.get(
        "/history/export",
        responses=answers_words("Every entry that matches, oldest first", "text/csv") | responses(),
    )
    async def export(wanted: _Wanted, format: Format = Format.CSV) -> StreamingResponse:
        """The history as a file: CSV, or a JSON list of whole entries with their events."""
        entries = await to_thread(chronicle.all, wanted)
        lines, media = (
            (_csv(entries), "text/csv; charset=utf-8")
            if format is Format.CSV
            else (_json(entries), "application/json")
        )
        headers = {
            "Content-Disposition": f'attachment; filename="serinus-history.{format}"',
            "Cache-Control": "no-store",
        }
        return StreamingResponse(lines, media_type=media, headers=headers)

    @routes.get("/history/kinds", responses=answers(Kinds, "Kinds of events"))
    async def kinds() -> Response:
        """The kinds of events that have happened, to choose from."""
        return json_response(Kinds(kinds=tuple(await to_thread(chronicle.kinds))))

    @routes.get("/rollouts", responses=answers(RolloutsPage, "Rollouts, newest first") | responses())
    async def rollouts(
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
        before: Annotated[int | None, Query(ge=1, description="With numbers below this")] = None,
    ) -> Response:
        """All rollouts: of which version, how they ended, and why."""
        return json_response(await to_thread(chronicle.rollouts, limit, before))

    return routes


def _csv(entries: Iterable[Entry]) -> Iterator[str]:
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(_COLUMNS)
    for one in entries:
        numbers = msgspec.json.encode(one.numbers).decode() if one.numbers else ""
        words = (one.kind, one.what, one.who, one.why, numbers)
        writer.writerow((one.seq, f"{one.time:.3f}", *map(_plain, words)))
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
    yield buffer.getvalue()


def _plain(words: str) -> str:
    """A spreadsheet must show what people wrote, not compute it."""
    return f"'{words}" if words.startswith(_FORMULA) else words


def _json(entries: Iterable[Entry]) -> Iterator[bytes]:
    yield b"["
    for place, one in enumerate(entries):
        yield (b",\n" if place else b"\n") + msgspec.json.encode(one)
    yield b"\n]\n"
