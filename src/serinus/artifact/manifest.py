"""The manifest of a version: immutable, named by its own digest, the only thing serving believes."""

import hashlib
from typing import Any, TypeVar

import msgspec

from serinus.core.ids import Digest

_T = TypeVar("_T")


class Contract(msgspec.Struct, frozen=True, kw_only=True):
    """How `model.onnx` wants its input and what it gives.

    Input: `input_name`, uint8, shape [N, H, W, C] with C = len(channels), H and W multiples of `stride`.
    Output: `output_name`, float32, shape [N, K, 6] with K <= max_detections: x1, y1, x2, y2 in input pixels,
    confidence in [0, 1], class id; unused rows have confidence 0.
    """

    channels: tuple[str, ...] = ("pre_r", "pre_g", "pre_b", "post_r", "post_g", "post_b")
    size: int = 256
    """Longest side fed to the network, in pixels. Larger pictures are scaled down, smaller ones are not."""
    stride: int = 16
    """H and W are padded at right and bottom with 0 to multiples of this."""
    classes: tuple[str, ...] = ("no-damage", "minor-damage", "major-damage", "destroyed")
    score_threshold: float = 0.3
    """Detections below this confidence are not shown to users."""
    max_detections: int = 100
    input_name: str = "images"
    output_name: str = "detections"


class FileEntry(msgspec.Struct, frozen=True, kw_only=True):
    sha256: Digest
    size: int
    """Bytes."""


class Lineage(msgspec.Struct, frozen=True, kw_only=True):
    """Where a version came from."""

    trainer: str = ""
    config: dict[str, Any] = {}
    dataset: str = ""
    """Data set id."""
    parent: Digest | None = None
    """Manifest digest of the version it was fine-tuned from."""
    tiles: tuple[str, ...] = ()
    """sha256 of the post image of every training and validation pair: a golden tile must not be here."""
    code: str = ""
    """Version of Serinus that trained it."""


def told(lineage: Lineage, name: str, kind: type[_T], otherwise: _T) -> _T:
    """Member `name` of a lineage's `config` if it is of `kind`: foreign trainers may say anything there."""
    try:
        return msgspec.convert(lineage.config.get(name, otherwise), kind)
    except msgspec.ValidationError:
        return otherwise


class Signature(msgspec.Struct, frozen=True, kw_only=True):
    """Who vouches for a manifest; see `artifact.signing`."""

    algorithm: str
    key: str
    """Fingerprint of the public key: sha256 of its DER form, in hex."""
    value: str
    """The signature, base64."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """`files` maps a relative path (`model.onnx`, `best.pt`, `training/results.csv`) to its hash and size."""

    schema: int = 1
    created: float
    """When the newest file of its draft was written, seconds since 1970-01-01 UTC."""
    contract: Contract
    files: dict[str, FileEntry]
    lineage: Lineage = Lineage()
    metrics: dict[str, float] = {}
    """`map50`, `map50_95`, `precision`, `recall`, `train_epochs`, and per class `map50/<class>`."""
    note: str = ""
    """What changed, in words for people."""
    signature: Signature | None = None
    """Of everything above. An unsigned manifest's file does not have this member."""


def encode_manifest(manifest: Manifest) -> bytes:
    """The bytes of `manifest.json`, laid out for people; equal manifests give equal bytes."""
    document: dict[str, Any] = msgspec.to_builtins(manifest)
    if manifest.signature is None:
        del document["signature"]
    return encode_document(document)


def encode_document(document: dict[str, Any]) -> bytes:
    """The one form of a manifest's JSON: sorted members, two spaces, a line end."""
    return msgspec.json.format(msgspec.json.encode(document, order="sorted"), indent=2) + b"\n"


def content_key(manifest: Manifest) -> Digest:
    """Equal for manifests that differ only in when they were made: such versions share an artifact.

    A signature counts with its key: an unsigned version, or one that somebody else signed, is another one.
    """
    signature = manifest.signature
    if signature is not None:
        signature = msgspec.structs.replace(signature, value="")  # it depends on the time
    encoded = encode_manifest(msgspec.structs.replace(manifest, created=0.0, signature=signature))
    return Digest(hashlib.sha256(encoded).hexdigest())


def decode_manifest(data: bytes) -> Manifest:
    """Raises msgspec.DecodeError (or UnicodeDecodeError) when `data` is no manifest."""
    return msgspec.json.decode(data, type=Manifest)
