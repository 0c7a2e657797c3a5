"""Hypothesis strategies: legal histories of any shape."""

from collections.abc import Callable

from hypothesis import strategies as st

from serinus.core.enums import ReasonCode
from serinus.core.ids import Version
from serinus.rollout.events import (
    Body,
    EpochReset,
    Held,
    Noted,
    Paused,
    PolicyChanged,
    Rejected,
    Removed,
    Resumed,
    ShareChanged,
    Undone,
    Verified,
)
from serinus.rollout.policy import Policy
from serinus.rollout.state import State
from serinus.rollout.table import IllegalTransition
from tests.rollout.histories import History, promoted, published, rolled_back, started


def _active(state: State) -> tuple[int, int]:
    return (state.rollout.number, state.rollout.version) if state.rollout else (state.rollouts + 1, 1)


MOVES: tuple[Callable[[State, int], Body], ...] = (
    lambda state, _: published(state.next_version, initial=not state.versions),
    lambda state, _: published(state.next_version),
    lambda state, n: started(
        state.rollouts + 1, n, supersedes=state.rollout.number if state.rollout else None
    ),
    lambda state, n: Verified(rollout=_active(state)[0], share=(n % 4 + 1) / 4),
    lambda state, _: Rejected(rollout=_active(state)[0], code=ReasonCode.QUALITY_GATE),
    lambda state, _: Paused(rollout=_active(state)[0]),
    lambda state, n: Resumed(rollout=_active(state)[0], clock=float(n)),
    lambda state, n: Held(rollout=_active(state)[0], code=ReasonCode.INSUFFICIENT, k=n),
    lambda state, n: Held(rollout=_active(state)[0], code=ReasonCode.SIGNALS if n > 5 else ReasonCode.DRIFT),
    lambda state, n: Noted(rollout=_active(state)[0], code=ReasonCode.SIGNALS if n > 5 else ReasonCode.DRIFT),
    lambda state, n: ShareChanged(rollout=_active(state)[0], share=n / 10),
    lambda state, n: ShareChanged(rollout=_active(state)[0], share=n / 10, step=n, k=n),
    lambda state, n: PolicyChanged(
        rollout=_active(state)[0],
        policy=Policy(steps=(n / 10, 1.0)),
        share=n / 10 if n > 1 else 0.0,
        fresh=n > 5,
        k=n,
    ),
    lambda state, n: EpochReset(rollout=_active(state)[0], k=n),
    lambda state, _: promoted(*_active(state)),
    lambda state, _: rolled_back(*_active(state)),
    lambda state, _: Undone(version=Version(state.previous or 1), undone=Version(state.current or 1)),
    lambda state, n: Undone(version=Version(n), undone=Version(state.current or 1)),
    lambda _, n: Removed(versions=(Version(n),)),
)
"""What somebody may try next, whether or not the state allows it; `n` in 1..9."""


@st.composite
def histories(draw: st.DrawFn, longest: int = 30) -> History:
    """What remains of random moves when the illegal ones were refused."""
    history = History()
    moves = draw(st.lists(st.tuples(st.sampled_from(MOVES), st.integers(1, 9)), max_size=longest))
    for move, n in moves:
        try:
            history.append(move(history.state, n))
        except IllegalTransition:
            continue
    return history
