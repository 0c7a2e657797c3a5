"""When feedback is looked at, and what it forbids."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serinus.core.enums import ReasonCode, Stratum
from serinus.evidence.analysis import Verdict
from serinus.evidence.steps import StepProof
from serinus.rollout.decide import Advance, Decision, Hold, Promote, RollBack, Situation, Suspend, decide
from serinus.rollout.feedback import LOOKS, FeedbackStanding, Judged, confidence_of_a_look, look, objection
from serinus.rollout.policy import FeedbackGate, OnInsufficient, Policy
from tests.rollout.histories import with_canary

GOOD = Verdict(good=True, words="0 of 80 canary requests failed")
GATE = FeedbackGate()


def standing(low: float | None, gate: FeedbackGate = GATE) -> FeedbackStanding:
    """`low`: lower end of the interval; None before the first look."""
    judged = None
    if low is not None:
        judged = Judged(look=1, canary_pairs=50, current_pairs=60, canary=0.7, current=0.7, low=low, high=0.1)
    return FeedbackStanding(gate=gate, canary_pairs=50, current_pairs=60, judged=judged)


def decided(low: float | None, clock: float = 180.0, verdict: Verdict = GOOD, **policy: object) -> Decision:
    made = Policy(**({"feedback": GATE} | policy))  # type: ignore[arg-type]
    step = StepProof(stratum=Stratum.USERS, requests=70, failures=0, e_good=30.0, limit=20.0)
    seen = Situation(now=2000.0, clock=clock, verdict=verdict, feedback=standing(low), step=step)
    return decide(with_canary(policy=made).state, seen)


def test_feedback_that_vouches_is_part_of_the_reason() -> None:
    decision = decided(-0.04)
    assert isinstance(decision, Promote)
    assert "feedback: mAP50 0.700 on 50 judged pairs" in decision.reason
    assert "does not lie below -0.050" in decision.reason


def test_feedback_against_it_extends_and_then_holds() -> None:
    assert isinstance(decided(-0.06), Hold)
    held = decided(-0.06, clock=900.0)
    assert isinstance(held, Suspend)
    assert held.code is ReasonCode.INSUFFICIENT
    assert "lies below -0.050" in held.reason
    assert isinstance(decided(-0.06, clock=900.0, on_insufficient=OnInsufficient.PROMOTE), Suspend)
    assert isinstance(decided(-0.06, clock=900.0, on_insufficient=OnInsufficient.ROLLBACK), RollBack)


def test_feedback_against_it_keeps_it_on_its_step() -> None:
    steps = (0.05, 0.5)
    assert isinstance(decided(None, clock=10.0, steps=steps), Advance)
    assert isinstance(decided(-0.04, clock=10.0, steps=steps), Advance)
    assert isinstance(decided(-0.06, clock=10.0, steps=steps), Hold)


def test_required_feedback_is_waited_for_but_steps_go_on() -> None:
    required = msgspec.structs.replace(GATE, required=True)
    assert isinstance(decided(None, feedback=required), Hold)
    assert isinstance(
        decided(None, clock=900.0, feedback=required, on_insufficient=OnInsufficient.PROMOTE), Suspend
    )
    assert isinstance(decided(None, clock=10.0, feedback=required, steps=(0.05, 0.5)), Advance)
    assert isinstance(decided(None), Promote)


def test_missing_proof_is_named_beside_missing_feedback() -> None:
    weak = Verdict(blockers=("too little proof",), words="too little proof")
    held = decided(None, 900.0, weak, feedback=FeedbackGate(required=True))
    assert isinstance(held, Suspend)
    assert "too little proof" in held.reason and "feedback not judged" in held.reason


def test_without_a_gate_feedback_forbids_nothing() -> None:
    decision = decided(-0.5, feedback=None)
    assert isinstance(decision, Promote)
    assert decision.reason == GOOD.words


def test_objections() -> None:
    assert objection(None, standing(-1.0)) == ""
    assert objection(GATE, None) == ""
    assert objection(GATE, standing(None)) == ""
    assert "50 of each needed" in objection(FeedbackGate(required=True), standing(None))


@given(st.integers(1, 500), st.integers(0, 10_000), st.integers(0, 10_000), st.integers(0, 100))
def test_looks_are_few_come_in_order_and_have_their_pairs(
    least: int, canary: int, current: int, more: int
) -> None:
    due = look(least, canary, current)
    later = look(least, canary + more, current + more)
    if due is None:
        assert min(canary, current) < least
        return
    number, pairs = due
    assert 1 <= number <= LOOKS
    assert pairs <= min(canary, current)
    assert later is not None and later >= due


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95])
def test_all_looks_together_err_no_more_than_the_gate_says(confidence: float) -> None:
    gate = FeedbackGate(confidence=confidence)
    assert LOOKS * (1.0 - confidence_of_a_look(gate)) == pytest.approx(1.0 - confidence)
