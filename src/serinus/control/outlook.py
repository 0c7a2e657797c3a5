"""What the controller would decide now, and why: the same rule on the same values, without an event."""

from enum import StrEnum

import msgspec

from serinus.control import gather
from serinus.control.ledger import standing
from serinus.control.situation import Watch
from serinus.core.enums import ReasonCode, RolloutPhase
from serinus.core.ids import Clock
from serinus.evidence.needed import good_requests
from serinus.rollout.decide import Advance, Hold, Note, Promote, ResetEpoch, RollBack, Suspend, decide
from serinus.rollout.state import State
from serinus.store import Replica, Store


class Action(StrEnum):
    """What a decision does."""

    WAIT = "wait"
    PROMOTE = "promote"
    ROLL_BACK = "roll_back"
    HOLD = "hold"
    ADVANCE = "advance"
    NOTE = "note"
    RESTART = "restart"


class Outlook(msgspec.Struct, frozen=True, kw_only=True):
    """The decision as it would be now."""

    action: Action
    code: ReasonCode | None = None
    reason: str
    """Why, in words."""
    good_requests_needed: int | None = None
    """Further canary requests, all of them good, that the proof of health takes; None before any traffic."""


_ACTIONS: dict[type, Action] = {
    Hold: Action.WAIT,
    Promote: Action.PROMOTE,
    RollBack: Action.ROLL_BACK,
    Suspend: Action.HOLD,
    Advance: Action.ADVANCE,
    Note: Action.NOTE,
    ResetEpoch: Action.RESTART,
}


class Lookout:
    """Looks ahead. `fresh_seconds`: an older heartbeat counts for nothing. To be used from one thread."""

    def __init__(self, store: Store, *, clock: Clock, fresh_seconds: float) -> None:
        self._store = store
        self._clock = clock
        self._fresh_seconds = fresh_seconds
        self._watch = Watch(store)

    def outlook(self, state: State, replicas: list[Replica]) -> Outlook | None:
        """None without an active rollout. Raises Corrupt, naming a damaged file."""
        rollout = state.rollout
        if rollout is None:
            return None
        if rollout.phase is RolloutPhase.VERIFYING:
            return Outlook(action=Action.WAIT, reason=self._before_traffic(state))
        now = self._clock()
        readings = gather.read(
            replicas,
            canary=state.versions[rollout.version].digest,
            rollout=rollout.number,
            now=now,
            fresh_seconds=self._fresh_seconds,
        )
        at = standing(self._store, rollout)
        situation = self._watch.situation(state, rollout, at, readings, now)
        decision = decide(state, situation)
        on_probes = situation.verdict is not None and situation.verdict.on_probes
        vouching = at.analysis.probes if on_probes else at.analysis.users
        return Outlook(
            action=_ACTIONS[type(decision)],
            code=getattr(decision, "code", None),
            reason=decision.reason,
            good_requests_needed=good_requests(vouching, rollout.policy.max_error_rate),
        )

    def _before_traffic(self, state: State) -> str:
        words = waits_for(self._store, state)
        return f"It passed its checks; {words}." if words else "It is being checked before any traffic."


def waits_for(store: Store, state: State) -> str:
    """Which replicas keep a version waiting that passed its checks, as a clause; empty while that lasts."""
    routes = store.routes()
    return routes.waits_for if routes is not None and routes.seq == state.seq else ""
