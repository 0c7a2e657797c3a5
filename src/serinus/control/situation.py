"""What there is to decide on about the active rollout: the same for the controller and who looks ahead."""

from serinus.control.gather import Readings
from serinus.control.judged import FeedbackWatch
from serinus.control.ledger import Standing, step_proof
from serinus.control.recovery import Recovery
from serinus.core.enums import ReasonCode, RolloutPhase
from serinus.rollout.decide import Situation
from serinus.rollout.feedback import vouched
from serinus.rollout.state import Rollout, State
from serinus.store import Store


class Watch:
    """Reads situations; remembers the slices and feedback that it has read. To be used from one thread."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._recovery = Recovery(store)
        self._feedback = FeedbackWatch(store)

    def situation(
        self, state: State, rollout: Rollout, at: Standing, readings: Readings, now: float
    ) -> Situation:
        """`now`: UTC seconds. Raises Corrupt, naming a damaged file."""
        shared = rollout.phase is RolloutPhase.HELD and rollout.code is ReasonCode.SHARED_FAILURE
        judged = self._feedback.standing(state, rollout)
        return Situation(
            now=now,
            clock=at.clock,
            verdict=at.verdict(readings.in_flight),
            load_failure=readings.load_failure,
            tripped=readings.tripped,
            ready=readings.ready,
            outage_over=shared and self._recovery.over(rollout, at.last),
            vouched=vouched(rollout, judged),
            step=step_proof(self._store, rollout, at, readings.in_flight),
            disagreement="" if at.shadow is None else at.shadow.objection,
            feedback=judged,
        )
