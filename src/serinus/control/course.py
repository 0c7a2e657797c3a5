"""A rollout in memory: slices that were counted already are judged as a rollout under a policy judges them.

`decide` and the table of transitions are those of the controller; the journal is one in memory. What no
policy decides comes from outside: the slices with their clock, and what people did.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import msgspec

from serinus.control.ledger import Standing, going_on, observed, params_of, with_pairs
from serinus.control.outcomes import body_of
from serinus.control.placed import Placed
from serinus.core.enums import ReasonCode, RolloutPhase
from serinus.evidence import steps
from serinus.evidence.analysis import Analysis, Params, begin
from serinus.evidence.outage import Aftermath
from serinus.evidence.pairs import PairEvidence
from serinus.evidence.replay import ReplayDecision
from serinus.evidence.steps import StepProof
from serinus.rollout.decide import Promote, Situation, decide
from serinus.rollout.events import Body, Event, Held, Promoted, Resumed, RolledBack, RolloutStarted
from serinus.rollout.feedback import FeedbackStanding, vouched
from serinus.rollout.policy import Policy
from serinus.rollout.state import Rollout, State
from serinus.rollout.table import IllegalTransition
from serinus.rollout.transitions import apply
from serinus.store import FrozenSlice

Judged: TypeAlias = Callable[[State, Rollout, float], FeedbackStanding | None]
"""What users had judged until then (UTC seconds)."""

_BLAMES = frozenset({ReasonCode.ERRORS, ReasonCode.SIGNALS, ReasonCode.LATENCY})


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One decision."""

    decision: ReplayDecision
    """A hold extends the evaluation."""
    code: ReasonCode | None
    slice: int
    """Number of the frozen slice that it rests on; -1 when there was none."""
    reason: str
    """In words."""
    seq: int | None = None
    """Its event in the journal, where it was recorded."""


class Course:
    """A journal in memory: what was recorded from outside, and what is decided here."""

    def __init__(
        self,
        state: State,
        *,
        outside: Sequence[Placed] = (),
        promoted: Mapping[str, float] | None = None,
        feedback: Judged | None = None,
    ) -> None:
        """`state`: when the canary got its traffic. `outside`: what people did since then.

        `promoted`: digest of a slice that a recorded promotion rests on -> requests in flight that it noted.
        """
        self._state = state
        self._feedback = feedback
        self._outside = list(outside)
        self._promoted = dict(promoted or {})
        assert state.rollout is not None
        self._policy = state.rollout.policy
        self._window_from = state.rollout.window_from
        self._analysis: Analysis
        self._shadow: PairEvidence | None
        self._frozen: Analysis | None = None
        self._frozen_shadow: PairEvidence | None = None
        self._step_began: Analysis | None = None
        self._go_on(state.rollout)
        self._aftermath = Aftermath()
        self.counted = 0
        self._last: FrozenSlice | None = None
        self.verdict = self.standing.verdict()
        self.decisions: list[Step] = []

    @property
    def over(self) -> bool:
        return self._state.rollout is None

    def turn(self, frozen: FrozenSlice) -> None:
        """One more slice, after what happened before it was frozen."""
        while not self.over and self._outside and self._outside[0].before(frozen):
            self._happened(self._outside.pop(0))
        if self._state.rollout is None:
            return
        self._observe(frozen, self._state.rollout)
        while not self.over and self._outside and self._outside[0].missed_by(frozen):
            self._happened(self._outside.pop(0))
        if not self.over:
            self._decide(frozen)

    def _observe(self, frozen: FrozenSlice, rollout: Rollout) -> None:
        self._go_on(rollout)
        self._last = frozen
        self.counted += sum(cell.successes + cell.failures for cell in frozen.slice)
        self._analysis = observed(
            self._analysis, frozen.slice, self._params, clock=frozen.clock, rollout=rollout
        )
        self._shadow = with_pairs(self._shadow, frozen.pairs, self._policy)
        self._frozen, self._frozen_shadow = self._analysis, self._shadow
        if rollout.phase is RolloutPhase.HELD:
            self._aftermath.add(frozen.slice)

    def _go_on(self, rollout: Rollout) -> None:
        """The evidence after the newest slice and what followed, as `ledger.standing` has it."""
        self._analysis = going_on(self._frozen, rollout)
        self._shadow = with_pairs(self._frozen_shadow, None, rollout.policy)

    def finish(self) -> None:
        """The recording ends: what happened after its last slice."""
        while self._outside and not self.over:
            self._happened(self._outside.pop(0), ended=True)

    @property
    def policy(self) -> Policy:
        """The one that it followed at last."""
        ended = self._state.last if self._state.rollout is None else self._state.rollout
        assert ended is not None
        return ended.policy

    @property
    def decision(self) -> ReplayDecision:
        return self.decisions[-1].decision if self.decisions else ReplayDecision.EXTEND

    @property
    def blame(self) -> ReasonCode | None:
        """What a rollback blames the canary for."""
        code = self.decisions[-1].code if self.decision is ReplayDecision.ROLLBACK else None
        return code if code in _BLAMES else None

    @property
    def words(self) -> str:
        """Why it was decided so, or what is missing."""
        return self.decisions[-1].reason if self.decisions else self._undecided()

    def _undecided(self) -> str:
        left = self._policy.window_seconds - self.standing.window
        open_still = f"; the window is open for another {left:.0f} s" if left > 0 else ""
        return f"{self.verdict.words}{open_still}"

    @property
    def standing(self) -> Standing:
        return Standing(
            self._last, self._analysis, self._params, self._policy, self._shadow, self._window_from
        )

    @property
    def _params(self) -> Params:
        return params_of(self._policy)

    def _decide(self, frozen: FrozenSlice) -> None:
        rollout = self._state.rollout
        assert rollout is not None
        at = self.standing
        noted = self._promoted.get(at.digest) if self._promoted else None
        in_flight = frozen.in_flight if noted is None else min(frozen.in_flight, int(noted))
        self.verdict = at.verdict(in_flight)
        judged = None if self._feedback is None else self._feedback(self._state, rollout, frozen.time)
        situation = Situation(
            now=frozen.time,
            clock=at.clock,
            verdict=self.verdict,
            ready=frozen.ready or noted is not None,
            tripped=frozen.tripped and noted is None,
            outage_over=self._aftermath.over(rollout.policy.max_error_rate),
            vouched=vouched(rollout, judged),
            step=self._step(in_flight) if rollout.policy.steps else None,
            disagreement="" if self._shadow is None else self._shadow.objection,
            feedback=judged,
        )
        decision = decide(self._state, situation)
        if isinstance(decision, Promote) and self._withheld(at.digest):
            return
        body = body_of(decision, rollout, at, self.verdict, step=situation.step, feedback=situation.feedback)
        if body is None:
            return
        if (step := step_of(body, at.k, decision.reason)) is not None:
            self.decisions.append(step)
        self._apply(body, time=frozen.time, reason=decision.reason)

    def _step(self, in_flight: int) -> StepProof:
        began = begin(self._params) if self._step_began is None else self._step_began
        return steps.proof(self._analysis, began, self._params, in_flight)

    def _withheld(self, digest: str) -> bool:
        """Whether a promotion on this slice was due, and the settings stood in its way."""
        following = self._outside[0].event.body if self._outside else None
        return isinstance(following, Held) and following.evidence == digest

    def _happened(self, one: Placed, *, ended: bool = False) -> None:
        """Somebody did something; a what-if may be where it makes no sense, and passes over it.

        The next look of a controller decides: on a slice more if there is news, else on the newest again.
        `ended`: no slice comes any more.
        """
        event, body = one.event, one.event.body
        assert self._state.rollout is not None
        waited = self._state.rollout.code is ReasonCode.SIGNATURE
        if isinstance(body, RolloutStarted):
            return  # another version took its place: the slices end here
        try:
            self._apply(body, time=event.time, reason=event.reason)
        except IllegalTransition:
            return
        if self._last is None or self.over:
            return
        # A promotion that had to wait for the settings rests on what was counted until then.
        again = ended and isinstance(body, Resumed) and (not waited or self._last.digest in self._promoted)
        if one.decided == self._last.k or again:
            self._decide(self._last)

    def _apply(self, body: Body, *, time: float, reason: str) -> None:
        before = self._state.rollout
        event = Event(
            seq=self._state.seq + 1,
            id="",
            prev=self._state.head,
            time=time,
            actor="replay",
            reason=reason,
            body=body,
        )
        self._state = apply(self._state, event, "")
        if isinstance(body, Held):
            self._aftermath = Aftermath()
        if before is not None and self._state.rollout is not None:
            if self._state.rollout.step_after != before.step_after:
                self._step_began = self._frozen
            self._policy = self._state.rollout.policy
            self._window_from = self._state.rollout.window_from
            self._go_on(self._state.rollout)


def step_of(body: Body, k: int, reason: str) -> Step | None:
    """The decision that an event tells; None for what decides nothing."""
    match body:
        case Promoted(code=code):
            return Step(decision=ReplayDecision.PROMOTE, code=code, slice=k, reason=reason)
        case RolledBack(code=code):
            return Step(decision=ReplayDecision.ROLLBACK, code=code, slice=k, reason=reason)
        case Held(code=code):
            return Step(decision=ReplayDecision.EXTEND, code=code, slice=k, reason=reason)
        case _:
            return None
