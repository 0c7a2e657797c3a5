"""Signatures of manifests: ed25519 (RFC 8032) over the manifest's bytes.

A digest says that a version is what was published; it does not say by whom. Whoever can write to the store
can publish, under a digest that is as right as any other. A signature binds a manifest to the holder of a
private key, who need not have access to the store at all, and whom its other writers cannot impersonate.

What is signed. The bytes of the manifest as they would be without a signature, after a prefix that no other
protocol uses, so that a signature made here means nothing elsewhere and the other way round. The signature
then becomes a member of the manifest, and the artifact's digest covers it. Verification starts from the bytes
of the file, never from the decoded values: a file in any other form than the one that `encode_document` gives
(a member twice, other spaces) has no valid signature, so what was signed and what is read cannot differ, and
members that this version of Serinus does not know are covered like the others.

What it vouches for: every file, through its hash; the contract; the lineage; the metrics; the note; the time
of publication as the signer's clock had it.

What it does not vouch for: the journal. Which number the version has, whether it serves, and with which
share, is said by events that are chained but not signed; who can write them can bring back an old version
that was signed in good faith. Nor does it say that the model is good: that is what the other checks are for.
"""

import base64
import binascii
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from serinus.artifact.manifest import Manifest, Signature, encode_document, encode_manifest
from serinus.core.enums import SignatureStanding
from serinus.core.errors import Misconfigured

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

ALGORITHM = "ed25519"
_PREFIX = b"serinus: signature of a manifest, form 1\n"
_SHORT = 16


class PublicKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key whose signatures can be checked."""

    name: str
    """What people call it: the name of its file."""
    id: str
    """Fingerprint: sha256 of its DER form (SubjectPublicKeyInfo), in hex."""
    raw: bytes
    """32 bytes."""

    def __str__(self) -> str:
        return f"{self.name} ({short(self.id)})"


Keyring: TypeAlias = Mapping[str, PublicKey]
"""Trusted keys by fingerprint."""
NO_KEYS: Keyring = {}


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What a manifest's signature is worth, given the trusted keys."""

    standing: SignatureStanding
    key: str = ""
    """Fingerprint that the signature names; empty when there is none."""
    name: str = ""
    """Name of that key, if it is a trusted one."""
    words: str


UNSIGNED = Finding(standing=SignatureStanding.UNSIGNED, words="It is not signed.")


def short(key: str) -> str:
    """The beginning of a fingerprint, for people; whatever stands in its place cannot deceive them."""
    return key[:_SHORT] if set(key) <= set("0123456789abcdef") else repr(key[:_SHORT])


def require_cryptography() -> None:
    """Raises Misconfigured, in words, where the package is not installed."""
    try:
        import cryptography  # noqa: F401
    except ImportError as error:
        raise Misconfigured(
            "Signatures need the package cryptography, which is not installed here.",
            remedy="pip install 'serinus[serve]' (or ui, or train).",
        ) from error


class Signer:
    """Signs manifests with one private key. The same manifest always gets the same signature."""

    def __init__(self, private: "Ed25519PrivateKey", public: PublicKey) -> None:
        self._private = private
        self.public = public

    def __call__(self, manifest: Manifest) -> Manifest:
        """`manifest` with its signature, in place of any that it had."""
        plain = encode_manifest(msgspec.structs.replace(manifest, signature=None))
        value = self._private.sign(_PREFIX + plain)
        signature = Signature(
            algorithm=ALGORITHM, key=self.public.id, value=base64.b64encode(value).decode("ascii")
        )
        return msgspec.structs.replace(manifest, signature=signature)


def examine(data: bytes, keys: Keyring) -> Finding:
    """What the signature in the bytes of a `manifest.json` is worth.

    Raises msgspec.DecodeError when it is no manifest, Misconfigured when the package is missing.
    """
    signature = msgspec.json.decode(data, type=Manifest).signature
    if signature is None:
        return UNSIGNED
    key = keys.get(signature.key)
    if key is None:
        return Finding(
            standing=SignatureStanding.UNKNOWN_KEY,
            key=signature.key,
            words=f"It is signed with the key {short(signature.key)}, which is not trusted.",
        )
    if _holds(data, signature, key):
        return Finding(
            standing=SignatureStanding.TRUSTED, key=key.id, name=key.name, words=f"It is signed by {key}."
        )
    return Finding(
        standing=SignatureStanding.WRONG,
        key=key.id,
        name=key.name,
        words=f"Its signature is wrong: it names {key}, but that key did not sign this manifest. "
        "It was changed after it was signed, or somebody else made it.",
    )


def _holds(data: bytes, signature: Signature, key: PublicKey) -> bool:
    require_cryptography()
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    document: dict[str, Any] = msgspec.json.decode(data)
    exact = document["signature"] == msgspec.to_builtins(signature) and encode_document(document) == data
    if signature.algorithm != ALGORITHM or not exact:
        return False
    plain = encode_document({name: value for name, value in document.items() if name != "signature"})
    try:
        value = base64.b64decode(signature.value, validate=True)
        Ed25519PublicKey.from_public_bytes(key.raw).verify(value, _PREFIX + plain)
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True
