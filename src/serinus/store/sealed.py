"""Documents that carry their own check, so that a flipped byte is found in the file that holds it.

A chain of hashes vouches for a file only once it has a successor; the seal vouches for the last one too. The
file stays one JSON object: the last member, `check`, is the sha256 of all bytes before it.
"""

from serinus.artifact.files import sha256_bytes
from serinus.core.errors import Corrupt

_OPEN = b',"check":"'
_CLOSE = b'"}\n'
_TAIL = len(_OPEN) + 64 + len(_CLOSE)
_RESTORE = "Restore this file from a backup; nothing after it can be trusted without it."


def seal(document: bytes) -> bytes:
    """The file's bytes for `document`, the JSON of an object that is not empty."""
    body = document[:-1]
    return body + _OPEN + sha256_bytes(body).encode() + _CLOSE


def unseal(data: bytes, name: str, *, remedy: str = _RESTORE) -> bytes:
    """The JSON that was sealed. Raises Corrupt, naming `name`, when a byte differs from what was written.

    `remedy`: what to do about a file that can be made anew.
    """
    body = data[:-_TAIL]
    if not body or data != seal(body + b"}"):
        raise Corrupt(
            f"{name} is not what was written: its check does not match.",
            remedy=remedy,
        )
    return body + b"}"
