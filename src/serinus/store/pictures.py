"""Both pictures of one answer in one file that is named by its own hash, so that a changed byte is found.

<folder>/<sha256 of the file>.pictures         never changed
<folder>/<sha256 of the request's id>.pair     as older versions named them: nothing vouches for the bytes
"""

from typing import NamedTuple

import msgspec

from serinus.artifact.files import sha256_bytes
from serinus.core.errors import Corrupt
from serinus.core.ids import Digest

NAMED = ".pictures"
UNNAMED = ".pair"
_RESTORE = "Restore it from a backup: `serinus store check --repair --from BACKUP`."


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """The pictures of one answer, as they were sent."""

    pre: bytes
    post: bytes


class EncodedPair(NamedTuple):
    digest: Digest
    """sha256 of `data`: what the file is named by."""
    data: bytes


def encode(pair: Pair) -> EncodedPair:
    data = msgspec.msgpack.encode(pair)
    return EncodedPair(sha256_bytes(data), data)


def decode(data: bytes, name: str, digest: str) -> Pair:
    """Raises Corrupt, naming the file `name`, unless it holds what `digest` names.

    An empty digest, of an older file, vouches for nothing: then it only has to be readable.
    """
    if digest and sha256_bytes(data) != digest:
        raise changed(name)
    try:
        return msgspec.msgpack.decode(data, type=Pair)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Corrupt(f"{name} holds no pictures that can be read: {error}.", remedy=_RESTORE) from error


def key(folder: str, digest: str) -> str:
    return f"{folder}/{digest}{NAMED}"


def unnamed_key(folder: str, request_id: str) -> str:
    """Request ids may come from clients: they name no file."""
    return f"{folder}/{sha256_bytes(request_id.encode())}{UNNAMED}"


def changed(name: str) -> Corrupt:
    return Corrupt(f"{name} is not what was written: its hash does not name it.", remedy=_RESTORE)


def missing(name: str) -> Corrupt:
    return Corrupt(f"{name} is missing.", remedy=_RESTORE)
