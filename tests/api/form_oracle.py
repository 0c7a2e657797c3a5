"""One request for a form, read both ways: from one piece of memory, and by the library alone."""

import asyncio
from collections.abc import Awaitable
from typing import TypeAlias

from fastapi import Request

from serinus.api.forms import BODY, read_form
from serinus.core.errors import InvalidInput

Outcome: TypeAlias = dict[str, tuple[bool, bytes]] | str
"""By name: whether it is a file, and its content; or what is wrong."""
_LOOP = asyncio.new_event_loop()


class _Whole:
    """A server that offers the whole body."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def read(self) -> memoryview:
        return memoryview(self._body)


def both(data: bytes) -> tuple[Outcome, Outcome]:
    """What comes of `data` (a content type, a line's end, a body): in one piece, by the library."""
    kind, _, body = data.partition(b"\n")
    return _outcome(kind, body, {BODY: _Whole(body)}), _outcome(kind, body, {})


def _outcome(kind: bytes, body: bytes, extensions: dict[str, object]) -> Outcome:
    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body, "more_body": False}

    headers = [(b"content-type", kind)]
    scope = {"type": "http", "method": "POST", "headers": headers, "extensions": extensions}
    form: Awaitable[object] = read_form(Request(scope, receive))
    try:
        found = _LOOP.run_until_complete(form)
    except InvalidInput as error:
        return error.message
    return {name: (part.is_file, bytes(part.content)) for name, part in found.items()}
