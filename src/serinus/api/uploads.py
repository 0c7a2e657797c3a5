"""Uploads: a form's file goes straight to `DATA_DIR/uploads/<id>.zip` (or `.tar`), under a name of our own.

Beside it lies `<id>.json` with what the client said (file name) and what we measured (size, sha256). The
client's file name is data for people; it is never a path. An upload exists once its archive does: that rename
comes last. Equal archives are one file with several names.
"""

import asyncio
import hashlib
import os
import re
import zipfile
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import msgspec
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from serinus.core.errors import InvalidInput, NotFound, TooLarge
from serinus.core.ids import Clock, NewId
from serinus.data.archive import HEAD, is_tar

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

_FLUSH_BYTES = 1 << 20
_SUFFIXES = (".zip", ".tar")
_ID = re.compile(r"[0-9a-f]{8,64}")


class Upload(msgspec.Struct, frozen=True, kw_only=True):
    """One uploaded archive."""

    id: str
    name: str = ""
    """The client's file name, for people."""
    size: int = 0
    """Bytes."""
    sha256: str = ""
    time: float = 0.0
    """Seconds since 1970-01-01 UTC."""
    suffix: str = ".zip"
    """`.zip`, or `.tar` for a tar archive however it is packed."""


class Uploads:
    """The folder of uploads. Safe for any number of uploads at once."""

    def __init__(self, root: Path, *, limit_bytes: int, clock: Clock, new_id: NewId) -> None:
        self.root = root
        self._limit = limit_bytes
        self._clock = clock
        self._new_id = new_id

    def path(self, upload: Upload) -> Path:
        """Where the archive lies."""
        return self.root / f"{upload.id}{upload.suffix}"

    def list(self) -> list[Upload]:
        """All uploads, newest last."""
        if not self.root.is_dir():
            return []
        found = [
            self._read(path)
            for path in self.root.iterdir()
            if path.suffix in _SUFFIXES and _ID.fullmatch(path.stem)
        ]
        return sorted(found, key=lambda upload: (upload.time, upload.id))

    def find(self, wanted: str) -> Upload:
        """The upload that `wanted` names: an id, the `path` of a reply, or a file name (the newest).

        `wanted` is only ever compared, never opened. Raises NotFound.
        """
        for upload in reversed(self.list()):
            if wanted in (upload.id, self.path(upload).name, str(self.path(upload)), upload.name):
                return upload
        raise NotFound(f"There is no upload {wanted[:200]!r}.", remedy="POST /upload-dataset first.")

    def remove(self, upload: Upload) -> None:
        """Takes an upload away; an equal one under another id keeps its file."""
        # The archive first: an upload exists as long as that does.
        self.path(upload).unlink(missing_ok=True)
        for left in (f"{upload.id}.json", f"{upload.id}.upload"):
            (self.root / left).unlink(missing_ok=True)

    async def receive(self, content_type: str, body: AsyncIterator[bytes]) -> Upload:
        """Takes a multipart form's part `file` as a stream.

        Raises InvalidInput (no form, no part `file`, empty, cut short, no zip archive) and TooLarge (over the
        limit); then nothing is kept.
        """
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        if kind != b"multipart/form-data" or not boundary:
            raise InvalidInput(
                "This is no form upload.", remedy="Send multipart/form-data with a part `file`."
            )
        await asyncio.to_thread(self.root.mkdir, parents=True, exist_ok=True)
        upload_id = self._new_id()
        part = self.root / f"{upload_id}.part"
        try:
            with await asyncio.to_thread(part.open, "xb") as target:
                form = _Form(boundary, target, self._limit)
                async for chunk in body:
                    form.feed(chunk)
                    if form.pending >= _FLUSH_BYTES:
                        await asyncio.to_thread(form.flush)
                await asyncio.to_thread(form.finish)
            upload = await asyncio.to_thread(self.commit, part, upload_id, form.name, form.sha256)
        finally:
            part.unlink(missing_ok=True)
        return upload

    def commit(self, part: Path, upload_id: str, name: str, sha256: str) -> Upload:
        """Makes the whole file `part` an upload. Raises InvalidInput when it is no archive."""
        upload = Upload(
            id=upload_id,
            name=name,
            size=part.stat().st_size,
            sha256=sha256,
            time=self._clock(),
            suffix=_suffix(part),
        )
        self._share(part, upload)
        (self.root / f"{upload.id}.json").write_bytes(msgspec.json.encode(upload))
        part.rename(self.path(upload))
        return upload

    def _share(self, part: Path, upload: Upload) -> None:
        """Lets `part` be the file of an equal upload that is there already."""
        for known in self.list():
            if (known.sha256, known.size) == (upload.sha256, upload.size):
                twin = part.with_suffix(".twin")
                with suppress(OSError):  # gone meanwhile, or no links here: a second copy is as good
                    os.link(self.path(known), twin)
                    twin.replace(part)
                return

    def _read(self, path: Path) -> Upload:
        try:
            return msgspec.json.decode(path.with_suffix(".json").read_bytes(), type=Upload)
        except (OSError, msgspec.DecodeError):
            # Put there by hand, or its note was lost: still a usable archive.
            stat = path.stat()
            return Upload(
                id=path.stem, name=path.name, size=stat.st_size, time=stat.st_mtime, suffix=path.suffix
            )


def _suffix(file: Path) -> str:
    """What its archive is called. Raises InvalidInput when it is none."""
    with file.open("rb") as opened:
        if is_tar(opened.read(HEAD)):
            return ".tar"
    if zipfile.is_zipfile(file):
        return ".zip"
    raise InvalidInput(
        "The file is not a zip archive, nor a tar.",
        remedy="Send a .zip, .tar, .tar.gz or .tar.zst of images/ and labels/ in xBD layout.",
    )


class _Form:
    """Push parser of one form: the part `file` goes to `target`, all else is skipped."""

    def __init__(self, boundary: bytes, target: BinaryIO, limit: int) -> None:
        self.name = ""
        self.size = 0
        self._target = target
        self._limit = limit
        self._hash = hashlib.sha256()
        self._buffer = bytearray()
        self._header = bytearray()
        self._value = bytearray()
        self._headers: dict[bytes, bytes] = {}
        self._in_file = False
        self._seen = False
        self._ended = False
        callbacks: MultipartCallbacks = {
            "on_part_begin": self._headers.clear,
            "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._part_data,
            "on_part_end": self._part_end,
            "on_end": self._end,
        }
        self._parser = MultipartParser(boundary, callbacks)

    @property
    def pending(self) -> int:
        """Bytes parsed and not yet written."""
        return len(self._buffer)

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def feed(self, chunk: bytes) -> None:
        """Parses; raises InvalidInput, TooLarge."""
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise InvalidInput(f"The form cannot be read: {error}.") from error

    def flush(self) -> None:
        """Writes what is pending (blocks)."""
        self._hash.update(self._buffer)
        self._target.write(self._buffer)
        self._buffer.clear()

    def finish(self) -> None:
        """Writes the rest to disk (blocks); raises InvalidInput when the form was not whole."""
        if not self._seen:
            raise InvalidInput("The form has no part `file`.", remedy="Send the archive as the part `file`.")
        if not self._ended:
            raise InvalidInput("The upload was cut short.", remedy="Send it again.")
        if not self.size:
            raise InvalidInput("The file is empty.", remedy="Choose a zip archive of xBD pairs.")
        self.flush()
        self._target.flush()
        os.fsync(self._target.fileno())

    def _header_end(self) -> None:
        self._headers[bytes(self._header).lower()] = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        self._in_file = options.get(b"name") == b"file" and not self._seen
        if self._in_file:
            self._seen = True
            self.name = options.get(b"filename", b"").decode("utf-8", "replace")[:255]

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if not self._in_file:
            return
        self.size += end - start
        if self.size > self._limit:
            raise TooLarge(
                f"The upload is over {self._limit / 1e6:g} MB.",
                remedy="Send a smaller archive, or raise the setting MAX_UPLOAD_MB.",
            )
        self._buffer += data[start:end]

    def _part_end(self) -> None:
        self._in_file = False

    def _end(self) -> None:
        self._ended = True
