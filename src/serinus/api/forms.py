"""Multipart forms: pictures are held in memory (the guards bound the body), archives are spooled to disk.

Pictures come as one piece of memory where the server can give it (`Intake`); their form is then found in it
without copying. The finder takes the plain forms that browsers and HTTP libraries send; any other form goes
to the library's parser.
"""

import re
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from typing import NamedTuple, Protocol, TypeAlias

from fastapi import Request
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from serinus.api.memory import Memory, where
from serinus.core.errors import InvalidInput

BODY = "serinus.body"
"""The scope's extension with an `Intake`."""
_MOST_PARTS = 16
_TEXT_BYTES = 4096
_LONGEST_HEAD = 2048
_NEVER_SPOOLED = 1 << 40
_BOUNDARY = re.compile(
    r"""multipart/form-data; *boundary=(?:"([\w'()+,./:=?-]{1,70})"|([\w'()+./:=?-]{1,70}))""", re.ASCII
)
_DISPOSITION = re.compile(
    rb'content-disposition: form-data; name="([\w.-]{1,64})"(; filename="[^"\\\r\n]{0,255}")?', re.IGNORECASE
)
_OTHER_HEAD = re.compile(rb"(?:content-type|content-length): [\x20-\x7e]{0,200}", re.IGNORECASE)


class Disconnected(ClientDisconnect):
    """The client left before its request was whole."""


class Intake(Protocol):
    """A server's offer to read a whole body into one piece of memory."""

    async def read(self) -> memoryview:
        """The body. Raises Disconnected."""


class Part(NamedTuple):
    """One field of a form."""

    is_file: bool
    content: bytes | memoryview


async def read_body(request: Request) -> Memory:
    """The request's whole body, in one piece of memory where the server can give it."""
    intake: Intake | None = request.scope.get("extensions", {}).get(BODY)
    return await (request.body() if intake is None else intake.read())


Form: TypeAlias = Mapping[str, Part]
"""By name; the last of a name counts."""


async def read_form(request: Request) -> Form:
    """The request's form, all of it in memory; files are views into the body where the server can give it.

    Raises InvalidInput: no multipart form, a broken one, too many parts.
    """
    kind = _kind(request)
    intake: Intake | None = request.scope.get("extensions", {}).get(BODY)
    if intake is None:
        return await _by_library(request.headers, request.stream())
    body = await intake.read()
    boundary = _BOUNDARY.fullmatch(kind)
    found = find(body, (boundary[1] or boundary[2]).encode()) if boundary else None
    return found if found is not None else await _by_library(request.headers, _once(body))


def find(body: Memory, boundary: bytes) -> Form | None:
    """The parts of a plain form, files as views into `body`; None when the form is not plain.

    Plain is: nothing before the first boundary, at most a line's end after the last; heads of the usual lines
    and length; texts of at most a few KiB, in ASCII (the library guesses at others); every name once.
    """
    view = memoryview(body)
    mark = b"\r\n--" + boundary
    at = len(mark) - 2
    if bytes(view[:at]) != mark[2:]:
        return None
    parts: dict[str, Part] = {}
    while bytes(view[at : at + 2]) == b"\r\n" and len(parts) < _MOST_PARTS:
        head, ended, _ = bytes(view[at : at + _LONGEST_HEAD]).partition(b"\r\n\r\n")
        start = at + len(head) + len(ended)
        end = where(view, mark, start) if ended else None
        if end is None:
            return None
        named = _named(head[2:])
        if named is None or named[0] in parts:
            return None
        name, is_file = named
        content = view[start:end]
        if not is_file and not (len(content) <= _TEXT_BYTES and bytes(content).isascii()):
            return None
        parts[name] = Part(is_file, content)
        at = end + len(mark)
    return parts if bytes(view[at : at + 5]) in (b"--", b"--\r\n") else None


def _named(head: bytes) -> tuple[str, bool] | None:
    """Name, and whether it is a file, of a part with the usual lines; None for any other head."""
    disposition = None
    for line in head.split(b"\r\n"):
        matched = _DISPOSITION.fullmatch(line)
        if matched and disposition is None:
            disposition = matched
        elif not _OTHER_HEAD.fullmatch(line):
            return None
    return (disposition[1].decode(), disposition[2] is not None) if disposition else None


def pictures_of(form: Form, names: Iterable[str]) -> list[bytes | memoryview]:
    """The named files. Raises InvalidInput that names what is missing or empty."""
    found = []
    for name in names:
        part = form.get(name)
        if part is None or not part.is_file:
            raise InvalidInput(f"The form has no file {name}.", remedy=f"Send {name} as a file.")
        if not len(part.content):
            raise InvalidInput(f"The file {name} is empty.")
        found.append(part.content)
    return found


async def spool_form(request: Request, *, memory_bytes: int) -> FormData:
    """The request's form; the caller closes it. Files beyond `memory_bytes` go to unnamed temporary files.

    Raises InvalidInput: no multipart form, a broken one, too many parts.
    """
    _kind(request)
    return await _parsed(request.headers, request.stream(), memory_bytes)


def files_of(form: FormData, names: Iterable[str]) -> list[UploadFile]:
    """The named files. Raises InvalidInput that names what is missing or empty."""
    found: list[UploadFile] = []
    for name in names:
        part = form.get(name)
        if not isinstance(part, UploadFile):
            raise InvalidInput(f"The form has no file {name}.", remedy=f"Send {name} as a file.")
        if not part.size:
            raise InvalidInput(f"The file {name} is empty.")
        found.append(part)
    return found


def _kind(request: Request) -> str:
    kind = request.headers.get("content-type", "")
    if not kind.lower().startswith("multipart/form-data"):
        raise InvalidInput("The request is no form upload.", remedy="Send multipart/form-data.")
    return kind


async def _by_library(headers: Headers, stream: AsyncGenerator[bytes, None]) -> Form:
    form = await _parsed(headers, stream, _NEVER_SPOOLED)
    try:
        parts: dict[str, Part] = {}
        for name, value in form.multi_items():
            file = isinstance(value, UploadFile)
            content = await value.read() if isinstance(value, UploadFile) else value.encode()
            parts[name] = Part(file, content)
        return parts
    finally:
        await form.close()


async def _parsed(headers: Headers, stream: AsyncGenerator[bytes, None], memory_bytes: int) -> FormData:
    async with aclosing(stream) as body:
        parser = MultiPartParser(
            headers, body, max_files=_MOST_PARTS, max_fields=_MOST_PARTS, max_part_size=_TEXT_BYTES
        )
        parser.spool_max_size = memory_bytes
        try:
            return await parser.parse()
        except MultiPartException as error:
            raise InvalidInput(f"The form cannot be read: {error.message}") from error
        except ValueError as error:  # what Python's stranger codecs raise
            raise InvalidInput(f"The form's character set cannot be read: {error}.") from error


async def _once(body: memoryview) -> AsyncGenerator[bytes, None]:
    yield bytes(body)
    yield b""
