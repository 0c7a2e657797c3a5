"""Key files: PEM, as every other tool writes and reads them.

A pair is two files: `NAME.key`, the private key (PKCS#8), readable by its owner only, which stays with
whoever signs; and `NAME.pem`, the public key, which goes to everybody who verifies. The name of the public
key's file is what people are told.
"""

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from serinus.artifact.signing import Keyring, PublicKey, Signer, require_cryptography
from serinus.core.errors import Conflict, Misconfigured

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

PRIVATE = ".key"
PUBLIC = ".pem"
_MAX_BYTES = 100_000
_ANOTHER = "Give an ed25519 key in PEM; `serinus keys new NAME` makes a pair."


def new_pair(path: Path, seed: bytes) -> tuple[Path, Path, PublicKey]:
    """Makes `path`.key (mode 0600) and `path`.pem from 32 random bytes; gives both paths and the public key.

    Never overwrites: raises Conflict when one of the files is there. Raises OSError for an unusable folder.
    """
    require_cryptography()
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.from_private_bytes(seed)
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    public = key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    stem = path.with_suffix("") if path.suffix in (PRIVATE, PUBLIC) else path
    private_path, public_path = stem.with_name(stem.name + PRIVATE), stem.with_name(stem.name + PUBLIC)
    _create(public_path, public, 0o644)
    try:
        _create(private_path, secret, 0o600)
    except BaseException:
        public_path.unlink()
        raise
    return private_path, public_path, _public(key.public_key(), stem.name)


def _create(path: Path, data: bytes, mode: int) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    except FileExistsError as error:
        raise Conflict(
            f"{path} is there already; a key is never overwritten.", remedy="Choose another name."
        ) from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
    except BaseException:
        path.unlink()
        raise


def read_private(path: Path, password: str = "") -> Signer:
    """A signer with the private key in `path`.

    Raises Misconfigured, in words, when it cannot be read, is encrypted and the password does not open it, is
    another kind of key, or when other users may read it.
    """
    require_cryptography()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    data = _read(path)
    if stat.S_IMODE(path.stat().st_mode) & stat.S_IRWXO:
        raise Misconfigured(
            f"{path} can be read by every user of this machine, so its signatures would prove nothing.",
            remedy=f"`chmod 600 {path}`; if somebody may have read it, make a new key.",
        )
    if b"PRIVATE KEY" not in data:
        raise Misconfigured(f"{path} holds no private key.", remedy=_ANOTHER)
    encrypted = b"ENCRYPTED" in data
    if encrypted and not password:
        raise Misconfigured(
            f"The private key {path} is encrypted, and no password was given.",
            remedy="Set SIGNING_KEY_PASSWORD.",
        )
    try:
        key = serialization.load_pem_private_key(data, password.encode() if encrypted else None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise Misconfigured(
            f"The private key {path} cannot be read{' with this password' if encrypted else ''}.",
            remedy="Check SIGNING_KEY_PASSWORD." if encrypted else _ANOTHER,
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise Misconfigured(f"{path} is no ed25519 key.", remedy=_ANOTHER)
    return Signer(key, _public(key.public_key(), path.stem))


def read_public(path: Path) -> PublicKey:
    """The public key in `path`. Raises Misconfigured, in words."""
    require_cryptography()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    data = _read(path)
    if b"PRIVATE KEY" in data:
        raise Misconfigured(
            f"{path} holds a private key; whoever verifies needs, and should have, only public ones.",
            remedy=f"Name the public key here (`serinus keys new` writes it as NAME{PUBLIC}).",
        )
    try:
        key = serialization.load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Misconfigured(f"{path} holds no public key.", remedy=_ANOTHER) from error
    if not isinstance(key, Ed25519PublicKey):
        raise Misconfigured(f"{path} is no ed25519 key.", remedy=_ANOTHER)
    return _public(key, path.stem)


def read_either(path: Path, password: str = "") -> PublicKey:
    """The public key that `path` holds, or the one of the private key there. Raises Misconfigured."""
    if b"PRIVATE KEY" in _read(path):
        return read_private(path, password).public
    return read_public(path)


def read_trusted(paths: Iterable[Path]) -> Keyring:
    """Public keys by fingerprint: of the files named, and of every `*.pem` in the folders named.

    Raises Misconfigured, naming the file; a key that cannot be read is not left out in silence.
    """
    found: dict[str, PublicKey] = {}
    for path in (file for given in paths for file in _files(given)):
        key = read_public(path)
        found.setdefault(key.id, key)
    return found


def _files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    try:
        yield from sorted(file for file in path.glob(f"*{PUBLIC}") if not file.name.startswith("."))
    except OSError as error:
        raise Misconfigured(f"{path} cannot be read: {error.strerror}.") from error


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_BYTES)
    except OSError as error:
        raise Misconfigured(
            f"The key {path} cannot be read: {error.strerror or error}.",
            remedy="Check the path and its rights.",
        ) from error


def _public(key: "Ed25519PublicKey", name: str) -> PublicKey:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return PublicKey(name=name, id=hashlib.sha256(der).hexdigest(), raw=key.public_bytes_raw())
