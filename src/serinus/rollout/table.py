"""What may happen when, as one table, and the words for what may not.

The table is the life of one rollout: its phase, an event, its next phase. None is the time when no rollout
is active. A `rollout_started` that supersedes takes two rows: it ends the active rollout, then starts the
new one. Whatever the table does not list is refused before it is written. Pure: no clock, no files.
"""

from collections.abc import Mapping
from typing import TypeAlias

from serinus.core.enums import RolloutPhase, VersionState
from serinus.core.errors import Conflict
from serinus.rollout.events import (
    Body,
    EditionSaved,
    EpochReset,
    Held,
    ImportRejected,
    Lost,
    Noted,
    Paused,
    PolicyChanged,
    Promoted,
    Published,
    Rejected,
    Removed,
    Resumed,
    RolledBack,
    RolloutStarted,
    ShareChanged,
    Undone,
    Verified,
)
from serinus.rollout.state import Rollout, State

Phase: TypeAlias = RolloutPhase | None
Kind: TypeAlias = type[Body]

_VERIFYING, _CANARY = RolloutPhase.VERIFYING, RolloutPhase.CANARY
_PAUSED, _HELD = RolloutPhase.PAUSED, RolloutPhase.HELD

TRANSITIONS: Mapping[tuple[Phase, Kind], Phase] = {
    (None, Published): None,
    (None, Undone): None,
    (None, Removed): None,
    (None, RolloutStarted): _VERIFYING,
    (_VERIFYING, Published): _VERIFYING,
    (_VERIFYING, Removed): _VERIFYING,
    (_VERIFYING, PolicyChanged): _VERIFYING,
    (_VERIFYING, Verified): _CANARY,
    (_VERIFYING, Rejected): RolloutPhase.REJECTED,
    (_VERIFYING, RolledBack): RolloutPhase.ROLLED_BACK,
    (_VERIFYING, RolloutStarted): RolloutPhase.SUPERSEDED,
    (_CANARY, Published): _CANARY,
    (_CANARY, Removed): _CANARY,
    (_CANARY, ShareChanged): _CANARY,
    (_CANARY, PolicyChanged): _CANARY,
    (_CANARY, Paused): _PAUSED,
    (_CANARY, Held): _HELD,
    (_CANARY, Noted): _CANARY,
    (_CANARY, Promoted): RolloutPhase.PROMOTED,
    (_CANARY, RolledBack): RolloutPhase.ROLLED_BACK,
    (_CANARY, RolloutStarted): RolloutPhase.SUPERSEDED,
    (_PAUSED, Published): _PAUSED,
    (_PAUSED, Removed): _PAUSED,
    (_PAUSED, ShareChanged): _PAUSED,
    (_PAUSED, PolicyChanged): _PAUSED,
    (_PAUSED, Resumed): _CANARY,
    (_PAUSED, Promoted): RolloutPhase.PROMOTED,
    (_PAUSED, RolledBack): RolloutPhase.ROLLED_BACK,
    (_PAUSED, RolloutStarted): RolloutPhase.SUPERSEDED,
    (_HELD, Published): _HELD,
    (_HELD, Removed): _HELD,
    (_HELD, ShareChanged): _HELD,
    (_HELD, PolicyChanged): _HELD,
    (_HELD, Resumed): _CANARY,
    (_HELD, EpochReset): _CANARY,
    (_HELD, Promoted): RolloutPhase.PROMOTED,
    (_HELD, RolledBack): RolloutPhase.ROLLED_BACK,
    (_HELD, RolloutStarted): RolloutPhase.SUPERSEDED,
    **{
        (phase, kind): phase
        for kind in (ImportRejected, EditionSaved, Lost)
        for phase in (None, _VERIFYING, _CANARY, _PAUSED, _HELD)
    },
}

TERMINAL = frozenset(
    {RolloutPhase.PROMOTED, RolloutPhase.ROLLED_BACK, RolloutPhase.REJECTED, RolloutPhase.SUPERSEDED}
)

LOOK_AGAIN = "Look at the state again, then decide."

STARTABLE = frozenset({VersionState.PUBLISHED, VersionState.RETIRED, VersionState.REJECTED})
"""Version states from which a rollout may start."""

VERBS: Mapping[Kind, str] = {
    Published: "publish",
    ImportRejected: "reject an import",
    RolloutStarted: "start a rollout",
    Verified: "make it the canary",
    Rejected: "reject it",
    Paused: "pause",
    Resumed: "resume",
    Held: "hold",
    Noted: "note",
    ShareChanged: "change the share",
    PolicyChanged: "change the policy",
    EpochReset: "restart the evidence",
    Promoted: "promote",
    RolledBack: "roll back",
    Undone: "undo",
    Removed: "remove versions",
    EditionSaved: "save an edition",
    Lost: "accept the loss of events",
}

_PHASE_WORDS: Mapping[Phase, str] = {
    None: "no rollout is active",
    _VERIFYING: "is being verified",
    _CANARY: "is a canary",
    _PAUSED: "is paused",
    _HELD: "is held",
}


class IllegalTransition(Conflict):
    """The state does not allow this event; nothing was written."""


def kind_name(kind: Kind) -> str:
    """The name of an event kind as it stands in the journal, such as `rolled_back`."""
    return str(kind.__struct_config__.tag)


def following(state: State, kind: Kind) -> Phase:
    """The phase after an event of that kind. Raises IllegalTransition when the table has no row for it."""
    phase = state.rollout.phase if state.rollout else None
    if (phase, kind) in TRANSITIONS:
        return TRANSITIONS[phase, kind]
    raise IllegalTransition(f"Cannot {VERBS[kind]}: {situation(state)}.", remedy=_possible(state, kind))


def active(state: State, number: int, kind: Kind) -> Rollout:
    """The rollout that is active. Raises IllegalTransition when it is not the one that was meant."""
    if state.rollout is None or state.rollout.number != number:
        raise IllegalTransition(
            f"Cannot {VERBS[kind]}: this was meant for rollout {number}, but {situation(state)}.",
            remedy=LOOK_AGAIN,
        )
    return state.rollout


def situation(state: State) -> str:
    """What is going on, in words that follow `but`."""
    if state.rollout is None:
        return _PHASE_WORDS[None]
    rollout = state.rollout
    return f"rollout {rollout.number} (version {rollout.version}) {_PHASE_WORDS[rollout.phase]}"


def _possible(state: State, kind: Kind) -> str:
    """When it would be possible, and the way there if there is one step."""
    phases = [phase for phase, possible in TRANSITIONS if possible is kind]
    if phases == [None]:
        number = state.rollout.number if state.rollout else 0
        return f"Roll back or promote rollout {number} first."
    return f"That needs a rollout that {either([_PHASE_WORDS[phase] for phase in phases])}."


def either(words: list[str]) -> str:
    """`a, b or c`."""
    return " or ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]
