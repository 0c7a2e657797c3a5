"""Read models of the versions."""

import msgspec

from serinus.artifact.manifest import Manifest
from serinus.artifact.signing import NO_KEYS, Finding, Keyring
from serinus.control.golden import GoldenResult, results_of
from serinus.control.trust import finding
from serinus.core.enums import VersionState
from serinus.core.errors import NotFound
from serinus.core.ids import Digest, Version
from serinus.rollout.state import VersionRecord
from serinus.store import Store


class VersionRow(msgspec.Struct, frozen=True, kw_only=True):
    """A version in a list."""

    version: Version
    digest: Digest
    state: VersionState
    published_at: float
    """Seconds since 1970-01-01 UTC."""
    note: str
    reason: str
    """Why it is in this state."""
    metrics: dict[str, float]
    signature: Finding
    """Who signed it, and whether that holds."""


class VersionDetail(msgspec.Struct, frozen=True, kw_only=True):
    """A version with its whole manifest."""

    version: Version
    digest: Digest
    state: VersionState
    published_at: float
    """Seconds since 1970-01-01 UTC."""
    note: str
    reason: str
    """Why it is in this state."""
    manifest: Manifest
    signature: Finding
    """Who signed it, and whether that holds."""
    golden: tuple[GoldenResult, ...]
    """What golden sets and held-out pairs said when it was verified last, beside the version current then."""


def versions(store: Store, keys: Keyring = NO_KEYS) -> list[VersionRow]:
    """All versions, the newest first; `keys` are the trusted ones.

    Raises NotFound, Corrupt where an artifact is damaged.
    """
    records = sorted(store.state().versions.values(), key=lambda record: -record.version)
    return [
        _row(record, store.manifest(record.digest), finding(store, record.digest, keys)) for record in records
    ]


def _row(record: VersionRecord, manifest: Manifest, signature: Finding) -> VersionRow:
    return VersionRow(
        version=record.version,
        digest=record.digest,
        state=record.state,
        published_at=record.published_at,
        note=record.note,
        reason=record.reason,
        metrics=manifest.metrics,
        signature=signature,
    )


def version_detail(store: Store, version: Version, keys: Keyring = NO_KEYS) -> VersionDetail:
    """Raises NotFound when there is no such version, Corrupt when its manifest is damaged."""
    record = store.state().versions.get(version)
    if record is None:
        raise NotFound(f"There is no version {version}.", remedy="`serinus versions list` names them.")
    return VersionDetail(
        version=record.version,
        digest=record.digest,
        state=record.state,
        published_at=record.published_at,
        note=record.note,
        reason=record.reason,
        manifest=store.manifest(record.digest),
        signature=finding(store, record.digest, keys),
        golden=results_of(store, version),
    )
