"""Which versions may be removed to save space. Pure: it takes the state and what replicas have loaded.

Removing takes the artifact away and nothing else: the version keeps its number, its manifest and its history.
"""

from collections.abc import Set

import msgspec

from serinus.core.enums import VersionState
from serinus.core.errors import InvalidInput
from serinus.core.ids import Digest, Version
from serinus.rollout.state import State
from serinus.rollout.transitions import needed


class Fate(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of a version, and why."""

    version: Version
    digest: Digest
    remove: bool
    why: str


def plan(state: State, *, keep: int, loaded: Set[Digest]) -> list[Fate]:
    """The fate of every version that was not removed before, the newest first.

    `keep`: how many of the newest stay whatever they are; `loaded`: artifacts that replicas have in memory.
    Raises InvalidInput for a negative `keep`.
    """
    if keep < 0:
        raise InvalidInput(f"{keep} versions cannot be kept.", remedy="Give 0 or more.")
    records = [record for record in reversed(state.versions.values()) if record.state != VersionState.REMOVED]
    fates = []
    for place, record in enumerate(records):
        why = needed(state, record.version)
        if why is None and record.digest in loaded:
            why = "a replica has it loaded"
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
