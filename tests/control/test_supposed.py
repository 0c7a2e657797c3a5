"""Requests of a file under a policy: whatever is legal is decided, with numbers that a journal can hold."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from serinus.control.supposed import judged_by
from serinus.core.enums import Arm, FailureKind, Signal
from serinus.evidence.analysis import Params
from serinus.evidence.replay import Outcome, Row, replay
from serinus.rollout.policy import Policy

RATES = st.sampled_from([5e-324, 1e-17, 0.05, 0.9, 0.9999999999999999])
ROWS = st.builds(
    Row,
    t=st.sampled_from([0.0, 3.0, 1e308, -1e308]),
    arm=st.sampled_from(Arm),
    ok=st.booleans(),
    latency=st.sampled_from([0.0, 5e-324, 0.1, 1e308]),
    p=st.sampled_from([0.0, 5e-324, 1e-16, 0.5, 0.9999999999999999, 1.0]),
    failure=st.sampled_from(FailureKind),
    signals=st.fixed_dictionaries(dict.fromkeys(Signal, st.sampled_from("ab"))),
)
POLICIES = st.builds(
    Policy,
    max_error_rate=RATES,
    max_invalid_rate=RATES,
    max_empty_rate=RATES,
    latency_floor_seconds=st.sampled_from([0.0, 0.01, 1e308]),
    steps=st.sampled_from([(), (5e-324, 1.0), (0.25, 0.5)]),
)


def finite(outcome: Outcome) -> bool:
    return all(map(math.isfinite, outcome.verdict.numbers.values()))


@settings(max_examples=60, deadline=None)
@given(st.lists(ROWS, max_size=60), POLICIES, st.sampled_from([None, 5e-324, 1.0, 1e308]))
def test_all_that_is_legal_is_decided(rows: list[Row], policy: Policy, seconds: float | None) -> None:
    assert finite(judged_by(rows, policy, seconds))


def test_evidence_that_starts_afresh_a_thousand_times_is_evidence_still() -> None:
    """Each time the control arm comes or goes all limits double, beyond what a float can hold."""
    shares = [1.0, 0.5] * 1100
    rows = [Row(t=float(n), arm=Arm.CANARY, ok=True, latency=0.1, p=p) for n, p in enumerate(shares)]
    outcome = replay(rows, Params())
    assert outcome.decision == "extend"
    assert finite(outcome)
    assert outcome.verdict.numbers["limit_errors"] > 1e250
