"""Removing old versions: plan, event, then the artifacts."""

import msgspec

from serinus.core.ids import Digest, Version
from serinus.rollout.retention import plan
from serinus.store import Store


class Fate(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a version, or would."""

    version: Version
    digest: Digest
    remove: bool
    why: str
    bytes: int


class Collected(msgspec.Struct, frozen=True, kw_only=True):
    """What a collection came to, or would."""

    dry_run: bool
    versions: tuple[Fate, ...]
    """Every version that was not removed before, the newest first."""
    orphans: tuple[Digest, ...]
    """Artifacts that no version has, left by publications that never ended."""
    bytes_freed: int


def collect(store: Store, *, keep: int, dry_run: bool, actor: str, reason: str = "") -> Collected:
    """Removes what may be removed and is not among the `keep` newest versions.

    `dry_run`: changes nothing. Raises Conflict when a version came to be needed meanwhile; nothing was
    removed then.
    """
    loaded = {digest for replica in store.replicas() for digest in replica.loaded}
    state = store.state()
    fates = plan(state, keep=keep, loaded=loaded)
    sizes = {fate.version: store.artifact_size(fate.digest) for fate in fates}
    removed = tuple(fate.version for fate in fates if fate.remove)
    kept = {fate.digest for fate in fates if not fate.remove}
    if removed and not dry_run:
        store.remove_versions(
            removed, actor=actor, reason=reason.strip() or f"only the {keep} newest are kept"
        )
    gone = store.collect(dry_run=dry_run)
    if dry_run:
        gone |= {f.digest: sizes[f.version] for f in fates if f.remove and f.digest not in kept}
    known = {record.digest for record in state.versions.values()}
    return Collected(
        dry_run=dry_run,
        versions=tuple(
            Fate(
                version=fate.version,
                digest=fate.digest,
                remove=fate.remove,
                why=fate.why,
                bytes=sizes[fate.version],
            )
            for fate in fates
        ),
        orphans=tuple(digest for digest in gone if digest not in known),
        bytes_freed=sum(gone.values()),
    )
