"""One view folder, `views/<seq>-<role>/`: what it must hold, and what in it is somebody else's.

While a version is on trial `MODEL_DIR/canary` is our link to such a folder, so a training container that
knows nothing of that may write its model right into it. Ours are the links to the artifact's files and the
projected `version.json`; all else is a *stray*, which is carried to `incoming/` and never destroyed.
"""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import msgspec

from serinus.artifact.manifest import Manifest
from serinus.core.enums import Arm, VersionState
from serinus.core.errors import Corrupt
from serinus.core.ids import Digest, Version
from serinus.rollout.state import VersionRecord
from serinus.store.local import open_file

VERSION_JSON = "version.json"
VIEW = re.compile(r"(\d{10})-(current|canary)(-[0-9a-f]+)?")
_LINK = re.compile(r"\.\./\.\./artifacts/([0-9a-f]{64})/([^/]+)")
_MOST_BYTES = 1 << 20


class Metrics(msgspec.Struct, frozen=True, kw_only=True):
    """The documented names; null where the manifest does not say."""

    train_epochs: int | None
    final_map: float | None
    final_precision: float | None
    final_recall: float | None


class VersionCard(msgspec.Struct, frozen=True, kw_only=True):
    """`version.json`: the documented fields first. Times are UTC without a zone, `2024-01-15T10:30:00`."""

    version: Version
    timestamp: str
    canary_start_time: str | None
    traffic_weight: float
    metrics: Metrics
    sha256: Digest
    role: Arm
    state: VersionState
    note: str


class View(NamedTuple):
    """What a view folder must hold."""

    links: dict[str, str]
    card: bytes


def iso(seconds: float) -> str:
    """UTC seconds as the documented time stamp, whole seconds, no zone."""
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat(timespec="seconds")


def card(record: VersionRecord, manifest: Manifest, role: Arm, *, weight: float) -> VersionCard:
    """Projects a version into its `version.json`."""
    epochs = manifest.metrics.get("train_epochs")
    return VersionCard(
        version=record.version,
        timestamp=iso(record.published_at),
        canary_start_time=None if record.canary_at is None else iso(record.canary_at),
        traffic_weight=weight,
        metrics=Metrics(
            train_epochs=None if epochs is None else int(epochs),
            final_map=manifest.metrics.get("map50"),
            final_precision=manifest.metrics.get("precision"),
            final_recall=manifest.metrics.get("recall"),
        ),
        sha256=record.digest,
        role=role,
        state=record.state,
        note=record.note,
    )


def read_link(path: Path) -> str | None:
    """Where a symbolic link points, None when it is none."""
    try:
        return str(path.readlink())
    except OSError:
        return None


def holds(folder: Path, view: View) -> bool:
    """Whether `folder` holds exactly `view`."""
    try:
        return (
            {path.name for path in folder.iterdir()} == {*view.links, VERSION_JSON}
            and all(read_link(folder / name) == target for name, target in view.links.items())
            and _read(folder / VERSION_JSON) == view.card
        )
    except (OSError, Corrupt):
        return False


def encode_card(document: VersionCard) -> bytes:
    """The bytes of `version.json`."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def strays(folder: Path) -> set[str]:
    """Names in the folder of a view that are none of ours; empty when there is no such folder.

    A `version.json` alone that is damaged, or changed by hand, is still ours: it is made again. Beside
    another stray it is theirs unless it is as it was generated.
    """
    try:
        names = {path.name for path in folder.iterdir()}
    except OSError:
        return set()
    linked = {name: _linked(folder / name) for name in names}
    found = {name for name in names - {VERSION_JSON} if not linked[name]}
    if VERSION_JSON in names and not _is_ours(folder / VERSION_JSON, set(linked.values()), alone=not found):
        found.add(VERSION_JSON)
    return found


def being_written(folder: Path) -> bool:
    """Whether a stray may be of a model, whole or in part: then its trainer needs the folder where it is."""
    return any(
        name == VERSION_JSON or ".pt" in name or ".onnx" in name or (folder / name).is_dir()
        for name in strays(folder)
    )


def strip(folder: Path) -> None:
    """Removes what is ours; a kill on the way leaves what can be stripped again."""
    names = {path.name for path in folder.iterdir()} - strays(folder)
    for name in sorted(names, key=lambda name: name != VERSION_JSON):  # its links vouch for it
        (folder / name).unlink(missing_ok=True)


def _linked(path: Path) -> str:
    """The digest that one of our links names; empty when it is none."""
    match = _LINK.fullmatch(read_link(path) or "")
    return match[1] if match and match[2] == path.name else ""


def _is_ours(path: Path, digests: set[str], *, alone: bool) -> bool:
    try:
        data = _read(path)
    except (OSError, Corrupt):
        return False
    if alone and (not _says_something(data) or _looks_generated(data, digests)):
        return True
    try:
        document = msgspec.json.decode(data, type=VersionCard)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return document.sha256 in digests and encode_card(document) == data


def _says_something(data: bytes) -> bool:
    """Not where a power cut tore it: views are not synced."""
    try:
        return bool(msgspec.json.decode(data, type=dict[str, object]))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False


def _looks_generated(data: bytes, digests: set[str]) -> bool:
    """By what no trainer writes; one of these may be damaged."""
    marks = (b'"sha256"', b'"role"', b'"state"', *(digest.encode() for digest in digests if digest))
    return sum(mark in data for mark in marks) > 1


def _read(path: Path) -> bytes:
    with open_file(path) as file:
        return file.read(_MOST_BYTES)
