"""Uploads that go on after a cut: what has arrived is kept, and the client sends the rest.

`DATA_DIR/uploads/<id>.partial` holds the bytes so far, `<id>.upload` what was announced. The offset is the
size of the file and nothing else, so it holds after a kill of this process. The last byte makes it an upload
like any other (`Uploads.commit`), under the same id.
"""

import asyncio
import errno
import hashlib
import os
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from serinus.api.uploads import Upload, Uploads
from serinus.core.errors import Conflict, InvalidInput, NotFound, TooLarge, Unavailable, VolumeFull
from serinus.core.ids import Clock, NewId

ALGORITHMS = ("sha1", "sha256", "md5")
_ID = re.compile(r"[0-9a-f]{8,64}")
_FLUSH_BYTES = 1 << 20
_MOST = 100
"""Unfinished uploads at once."""


class Announced(msgspec.Struct, frozen=True, kw_only=True):
    """`<id>.upload`: what the client said when it began."""

    length: int
    """Bytes in all."""
    name: str
    """The client's file name, for people."""
    time: float
    """When it began, seconds since 1970-01-01 UTC."""
    checking: int | None = None
    """Offset to fall back to: a piece whose checksum is not known yet is being received."""


class Unfinished(NamedTuple):
    """An upload that waits for its rest."""

    id: str
    announced: Announced
    offset: int
    """Bytes that are here."""
    expires: float
    """When they are thrown away, seconds since 1970-01-01 UTC."""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How far an upload is."""

    id: str
    offset: int
    length: int
    expires: float
    """When what has arrived is thrown away, seconds since 1970-01-01 UTC."""
    upload: Upload | None = None
    """Once it is whole."""


class Checksum(msgspec.Struct, frozen=True, kw_only=True):
    """Of one piece."""

    algorithm: str
    digest: bytes


class WrongChecksum(InvalidInput):
    """A piece is not what its checksum says; it was thrown away."""


class _Reception:
    """One piece on its way; who asks about the upload meanwhile ends it."""

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.over = asyncio.Event()


class Resumables:
    """The unfinished uploads. Used from one event loop; files are written in threads."""

    def __init__(
        self,
        uploads: Uploads,
        *,
        limit_bytes: int,
        keep_seconds: float,
        clock: Clock,
        new_id: NewId,
        spare_bytes: int = 256 << 20,
    ) -> None:
        """`keep_seconds`: how long an unfinished one may wait; `spare_bytes` stay free on the volume."""
        self._spare = spare_bytes
        self.limit_bytes = limit_bytes
        self._uploads = uploads
        self._root = uploads.root
        self._keep = keep_seconds
        self._clock = clock
        self._new_id = new_id
        self._receiving: dict[str, _Reception] = {}
        self._hashes: dict[str, tuple[int, Any]] = {}
        """Id -> bytes hashed so far, and the hash: not to read 20 GB again at the end."""

    async def begin(self, length: int, name: str) -> Standing:
        """A new upload of `length` bytes. Raises InvalidInput, TooLarge, Unavailable, VolumeFull."""
        if length <= 0:
            raise InvalidInput("The file is empty.", remedy="Choose an archive of xBD pairs.")
        if length > self.limit_bytes:
            raise TooLarge(
                f"The upload is over {self.limit_bytes / 1e6:g} MB.",
                remedy="Send a smaller archive, or raise the setting MAX_UPLOAD_MB.",
            )
        return await asyncio.to_thread(self._begin, length, name)

    async def standing(self, upload_id: str) -> Standing:
        """How far it is. A piece that is still being received ends here: its client is gone, or asks wrongly.

        Raises NotFound.
        """
        await self._interrupt(upload_id)
        return await asyncio.to_thread(self._look, upload_id)

    async def append(
        self, upload_id: str, offset: int, body: AsyncIterator[bytes], checksum: Checksum | None = None
    ) -> Standing:
        """Receives a piece from `offset` on; whatever arrived stays, however the connection ends.

        A piece with a checksum counts as a whole or not at all. Raises NotFound, Conflict (another offset),
        TooLarge, VolumeFull, WrongChecksum, and InvalidInput when the whole is no archive: then nothing is
        kept of it.
        """
        await self._interrupt(upload_id)
        reception = self._receiving[upload_id] = _Reception()
        try:
            before = await asyncio.to_thread(self._look, upload_id)
            if before.offset != offset:
                raise Conflict(
                    f"The upload is at byte {before.offset}, not {offset}.", remedy="Ask where it is (HEAD)."
                )
            if before.upload is None:
                await self._receive(before, body, checksum, reception.stop)
            return await asyncio.to_thread(self._look, upload_id)
        finally:
            reception.over.set()
            if self._receiving.get(upload_id) is reception:
                del self._receiving[upload_id]

    async def end(self, upload_id: str) -> None:
        """Throws an unfinished upload away. Raises NotFound, also for one that is whole."""
        await self._interrupt(upload_id)
        found = await asyncio.to_thread(self._look, upload_id)
        if found.upload is not None:
            raise _unknown(upload_id)
        await asyncio.to_thread(self._forget, upload_id)

    def unfinished(self) -> list[Unfinished]:
        """Those that wait for their rest, newest first."""
        found = []
        for path in self._root.glob("*.partial"):
            with suppress(NotFound, FileNotFoundError):
                announced = self._announced(path.stem)
                offset = path.stat().st_size if announced.checking is None else announced.checking
                found.append(Unfinished(path.stem, announced, offset, self._expires(path.stem)))
        return sorted(found, key=lambda one: (-one.announced.time, one.id))

    def expire(self) -> int:
        """Throws away what nobody has added to for too long; gives how many uploads that were."""
        if not self._root.is_dir():
            return 0
        now = self._clock()
        stale = [
            path.stem
            for path in self._root.glob("*.upload")
            if path.stem not in self._receiving and self._expires(path.stem) < now
        ]
        for upload_id in stale:
            self._forget(upload_id)
        for form in self._root.glob("*.part"):  # of a process that was killed
            with suppress(FileNotFoundError):
                if form.stat().st_mtime + self._keep < now:
                    form.unlink()
        return len(stale)

    async def _interrupt(self, upload_id: str) -> None:
        while (running := self._receiving.get(upload_id)) is not None:
            running.stop.set()
            await running.over.wait()

    async def _receive(
        self, before: Standing, body: AsyncIterator[bytes], checksum: Checksum | None, stop: asyncio.Event
    ) -> None:
        path = self._partial(before.id)
        if checksum is not None:
            await asyncio.to_thread(self._mark, before.id, before.offset)
        whole = await self._hash(before)
        piece = hashlib.new(checksum.algorithm, usedforsecurity=False) if checksum else None
        with await asyncio.to_thread(path.open, "ab", buffering=0) as file:
            writing = _Writing(file, whole, piece, room=before.length - before.offset)
            ended = False
            try:
                async for chunk in _until(body, stop):
                    writing.take(chunk)
                    if writing.pending >= _FLUSH_BYTES:
                        await asyncio.to_thread(writing.flush)
                ended = not stop.is_set()
            finally:
                # Also when the client left: what it managed to send is worth keeping.
                await asyncio.to_thread(self._settle, before, writing, checksum, ended=ended)

    def _settle(
        self, before: Standing, writing: "_Writing", checksum: Checksum | None, *, ended: bool
    ) -> None:
        """Keeps what was received, or takes it back. Raises WrongChecksum, VolumeFull."""
        full: VolumeFull | None = None
        try:
            writing.flush()
        except VolumeFull as error:
            full = error
        whole = ended and full is None
        right = checksum is None or (whole and writing.piece.digest() == checksum.digest)
        if right and not writing.over:
            writing.keep()
            self._hashes[before.id] = (before.offset + writing.written, writing.whole)
        else:
            writing.take_back(before.offset)
            self._hashes.pop(before.id, None)
        if checksum is not None:
            self._mark(before.id, None)
        if full is not None:
            raise full
        if ended and not right:
            raise WrongChecksum("The piece is not what its checksum says.", remedy="Send it again.")

    async def _hash(self, before: Standing) -> Any:
        """The hash of what has arrived, to go on with."""
        done, whole = self._hashes.get(before.id, (-1, None))
        if done != before.offset:
            return await asyncio.to_thread(self._hash_file, self._partial(before.id))
        return whole

    @staticmethod
    def _hash_file(path: Path) -> Any:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256")

    def _begin(self, length: int, name: str) -> Standing:
        self._root.mkdir(parents=True, exist_ok=True)
        self.expire()
        if len(list(self._root.glob("*.partial"))) >= _MOST:
            raise Unavailable(
                f"{_MOST} uploads are unfinished already.", remedy="Finish one, or end it.", retry_after=60.0
            )
        free = shutil.disk_usage(self._root).free
        if free < length + self._spare:
            raise VolumeFull(
                f"The archive has {length / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free.",
                remedy="Make room, or let DATA_DIR be on a larger volume.",
            )
        upload_id = self._new_id()
        self._write(upload_id, Announced(length=length, name=name[:255], time=self._clock()))
        self._partial(upload_id).touch()
        return self._look(upload_id)

    def _look(self, upload_id: str) -> Standing:
        announced = self._announced(upload_id)
        path = self._partial(upload_id)
        expires = self._expires(upload_id)
        try:
            offset = path.stat().st_size
        except FileNotFoundError:
            upload = next((each for each in self._uploads.list() if each.id == upload_id), None)
            if upload is None:
                raise _unknown(upload_id) from None
            return Standing(
                id=upload_id, offset=upload.size, length=upload.size, expires=expires, upload=upload
            )
        if announced.checking is not None and upload_id not in self._receiving:
            os.truncate(path, announced.checking)  # this process was killed before it knew the checksum
            self._mark(upload_id, None)
            offset = announced.checking
        upload = self._commit(upload_id, announced) if offset >= announced.length else None
        return Standing(id=upload_id, offset=offset, length=announced.length, expires=expires, upload=upload)

    def _commit(self, upload_id: str, announced: Announced) -> Upload:
        path = self._partial(upload_id)
        done, whole = self._hashes.pop(upload_id, (-1, None))
        if done != announced.length:
            whole = self._hash_file(path)
        try:
            return self._uploads.commit(path, upload_id, announced.name, whole.hexdigest())
        except InvalidInput:
            self._forget(upload_id)
            raise

    def _announced(self, upload_id: str) -> Announced:
        if not _ID.fullmatch(upload_id):
            raise _unknown(upload_id)
        try:
            return msgspec.json.decode((self._root / f"{upload_id}.upload").read_bytes(), type=Announced)
        except (OSError, msgspec.MsgspecError):
            raise _unknown(upload_id) from None

    def _mark(self, upload_id: str, checking: int | None) -> None:
        self._write(upload_id, msgspec.structs.replace(self._announced(upload_id), checking=checking))

    def _write(self, upload_id: str, announced: Announced) -> None:
        path = self._root / f"{upload_id}.upload"
        fresh = path.with_suffix(".upload-new")
        fresh.write_bytes(msgspec.json.encode(announced))
        fresh.replace(path)

    def _expires(self, upload_id: str) -> float:
        """Some time after the last byte came; a whole upload is remembered for as long."""
        for path in (self._partial(upload_id), self._root / f"{upload_id}.upload"):
            with suppress(FileNotFoundError):
                return path.stat().st_mtime + self._keep
        return 0.0

    def _forget(self, upload_id: str) -> None:
        self._hashes.pop(upload_id, None)
        self._partial(upload_id).unlink(missing_ok=True)
        (self._root / f"{upload_id}.upload").unlink(missing_ok=True)

    def _partial(self, upload_id: str) -> Path:
        return self._root / f"{upload_id}.partial"


class _Writing:
    """Bytes on their way into the file and the hashes."""

    def __init__(self, file: FileIO, whole: Any, piece: Any, *, room: int) -> None:
        self.written = 0
        self.over = False
        """Whether more came than was announced."""
        self.piece = piece
        self.whole = whole
        self._file = file
        self._room = room
        self._buffer = bytearray()

    @property
    def pending(self) -> int:
        return len(self._buffer)

    def take(self, chunk: bytes) -> None:
        """Raises TooLarge for more than was announced."""
        left = self._room - self.written - len(self._buffer)
        self._buffer += chunk[:left]
        if len(chunk) > left:
            self.over = True
            raise TooLarge(
                "The upload is longer than was announced.", remedy="Begin again with the real Upload-Length."
            )

    def flush(self) -> None:
        """Writes what is pending (blocks). Raises VolumeFull; what was written then counts."""
        left = bytes(self._buffer)
        try:
            while left:
                count = self._file.write(left)
                for each in filter(None, (self.whole, self.piece)):
                    each.update(left[:count])
                self.written += count
                left = left[count:]
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise VolumeFull(
                "No space is left for the upload; what has arrived stays.", remedy="Make room, and go on."
            ) from error
        finally:
            self._buffer[:] = left

    def keep(self) -> None:
        """Makes what was written durable (blocks)."""
        os.fsync(self._file.fileno())

    def take_back(self, offset: int) -> None:
        """Shortens the file to what it was."""
        self._file.truncate(offset)


async def _until(body: AsyncIterator[bytes], stop: asyncio.Event) -> AsyncIterator[bytes]:
    """The body, until its end or until somebody says stop."""
    stopped = asyncio.ensure_future(stop.wait())
    try:
        while True:
            following = asyncio.ensure_future(anext(body, None))
            await asyncio.wait({following, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not following.done():
                following.cancel()
                with suppress(asyncio.CancelledError):
                    await following
                return
            chunk = following.result()
            if chunk is None:
                return
            yield chunk
    finally:
        stopped.cancel()


def _unknown(upload_id: str) -> NotFound:
    return NotFound(
        f"There is no unfinished upload {upload_id[:80]!r}.", remedy="Begin again with POST /api/uploads."
    )
