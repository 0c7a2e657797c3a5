"""Zip archives: judged by their directory before anything is read from them, then read member by member."""

import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from serinus.core.errors import InvalidInput, TooLarge
from serinus.data.archive import (
    BLOCK,
    CUT_OFF,
    REPACK,
    Archive,
    ArchiveLimits,
    Member,
    UnreadableMember,
    bomb,
    check_count,
    check_name,
    check_size,
    check_total,
    not_an_archive,
    plain,
    shown,
)

_UNREADABLE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError, RuntimeError)
"""What `zipfile` raises for odd bytes; NotImplementedError is a RuntimeError."""
_FIRST = b"PK\x03\x04"
_LOCAL_HEADER = 30
"""Bytes before each member's name and content, at least."""


class ZipArchive(Archive):
    """A zip archive that passed the checks."""

    def __init__(self, opened: zipfile.ZipFile) -> None:
        self._zip = opened
        self._infos = [info for info in opened.infolist() if not info.is_dir()]
        self.members = tuple(
            Member(plain(info.orig_filename), info.file_size, index) for index, info in enumerate(self._infos)
        )

    def blocks(self, member: Member) -> Iterator[bytes]:
        try:
            with self._zip.open(self._infos[member.place]) as stream:
                while block := stream.read(BLOCK):
                    yield block
        except _UNREADABLE as error:
            raise UnreadableMember(str(error)) from error


@contextmanager
def open_zip(path: Path, limits: ArchiveLimits) -> Iterator[Archive]:
    """The zip archive at `path`, checked. Raises InvalidInput or TooLarge."""
    with path.open("rb") as file:
        _check_directory(file, limits)
        try:
            opened = zipfile.ZipFile(file)
        except _UNREADABLE as error:
            raise not_an_archive("zip") from error
        with opened:
            _check(opened, path.stat().st_size, limits)
            yield ZipArchive(opened)


def _check_directory(file: BinaryIO, limits: ArchiveLimits) -> None:
    """Bounds the archive's directory before `zipfile` loads all of it into memory."""
    size = file.seek(0, 2)
    start = max(0, size - 22 - 65_535)
    file.seek(start)
    tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or at + 22 > len(tail):
        file.seek(0)
        if file.read(4) == _FIRST:
            raise InvalidInput(
                "The zip archive ends too early: its list of members is missing.", remedy=CUT_OFF
            )
        raise not_an_archive("zip")
    length = int.from_bytes(tail[at + 12 : at + 16], "little")
    if at >= 76 and tail[at - 20 : at - 16] == b"PK\x06\x07":  # zip64: 56 bytes of record, 20 of locator
        length = max(length if length != 0xFFFFFFFF else 0, int.from_bytes(tail[at - 36 : at - 28], "little"))
    file.seek(0)
    if length > limits.max_files * 512:
        raise TooLarge(
            f"The archive's list of members takes {length >> 20} MB; "
            f"that is more than {limits.max_files} files can need.",
            remedy="Split the archive.",
        )


def _check(opened: zipfile.ZipFile, packed: int, limits: ArchiveLimits) -> None:
    """`packed`: bytes of the archive's file, not what its directory claims."""
    infos = opened.infolist()
    check_count(len(infos), limits)
    for info in infos:
        _check_kind(info)
        check_size(info.orig_filename, info.file_size, limits)
        if info.file_size > BLOCK and info.file_size > limits.max_ratio * info.compress_size:
            raise bomb(shown(info.orig_filename), info.file_size, info.compress_size, limits)
    _check_overlaps(infos, packed)
    check_total(sum(info.file_size for info in infos), packed, limits)


def _check_overlaps(infos: list[zipfile.ZipInfo], end: int) -> None:
    """Shared bytes are how a small file claims to be a large one (Fifield: *A better zip bomb*, 2019)."""
    for info in sorted(infos, key=lambda info: info.header_offset, reverse=True):
        if info.header_offset + _LOCAL_HEADER + info.compress_size > end:
            raise InvalidInput(
                f"In the archive {shown(info.orig_filename)} overlaps with what follows it.", remedy=REPACK
            )
        end = info.header_offset


def _check_kind(info: zipfile.ZipInfo) -> None:
    name = info.orig_filename
    check_name(name)
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        what = "a link" if kind == stat.S_IFLNK else "something that is no file"
        raise InvalidInput(f"The archive holds {what}: {shown(name)}.", remedy="Pack the files themselves.")
    if info.flag_bits & 0x41:
        raise InvalidInput(f"The archive is encrypted: {shown(name)}.", remedy="Pack it without a password.")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InvalidInput(
            f"{shown(name)} is packed with a method that is not supported ({info.compress_type}).",
            remedy="Pack with the ordinary method, deflate.",
        )
