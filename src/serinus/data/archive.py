"""Archives as strangers send them: judged as a whole, then read member by member.

An archive is refused before anything is taken from it when it shows a trick: a path out of its folder, a
link, encryption, a bomb. Names of members are data; nothing uses one as a path.
"""

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from serinus.core.errors import InvalidInput, TooLarge

BLOCK = 1 << 20
"""Bytes read at once; below it nothing is called a bomb."""
REPACK = "Pack the folder again with an ordinary program."
CUT_OFF = "Pack it again, or send it again; it was probably cut off on its way."


HEAD = 512
"""Bytes that tell what a file is."""
GZIP = b"\x1f\x8b"
ZSTANDARD = b"\x28\xb5\x2f\xfd"
_MAGIC_AT = 257
_MAGIC = b"ustar"


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


class Archive(ABC):
    """An archive that passed the checks."""

    members: tuple[Member, ...]

    @abstractmethod
    def blocks(self, member: Member) -> Iterator[bytes]:
        """Its content, piece by piece. Raises UnreadableMember."""

    def read(self, member: Member) -> bytes:
        """Its content. Raises UnreadableMember."""
        return b"".join(self.blocks(member))

    def digest(self, member: Member) -> str:
        """sha256 of its content. Raises UnreadableMember."""
        whole = hashlib.sha256()
        for block in self.blocks(member):
            whole.update(block)
        return whole.hexdigest()


def is_tar(head: bytes) -> bool:
    """Whether a file that begins with `head` (HEAD bytes) is a tar archive, packed or not."""
    return head.startswith((GZIP, ZSTANDARD)) or head[_MAGIC_AT:].startswith(_MAGIC)


def not_an_archive(kind: str) -> InvalidInput:
    return InvalidInput(
        f"The file is not a {kind} archive that can be read.",
        remedy="Send a .zip of images/ and labels/; imports take .tar, .tar.gz and .tar.zst as well.",
    )


def plain(name: str) -> str:
    """A name with / between folders."""
    return name.replace("\\", "/")


def shown(name: str) -> str:
    """A name for people, whatever it holds."""
    return repr(name[:120])


def check_name(name: str) -> None:
    """Raises InvalidInput for a name that no honest archive holds."""
    usual = plain(name)
    if ".." in usual.split("/"):
        raise InvalidInput(f"The archive reaches outside its own folder: {shown(name)}.", remedy=REPACK)
    if usual.startswith("/") or re.match("[A-Za-z]:", usual):
        raise InvalidInput(f"The archive holds an absolute path: {shown(name)}.", remedy=REPACK)
    if "\0" in name:
        raise InvalidInput(f"The archive holds a name that is none: {shown(name)}.", remedy=REPACK)


def check_count(files: int, limits: ArchiveLimits) -> None:
    """Raises TooLarge."""
    if files > limits.max_files:
        raise TooLarge(
            f"The archive holds {files} files; the limit is {limits.max_files}.", remedy="Split the archive."
        )


def check_size(name: str, size: int, limits: ArchiveLimits) -> None:
    """Raises TooLarge for one member of `size` bytes, unpacked."""
    if size > limits.max_file_bytes:
        raise TooLarge(
            f"{shown(name)} would take {size / 1e6:.0f} MB unpacked; "
            f"the limit for one file is {limits.max_file_bytes / 1e6:.0f} MB.",
            remedy="Cut the picture into tiles.",
        )


def check_total(size: int, packed: int, limits: ArchiveLimits) -> None:
    """Raises TooLarge for an archive of `packed` bytes that unpacks to `size`."""
    if size > limits.max_total_bytes:
        raise TooLarge(
            f"Unpacked the archive would take {size / 1e9:.1f} GB; "
            f"the limit is {limits.max_total_bytes / 1e9:.1f} GB.",
            remedy="Split the archive.",
        )
    if size > BLOCK and size > limits.max_ratio * packed:
        raise bomb("The archive", size, packed, limits)


def bomb(what: str, size: int, packed: int, limits: ArchiveLimits) -> TooLarge:
    return TooLarge(
        f"{what} unpacks to {size / max(packed, 1):.0f} times its size; "
        f"the limit is {limits.max_ratio} times.",
        remedy="Pictures do not shrink like that; pack the real files.",
    )
