"""Which versions may be removed to save space. Pure: it takes the state and what replicas hold.

Removing takes the artifact away and nothing else: the version keeps its number, its manifest and its history.
"""

from collections.abc import Iterable, Mapping

import msgspec

from serinus.core.enums import VersionState
from serinus.core.errors import InvalidInput
from serinus.core.ids import Digest, Version
from serinus.rollout.events import Event, Promoted, RolloutStarted, Undone, Verified
from serinus.rollout.state import State, once_current, waiting
from serinus.rollout.transitions import needed


class Fate(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of a version, and why."""

    version: Version
    digest: Digest
    remove: bool
    why: str


def plan(
    state: State, *, keep: int, held: Mapping[Digest, str], unknown: str = "", queued: bool = False
) -> list[Fate]:
    """The fate of every version that was not removed before, the newest first.

    `keep`: how many of the newest stay whatever they are; `held`: artifacts that replicas have or may have in
    memory, and why; `unknown`: why nobody knows what a replica has, in words: then everything stays;
    `queued`: whether versions may go whose rollout is still to come, all but the newest.
    Raises InvalidInput for a negative `keep`.
    """
    if keep < 0:
        raise InvalidInput(f"{keep} versions cannot be kept.", remedy="Give 0 or more.")
    records = [record for record in reversed(state.versions.values()) if record.state != VersionState.REMOVED]
    to_come = set() if queued else set(waiting(state))
    fallback = {record.version for record in once_current(state)[:1]}
    fates = []
    for place, record in enumerate(records):
        why = needed(state, record.version)
        if why is None and record.version in to_come:
            why = "its rollout is still to come (`--queued` lets go of all but the newest of these)"
        if why is None:
            why = held.get(record.digest) or unknown or None
        if why is None and record.version in fallback:
            why = "replicas fall back to it when current does not load"
        if why is None and place < keep:
            why = f"it is among the {keep} newest" if keep > 1 else "it is the newest"
        fates.append(
            Fate(
                version=record.version,
                digest=record.digest,
                remove=why is None,
                why=why or f"{record.state}, and older than the {keep} newest",
            )
        )
    return fates


def loaded_since(newest_first: Iterable[Event], seq: int) -> set[Version]:
    """Versions that who was last heard of at event `seq` may have begun to load since, by its successors.

    A version is loaded when it becomes the canary, and when undo brings it back. Events before `seq` are read
    only as far as they tell which version a rollout was of.
    """
    versions: set[Version] = set()
    rollouts: set[int] = set()
    for event in newest_first:
        if event.seq <= seq and not rollouts:
            break
        match event.body:
            case Verified(rollout=rollout) if event.seq > seq:
                rollouts.add(rollout)
            case Promoted(version=version) | Undone(version=version) if event.seq > seq:
                versions.add(version)
            case RolloutStarted(rollout=rollout, version=version) if rollout in rollouts:
                rollouts.remove(rollout)
                versions.add(version)
            case _:
                pass
    return versions
