"""The streams of `streams`: what must be decided, request by request and slice by slice."""

import msgspec
import pytest

from serinus.core.enums import ReasonCode
from serinus.evidence.analysis import Params
from serinus.evidence.replay import replay
from tests.evidence import streams

SEEDS = range(6)
SLICES = [None, 1.0, 10.0]


@pytest.mark.parametrize("seconds", SLICES)
def test_a_shared_outage_after_an_allowed_difference_rolls_nobody_back(seconds: float | None) -> None:
    for seed in SEEDS:
        rows = streams.shared_outage_after_an_allowed_difference(seed)
        assert replay(rows, Params(), seconds).decision == "extend"


@pytest.mark.parametrize("seconds", [None, 1.0])
def test_good_then_bad_at_the_end_is_not_promoted(seconds: float | None) -> None:
    decisions = {replay(streams.good_then_bad_at_the_end(seed), Params(), seconds).decision for seed in SEEDS}
    assert "promote" not in decisions
    assert "extend" in decisions, "in some the end comes before the blame"


@pytest.mark.parametrize("seconds", SLICES)
def test_a_clear_difference_within_the_margin_is_no_slowness(seconds: float | None) -> None:
    for seed in SEEDS:
        assert replay(streams.low_dispersion_at_1_15(seed), Params(), seconds).decision == "promote"


@pytest.mark.parametrize("seconds", SLICES)
def test_a_failing_current_does_not_bar_its_fix(seconds: float | None) -> None:
    for seed in SEEDS:
        assert replay(streams.failing_current(seed), Params(), seconds).decision == "promote"


@pytest.mark.parametrize("seconds", SLICES)
def test_two_pinned_users_with_bad_pictures_are_two_observations(seconds: float | None) -> None:
    for seed in SEEDS:
        assert replay(streams.sticky(seed, pinned=False), Params(), seconds).decision == "rollback"
        assert replay(streams.sticky(seed, pinned=True), Params(), seconds).decision == "extend"


@pytest.mark.parametrize("seconds", SLICES)
def test_probes_do_not_outvote_users(seconds: float | None) -> None:
    for seed in SEEDS:
        outcome = replay(streams.users_against_probes(seed), Params(), seconds)
        assert (outcome.decision, outcome.why) in (("extend", None), ("rollback", ReasonCode.ERRORS))


def test_what_a_slice_holds_does_not_depend_on_how_long_it_stays_open() -> None:
    """More requests than are kept one by one."""
    rows = list(streams.stream(1, lambda _: (0.0, 0.0), rate=20.0))
    at_once = replay(rows, Params(judge_latency=False), 1e6)
    shuffled = [msgspec.structs.replace(row, t=0.0) for row in reversed(rows)]
    assert replay(shuffled, Params(judge_latency=False), 1.0) == at_once
    assert at_once.decision == "promote"
    assert at_once.verdict.numbers["canary_requests"] > 1000
