"""Archives as strangers send them: judged by their directory, then read member by member.

The whole archive is refused before anything is read from it when its directory shows a trick: a path
out of its folder, a link, encryption, a bomb. Names of members are data; nothing uses one as a path.
"""

import hashlib
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec

from serinus.core.errors import InvalidInput, TooLarge

BLOCK = 1 << 20
_UNREADABLE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError, RuntimeError)
"""What `zipfile` raises for odd bytes; NotImplementedError is a RuntimeError."""
_LOCAL_HEADER = 30
"""Bytes before each member's name and content, at least."""


class ArchiveLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What an archive may cost. The defaults take xBD whole."""

    max_files: int = 200_000
    max_total_bytes: int = 64 << 30
    """Unpacked, all members together."""
    max_file_bytes: int = 256 << 20
    """Unpacked, one member."""
    max_ratio: int = 100
    """Unpacked to packed, of the archive and of every member over a megabyte."""
    max_pixels: int = 50_000_000
    """Of one picture."""


class Member(NamedTuple):
    name: str
    """As written in the archive, with / between folders."""
    size: int
    """Bytes, unpacked, as declared; no more than this is ever read."""
    place: int
    """Place in the archive's directory: names may occur twice."""


class UnreadableMember(Exception):
    """One member is damaged; the others may be fine."""


class Archive:
    """An archive that passed the checks."""

    def __init__(self, opened: zipfile.ZipFile) -> None:
        self._zip = opened
        self._infos = [info for info in opened.infolist() if not info.is_dir()]
        self.members = tuple(
            Member(_plain(info.orig_filename), info.file_size, index)
            for index, info in enumerate(self._infos)
        )

    def read(self, member: Member) -> bytes:
        """Its content. Raises UnreadableMember."""
        return b"".join(self._blocks(member))

    def digest(self, member: Member) -> str:
        """sha256 of its content. Raises UnreadableMember."""
        whole = hashlib.sha256()
        for block in self._blocks(member):
            whole.update(block)
        return whole.hexdigest()

    def _blocks(self, member: Member) -> Iterator[bytes]:
        try:
            with self._zip.open(self._infos[member.place]) as stream:
                while block := stream.read(BLOCK):
                    yield block
        except _UNREADABLE as error:
            raise UnreadableMember(str(error)) from error


@contextmanager
def open_archive(path: Path, limits: ArchiveLimits) -> Iterator[Archive]:
    """The archive at `path`, checked. Raises InvalidInput or TooLarge."""
    with path.open("rb") as file:
        _check_directory(file, limits)
        try:
            opened = zipfile.ZipFile(file)
        except _UNREADABLE as error:
            raise _not_an_archive() from error
        with opened:
            _check(opened, path.stat().st_size, limits)
            yield Archive(opened)


def _not_an_archive() -> InvalidInput:
    return InvalidInput(
        "The file is not a zip archive that can be read.", remedy="Send a .zip of images/ and labels/."
    )


def _check_directory(file: BinaryIO, limits: ArchiveLimits) -> None:
    """Bounds the archive's directory before `zipfile` loads all of it into memory."""
    size = file.seek(0, 2)
    start = max(0, size - 22 - 65_535)
    file.seek(start)
    tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or at + 22 > len(tail):
        raise _not_an_archive()
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
    if len(infos) > limits.max_files:
        raise TooLarge(
            f"The archive holds {len(infos)} files; the limit is {limits.max_files}.",
            remedy="Split the archive.",
        )
    for info in infos:
        _check_kind(info)
        _check_size(info, limits)
    _check_overlaps(infos, packed)
    total = sum(info.file_size for info in infos)
    if total > limits.max_total_bytes:
        raise TooLarge(
            f"Unpacked the archive would take {total / 1e9:.1f} GB; "
            f"the limit is {limits.max_total_bytes / 1e9:.1f} GB.",
            remedy="Split the archive.",
        )
    if total > BLOCK and total > limits.max_ratio * packed:
        raise _bomb("The archive", total, packed, limits)


def _check_overlaps(infos: list[zipfile.ZipInfo], end: int) -> None:
    """Shared bytes are how a small file claims to be a large one (Fifield: *A better zip bomb*, 2019)."""
    for info in sorted(infos, key=lambda info: info.header_offset, reverse=True):
        if info.header_offset + _LOCAL_HEADER + info.compress_size > end:
            raise InvalidInput(
                f"In the archive {info.orig_filename[:120]!r} overlaps with what follows it.",
                remedy="Pack the folder again with an ordinary zip program.",
            )
        end = info.header_offset


def _check_kind(info: zipfile.ZipInfo) -> None:
    name = info.orig_filename
    shown = repr(name[:120])
    plain = _plain(name)
    remedy = "Pack the folder again with an ordinary zip program."
    if ".." in plain.split("/"):
        raise InvalidInput(f"The archive reaches outside its own folder: {shown}.", remedy=remedy)
    if plain.startswith("/") or re.match("[A-Za-z]:", plain):
        raise InvalidInput(f"The archive holds an absolute path: {shown}.", remedy=remedy)
    if "\0" in name:
        raise InvalidInput(f"The archive holds a name that is none: {shown}.", remedy=remedy)
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        what = "a link" if kind == stat.S_IFLNK else "something that is no file"
        raise InvalidInput(f"The archive holds {what}: {shown}.", remedy="Pack the files themselves.")
    if info.flag_bits & 0x41:
        raise InvalidInput(f"The archive is encrypted: {shown}.", remedy="Pack it without a password.")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InvalidInput(
            f"{shown} is packed with a method that is not supported ({info.compress_type}).",
            remedy="Pack with the ordinary method, deflate.",
        )


def _check_size(info: zipfile.ZipInfo, limits: ArchiveLimits) -> None:
    if info.file_size > limits.max_file_bytes:
        raise TooLarge(
            f"{info.orig_filename[:120]!r} would take {info.file_size / 1e6:.0f} MB unpacked; "
            f"the limit for one file is {limits.max_file_bytes / 1e6:.0f} MB.",
            remedy="Cut the picture into tiles.",
        )
    if info.file_size > BLOCK and info.file_size > limits.max_ratio * info.compress_size:
        raise _bomb(repr(info.orig_filename[:120]), info.file_size, info.compress_size, limits)


def _bomb(what: str, size: int, packed: int, limits: ArchiveLimits) -> TooLarge:
    return TooLarge(
        f"{what} unpacks to {size / max(packed, 1):.0f} times its size; "
        f"the limit is {limits.max_ratio} times.",
        remedy="Pictures do not shrink like that; pack the real files.",
    )


def _plain(name: str) -> str:
    return name.replace("\\", "/")
