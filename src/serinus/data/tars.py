"""Tar archives, plain or packed with gzip or Zstandard.

A packed tar can only be read from its beginning, and the files of a pair lie far apart in it: it is unpacked
once, block by block and within the limits, into a nameless file that is gone when the archive is closed,
however the process ends. Then its headers are judged, and members are read from their places.
"""

import gzip
import os
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from serinus.core.errors import InvalidInput
from serinus.data.archive import (
    BLOCK,
    CUT_OFF,
    GZIP,
    REPACK,
    ZSTANDARD,
    Archive,
    ArchiveLimits,
    Member,
    UnreadableMember,
    check_count,
    check_name,
    check_size,
    check_total,
    not_an_archive,
    plain,
    shown,
)

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_HEADER_BYTES = 1 << 20
"""Longest extended header (a long name, attributes): `tarfile` reads each into memory."""
_EXTENDED = {tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE,
             tarfile.SOLARIS_XHDTYPE}  # fmt: skip

Moved = Callable[[int, int], object]
"""Called with (bytes of the archive read, bytes in all)."""


class TarArchive(Archive):
    """A tar archive that passed the checks."""

    def __init__(self, file: IO[bytes], members: list[Member], places: list[int]) -> None:
        self._file = file
        self._places = places
        self.members = tuple(members)

    def blocks(self, member: Member) -> Iterator[bytes]:
        at, end = self._places[member.place], self._places[member.place] + member.size
        while at < end:
            block = os.pread(self._file.fileno(), min(BLOCK, end - at), at)
            if not block:
                raise UnreadableMember("its end is missing")
            at += len(block)
            yield block


class _Header(tarfile.TarInfo):
    """Refuses a header before `tarfile` loads what it announces."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_Header":
        header = super().frombuf(buf, encoding, errors)
        if header.size < 0 or (header.type in _EXTENDED and header.size > _HEADER_BYTES):
            raise InvalidInput(f"The archive has a header that announces {header.size} bytes.", remedy=REPACK)
        return header


@contextmanager
def open_tar(
    path: Path, limits: ArchiveLimits, *, scratch: Path | None = None, moved: Moved | None = None
) -> Iterator[Archive]:
    """The tar archive at `path`, checked; a packed one is unpacked into a nameless file in `scratch`.

    Raises InvalidInput or TooLarge.
    """
    with path.open("rb") as file, tempfile.TemporaryFile(dir=scratch) as room:
        magic = file.read(4)
        file.seek(0)
        packed = path.stat().st_size
        if not magic.startswith((GZIP, ZSTANDARD)):
            yield _index(file, packed, limits)
            return
        stream = gzip.GzipFile(fileobj=file) if magic.startswith(GZIP) else zstd.ZstdFile(file)
        total = 0
        for block in _blocks(stream):
            total += len(block)
            check_total(total, packed, limits)
            room.write(block)
            if moved:
                moved(file.tell(), packed)
        room.flush()
        yield _index(room, total, limits)


def _blocks(stream: Any) -> Iterator[bytes]:
    """What is packed in `stream`; what cannot be unpacked is the sender's fault."""
    while True:
        try:
            block = stream.read(BLOCK)
        except (OSError, EOFError, ValueError, zlib.error, zstd.ZstdError) as error:
            raise InvalidInput(f"The archive is damaged: {error}.", remedy=CUT_OFF) from error
        if not block:
            return
        yield block


def _index(file: IO[bytes], size: int, limits: ArchiveLimits) -> TarArchive:
    """`size`: bytes of the plain tar."""
    file.seek(0)
    members: list[Member] = []
    places: list[int] = []
    total = count = 0
    try:
        with tarfile.open(fileobj=file, mode="r:", tarinfo=_Header, encoding="utf-8") as tar:
            while (info := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined]  # it would keep every header
                count += 1
                check_count(count, limits)
                name = _check(info, size, limits)
                if info.isdir():
                    continue
                total += info.size
                check_total(total, size, limits)
                members.append(Member(plain(name), info.size, len(members)))
                places.append(info.offset_data)
    except tarfile.TarError as error:
        if not count:
            raise not_an_archive("tar") from error
        raise InvalidInput(f"The archive is damaged: {error}.", remedy=CUT_OFF) from error
    if not count:
        raise not_an_archive("tar")
    return TarArchive(file, members, places)


def _check(info: tarfile.TarInfo, end: int, limits: ArchiveLimits) -> str:
    """The member's name, without what is no text. Raises InvalidInput or TooLarge."""
    name = info.name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    check_name(name)
    if info.issym() or info.islnk():
        raise InvalidInput(f"The archive holds a link: {shown(name)}.", remedy="Pack the files themselves.")
    if info.issparse() or not (info.isreg() or info.isdir()):
        raise InvalidInput(
            f"The archive holds something that is no file: {shown(name)}.",
            remedy="Pack the files themselves.",
        )
    check_size(name, info.size, limits)
    if info.offset_data + info.size > end:
        raise InvalidInput(f"The archive ends within {shown(name)}.", remedy=CUT_OFF)
    return name
