"""Removing old versions: plan, event, then the artifacts."""

import msgspec

from serinus.core.errors import Conflict, Corrupt
from serinus.core.ids import Digest, Version
from serinus.rollout import retention
from serinus.rollout.state import State
from serinus.store import Replica, Store

_ATTEMPTS = 20


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


def collect(
    store: Store, *, keep: int, dry_run: bool, actor: str, reason: str = "", queued: bool = False
) -> Collected:
    """Removes what may be removed and is not among the `keep` newest versions.

    `queued`: also versions whose rollout is still to come, all but the newest of them.
    What needs no event goes first, which makes room for one. `dry_run`: changes nothing. Raises Conflict when
    a version came to be needed meanwhile, and Corrupt for a journal with a hole or a broken link, even one
    that a snapshot bridges; nothing was removed then.
    """
    _read_whole_journal(store)
    gone = store.collect(dry_run=dry_run)
    state, fates = _choose(store, keep, queued)
    sizes = {fate.version: store.artifact_size(fate.digest) for fate in fates}
    for _ in range(_ATTEMPTS):
        removed = tuple(fate.version for fate in fates if fate.remove)
        if not removed or dry_run:
            break
        try:
            store.remove_versions(
                removed,
                actor=actor,
                reason=reason.strip() or f"only the {keep} newest are kept",
                expect=state.seq,
            )
            break
        except Conflict:
            # What was loaded meanwhile was begun by an event, so the choice is made anew.
            state, fates = _choose(store, keep, queued)
    else:
        raise Conflict("The journal moves on too fast.", remedy="Try again.")
    kept = {fate.digest for fate in fates if not fate.remove}
    if dry_run:
        gone |= {f.digest: sizes[f.version] for f in fates if f.remove and f.digest not in kept}
    else:
        gone |= store.collect()
    known = {record.digest for record in state.versions.values()}
    return Collected(
        dry_run=dry_run,
        versions=tuple(
            Fate(
                version=fate.version,
                digest=fate.digest,
                remove=fate.remove,
                why=fate.why,
                bytes=sizes.get(fate.version, 0),
            )
            for fate in fates
        ),
        orphans=tuple(digest for digest in gone if digest not in known),
        bytes_freed=sum(gone.values()),
    )


def _read_whole_journal(store: Store) -> None:
    try:
        for _ in store.events():
            pass
    except Corrupt as error:
        raise Corrupt(f"Nothing is removed: {error.message}", remedy=error.remedy) from error


def _choose(store: Store, keep: int, queued: bool) -> tuple[State, list[retention.Fate]]:
    """The fates by the state of now. The heartbeats are read after it: what they do not say yet, an event of
    later began, and the removal, which expects this state, is refused.
    """
    state = store.state()
    held: dict[Digest, str] = {}
    for replica in store.replicas():
        held |= dict.fromkeys(_may_hold(store, state, replica), f"{replica.replica} may have loaded it since")
        held |= dict.fromkeys(replica.loading, "a replica is loading it")
        held |= dict.fromkeys(replica.loaded, "a replica has it loaded")
    unreadable = store.unreadable_replicas()
    unknown = ""
    if unreadable:
        unknown = (
            f"a replica may have it loaded: {unreadable[0]} cannot be read. If that replica is gone, "
            "`serinus store check --repair` puts it aside"
        )
    return state, retention.plan(state, keep=keep, held=held, unknown=unknown, queued=queued)


def _may_hold(store: Store, state: State, replica: Replica) -> set[Digest]:
    """What a replica whose heartbeat is of an older event may have loaded since."""
    if replica.seq >= state.seq:
        return set()
    return {
        state.versions[version].digest
        for version in retention.loaded_since(store.newest_events(), replica.seq)
        if version in state.versions
    }
