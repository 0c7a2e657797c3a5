"""Multipart forms: pictures are held in memory (the guards bound the body), archives are spooled to disk."""

from collections.abc import Iterable
from contextlib import aclosing

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from serinus.core.errors import InvalidInput

_MOST_PARTS = 16
_TEXT_BYTES = 4096


async def read_form(request: Request, *, memory_bytes: int) -> FormData:
    """The request's form; the caller closes it. Files beyond `memory_bytes` go to unnamed temporary files.

    Raises InvalidInput: no multipart form, a broken one, too many parts.
    """
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise InvalidInput("The request is no form upload.", remedy="Send multipart/form-data.")
    async with aclosing(request.stream()) as stream:
        parser = MultiPartParser(
            request.headers, stream, max_files=_MOST_PARTS, max_fields=_MOST_PARTS, max_part_size=_TEXT_BYTES
        )
        parser.spool_max_size = memory_bytes
        try:
            return await parser.parse()
        except MultiPartException as error:
            raise InvalidInput(f"The form cannot be read: {error.message}") from error


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
