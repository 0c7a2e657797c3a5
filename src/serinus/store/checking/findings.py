"""What a check says: one finding for each thing that is not as it should be."""

from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple

import msgspec


class Severity(StrEnum):
    ERROR = "error"
    """What must be there is damaged or missing."""
    WARNING = "warning"
    """What is generated or passing is wrong: nothing is lost, and nothing wrong is served."""
    INFO = "info"
    """Good to know; nothing needs to be done."""


class Kind(StrEnum):
    """What is the matter; `Finding.name` says with which file."""

    CHANGED = "changed"
    """Its hash is not what was written, or the disk does not give it."""
    UNREADABLE = "unreadable"
    """This user may not read it, so nothing is known about it."""
    MISSING = "missing"
    EXTRA = "extra"
    """It does not belong there."""
    CHAIN = "chain"
    """It does not follow its predecessor."""
    LOST = "lost"
    """Others name what comes after the end: the newest part was lost."""
    SNAPSHOT = "snapshot"
    """A short cut that does not lead to where the journal leads."""
    ORPHAN = "orphan"
    """Complete, but nothing names it."""
    UNRECORDED = "unrecorded"
    """An edition that no event names, so that its loss would not be found."""
    REMOVED = "removed"
    """An artifact that only removed versions have; `versions gc` takes it away."""
    UNFINISHED = "unfinished"
    """A `store copy` into this store was interrupted."""
    TORN = "torn"
    """A passing document (heartbeat, observation, hint) that is skipped by its readers."""
    HINT = "hint"
    """`routes.json` contradicts the journal."""
    LEFTOVER = "leftover"
    """A killed writer left it."""
    VIEW = "view"
    """A link or a generated folder does not say what the journal says."""
    MODE = "mode"
    """What never changes can be written."""
    UNSEALED = "unsealed"
    """An older version wrote it without a hash: it can be read, and more cannot be said."""
    COPY = "copy"
    """A local copy of what lies in a bucket is damaged."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    severity: Severity
    kind: Kind
    name: str
    """Path or address of the file or folder."""
    words: str
    """What is wrong with it."""
    remedy: str
    """What to do; empty where nothing needs to be done."""
    repairable: bool
    """Whether a repair knows what to do, as far as can be told before it is tried."""
    repaired: bool = False


class Problem(NamedTuple):
    """A finding with what heals it."""

    finding: Finding
    heal: Callable[[], bool] | None = None
    """Heals it without loss; False when it could not."""


def problem(
    severity: Severity,
    kind: Kind,
    name: str,
    words: str,
    *,
    remedy: str = "",
    heal: Callable[[], bool] | None = None,
) -> Problem:
    finding = Finding(
        severity=severity, kind=kind, name=name, words=words, remedy=remedy, repairable=heal is not None
    )
    return Problem(finding, heal)


REPAIR = "`serinus store check --repair` heals it."
RESTORE = "`serinus store check --repair --from BACKUP` restores it from a copy that has it."
