"""The proof of a step counts what the step brought, and nothing else."""

from hypothesis import given
from hypothesis import strategies as st

from serinus.core.enums import Arm, FailureKind, Stratum
from serinus.evidence import promotion, steps
from serinus.evidence.analysis import Analysis, Params, begin, observe, reset_epoch
from serinus.evidence.counts import Cell
from serinus.evidence.promotion import Tally

PARAMS = Params()


def after(
    analysis: Analysis, good: int, bad: int = 0, *, share: float = 0.5, probes: bool = False
) -> Analysis:
    cell = Cell(
        arm=Arm.CANARY,
        stratum=Stratum.PROBES if probes else Stratum.USERS,
        share=share,
        ok={10: good} if good else {},
        failed={FailureKind.EXCEPTION: bad} if bad else {},
    )
    return observe(analysis, (cell,), PARAMS)


@given(st.integers(0, 500), st.integers(0, 20), st.integers(0, 500), st.integers(0, 3), st.integers(0, 5))
def test_it_is_the_proof_of_the_steps_own_requests(
    before: int, failed_before: int, good: int, bad: int, in_flight: int
) -> None:
    began = after(begin(PARAMS), before, failed_before)
    found = steps.proof(after(began, good, bad, share=0.25), began, PARAMS, in_flight)
    assert (found.requests, found.failures) == (good + bad, bad)
    assert found.e_good == promotion.e_good(Tally(good + bad + in_flight, bad + in_flight), 0.05)
    assert found.proved is (found.e_good >= 20)


def test_after_a_restart_of_the_evidence_everything_since_counts_against_the_doubled_limit() -> None:
    began = after(begin(PARAMS), 300)
    found = steps.proof(after(reset_epoch(began, PARAMS), 80), began, PARAMS)
    assert (found.requests, found.limit) == (80, 40.0)


def test_a_share_of_one_begins_evidence_of_its_own() -> None:
    began = after(begin(PARAMS), 300)
    found = steps.proof(after(began, 80, share=1.0), began, PARAMS)
    assert (found.requests, found.limit) == (80, 40.0)


def test_probes_vouch_where_users_bring_little_and_do_not_contradict() -> None:
    began = begin(PARAMS)
    probed = after(began, 100, probes=True)
    assert steps.proof(probed, began, PARAMS).stratum is Stratum.PROBES
    assert steps.proof(after(probed, 3), began, PARAMS).stratum is Stratum.PROBES
    for good, failed in ((3, 2), (0, 1)):
        contradicted = steps.proof(after(probed, good, failed), began, PARAMS)
        assert (contradicted.stratum, contradicted.proved) == (Stratum.USERS, False)
