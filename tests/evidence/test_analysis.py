"""The analysis as a whole: strata, epochs, JSON, verdicts in words."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serinus.core.enums import Arm, ReasonCode, Stratum
from serinus.evidence.analysis import (
    Analysis,
    Params,
    Verdict,
    begin,
    judge,
    observe,
    reset_epoch,
    restart_split,
)
from serinus.evidence.counts import BINS_PER_MARGIN, Slice, merge
from serinus.evidence.outage import OVER_AFTER, Aftermath, is_over
from tests.evidence.requests import TENTH, both, canary, cell, current
from tests.evidence.strategies import slices

LATENCY = Params()
ERRORS = Params(judge_latency=False)
"""For tests about counts: the first slice makes no latency bet."""


def after(*parts: Slice, params: Params | None = None) -> Analysis:
    params = params or ERRORS
    analysis = begin(params)
    for slice_ in parts:
        analysis = observe(analysis, slice_, params)
    return analysis


def verdict(*parts: Slice, params: Params | None = None, in_flight: int = 0) -> Verdict:
    return judge(after(*parts, params=params), params or ERRORS, in_flight)


def probes(canary_good: int, canary_failed: int, current_good: int = 0, current_failed: int = 0) -> Slice:
    return both(canary_good, canary_failed, current_good, current_failed, stratum=Stratum.PROBES)


# The state is a value.


@settings(max_examples=60, deadline=None)
@given(st.lists(slices(), max_size=12), st.integers(0, 12), st.booleans())
def test_who_reads_the_state_goes_on_bit_for_bit(parts: list[Slice], cut: int, latency: bool) -> None:
    params = Params(judge_latency=latency)
    analysis = after(*parts[:cut], params=params)
    resumed = msgspec.json.decode(msgspec.json.encode(analysis), type=Analysis)
    assert resumed == analysis
    for slice_ in parts[cut:]:
        resumed = observe(resumed, slice_, params)
    whole = after(*parts, params=params)
    assert msgspec.json.encode(resumed) == msgspec.json.encode(whole)
    assert judge(resumed, params) == judge(whole, params)


@settings(max_examples=60, deadline=None)
@given(st.lists(slices(), max_size=6), st.randoms(use_true_random=False))
def test_a_slice_is_what_it_adds_up_to(parts: list[Slice], rng) -> None:  # type: ignore[no-untyped-def]
    """Who counted what, and in which order it was merged, does not matter; how it is cut keeps the counts."""
    shuffled = list(parts)
    rng.shuffle(shuffled)
    at_once, other = after(merge(parts), params=LATENCY), after(merge(shuffled), params=LATENCY)
    assert msgspec.json.encode(at_once) == msgspec.json.encode(other)
    cut = after(*parts, params=LATENCY)
    assert (cut.canary, cut.current) == (at_once.canary, at_once.current)


@settings(max_examples=60, deadline=None)
@given(st.lists(slices(most=10**9), max_size=8))
def test_no_count_breaks_a_verdict(parts: list[Slice]) -> None:
    analysis = after(*parts, params=LATENCY)
    found = judge(analysis, LATENCY)
    assert len(msgspec.json.encode(analysis)) < 100_000
    assert msgspec.json.decode(msgspec.json.encode(found), type=Verdict) == found
    assert not (found.good and (found.blame or found.shared_failure or found.mismatch or found.alarm))
    assert found.good == (found.blame is None and not found.blockers)
    assert found.words


def test_the_state_stays_small() -> None:
    analysis = begin(LATENCY)
    for n in range(3000):
        analysis = observe(analysis, both(3, n % 7 == 0, 3, 0), LATENCY)
    assert len(msgspec.json.encode(analysis)) < 8_000


# Errors.


def test_a_failing_canary_is_blamed_in_one_sentence() -> None:
    found = verdict(*[both(0, 1, 1, 0)] * 11)
    assert found.blame is ReasonCode.ERRORS
    assert not found.good
    assert found.words.startswith("11 of 11 canary requests failed (0 of 11 of current); evidence ")
    assert found.words.endswith("against a limit of 200")
    assert found.numbers["canary_failures"] == 11
    assert found.numbers["e_errors"] >= found.numbers["limit_errors"] == 200
    assert found.numbers["e_errors"] == min(found.numbers["e_abs"], found.numbers["e_rel"])


def test_a_replicas_own_limit_is_higher() -> None:
    few = [both(0, 1, 1, 0)] * 6
    alone = Params(threshold_scale=16.0, judge_latency=False)
    assert verdict(*few).blame is ReasonCode.ERRORS
    assert verdict(*few, params=alone).blame is None
    assert verdict(*few * 2, params=alone).blame is ReasonCode.ERRORS


def test_both_failing_is_held_not_blamed() -> None:
    found = verdict(*[both(0, 2, 0, 2)] * 10)
    assert (found.blame, found.shared_failure, found.good) == (None, True, False)
    assert "not to blame" in found.words
    assert "20 of 20 of current" in found.words


def test_a_canary_that_fails_alone_is_no_shared_failure_at_any_request() -> None:
    for canary_failures in range(1, 12):
        found = verdict(*[both(0, 1, 2, 0)] * canary_failures)
        assert not found.shared_failure
        assert not found.good


def test_an_outage_is_over_when_both_arms_are_well_again() -> None:
    outage = [both(0, 2, 0, 2)] * 10
    assert not is_over([both(OVER_AFTER, 0, 0, OVER_AFTER), *outage], 0.05)
    assert not is_over([both(OVER_AFTER, 0, OVER_AFTER - 1, 0), *outage], 0.05)
    assert is_over([both(OVER_AFTER, 0, OVER_AFTER, 1), *outage], 0.05)
    assert not is_over([probes(OVER_AFTER, 0, OVER_AFTER, 0), both(0, 2, 0, 2)][::-1], 0.05)
    assert not is_over([both(1, 0, 1, 0)] * (OVER_AFTER - 1), 0.05)


@settings(max_examples=100, deadline=None)
@given(st.lists(slices(most=60, shares=[0.5]), max_size=12))
def test_an_aftermath_is_over_when_all_its_slices_say_so(parts: list[Slice]) -> None:
    aftermath, seen = Aftermath(), []
    for slice_ in parts:
        aftermath.add(slice_)
        seen.append(slice_)
        assert aftermath.over(0.4) == is_over(reversed(seen), 0.4)


def test_a_canary_that_stays_down_when_the_outage_is_over_is_blamed() -> None:
    found = verdict(*[both(0, 2, 0, 2)] * 10, *[both(0, 2, 2, 0)] * 20)
    assert found.blame is ReasonCode.ERRORS


def test_each_epoch_starts_afresh_with_limits_doubled() -> None:
    params = LATENCY
    analysis = after(*[both(0, 2, 0, 2)] * 10, params=params)
    again = reset_epoch(reset_epoch(analysis, params), params)
    found = judge(again, params)
    assert (found.shared_failure, found.numbers["e_abs"], found.numbers["e_good"]) == (False, 1.0, 1.0)
    assert found.numbers["limit_errors"] == 800
    assert found.numbers["limit_latency"] == 1600
    assert found.numbers["limit_good"] == 80
    assert found.numbers["canary_requests"] == 20  # people still see all of them
    assert again.users.canary.requests == 0


def test_an_epoch_reset_keeps_the_alarm_about_the_split() -> None:
    analysis = after((canary(300),))
    assert judge(reset_epoch(analysis, ERRORS), ERRORS).mismatch


def test_a_restart_of_the_split_keeps_what_the_canary_did() -> None:
    analysis = after((canary(300, 5),), params=LATENCY)
    restarted = restart_split(analysis, 1)
    found = judge(restarted, LATENCY)
    assert (found.mismatch, found.numbers["e_split"]) == (False, 1.0)
    assert found.numbers["e_latency"] == pytest.approx(1.0)
    assert found.numbers["e_abs"] == judge(analysis, LATENCY).numbers["e_abs"]
    assert found.numbers["canary_requests"] == 305
    again = observe(restarted, (canary(300),), LATENCY)
    assert restart_split(again, 1) == again
    assert not judge(restart_split(again, 2), LATENCY).mismatch


def test_a_wrong_split_of_users_is_told_with_their_numbers() -> None:
    found = verdict((canary(30),), probes(100, 0, 100, 0))
    assert found.mismatch
    assert "30 canary requests, 0 of current" in found.words
    assert found.numbers["e_split"] == found.numbers["users_e_split"] >= 1000


def test_a_share_of_one_starts_afresh() -> None:
    """What both arms suffered together must not count against the canary when it is alone."""
    outage = [both(0, 2, 0, 2)] * 10
    alone = (canary(1, share=1.0),)
    analysis = after(*outage, alone)
    assert (analysis.users.control, analysis.users.restarts) == (False, 1)
    assert judge(analysis, ERRORS).blame is None
    # The slice in which the share changed holds both; the order within it is known.
    assert after(merge([*outage, alone])).users == after(merge(outage), alone).users


def test_without_control_from_the_start_limits_are_not_doubled() -> None:
    found = verdict((canary(0, 3, share=1.0),))
    assert (found.blame, found.numbers["limit_errors"]) == (ReasonCode.ERRORS, 200)
    assert "current" not in found.words


def test_requests_without_a_coin_are_no_evidence() -> None:
    assert after(both(0, 50, 50, 0, share=0.0), (current(9, share=1.0),)).users == begin(ERRORS).users


# Promotion.


def test_enough_good_requests_are_good() -> None:
    found = verdict(both(69, 0, 69, 0))
    assert (found.good, found.on_probes, found.blockers) == (True, False, ())
    assert found.words == "0 of 69 canary requests failed; proof of health 20.2 against 20 needed"


def test_too_few_are_not_and_it_says_so() -> None:
    found = verdict(both(9, 0, 9, 0))
    assert not found.good
    assert found.blockers == ("too little proof of health: 1.4 of 20 needed (0 of 9 canary requests failed)",)
    assert verdict().blockers == (
        "too little proof of health: 1 of 20 needed (0 of 0 canary requests failed)",
    )


def test_requests_in_flight_count_as_failures() -> None:
    assert verdict(both(80, 0, 80, 0)).good
    waiting = verdict(both(80, 0, 80, 0), in_flight=3)
    assert not waiting.good
    assert "3 in flight" in waiting.words
    assert waiting.blame is None
    assert verdict(both(800, 0, 800, 0), in_flight=3).good


def test_good_for_long_and_bad_at_the_end_is_not_good() -> None:
    good = [both(10, 0, 10, 0)] * 60
    assert verdict(*good).good
    found = verdict(*good, *[both(17, 3, 20, 0)] * 5)
    assert found.numbers["e_good"] >= 20 > found.numbers["e_good_recent"]
    assert not found.good


def test_an_alarm_short_of_blame_bars_promotion() -> None:
    found = verdict(both(2000, 0, 2000, 0), *[both(16, 4, 20, 0)] * 2, both(17, 3, 20, 0))
    assert found.blame is None
    assert found.alarm
    assert not found.good
    assert any("alarm" in words for words in found.blockers)


def test_a_wrong_split_bars_promotion_and_the_blame_for_latency_but_not_for_errors() -> None:
    found = verdict(both(300, 0, 50, 0))
    assert (found.mismatch, found.good, found.blame) == (True, False, None)
    assert "not split" in found.words
    assert verdict(both(0, 300, 50, 0)).blame is ReasonCode.ERRORS
    slow = tuple(msgspec.structs.replace(cell, ok={60: 20}) for cell in (canary(),))
    fast = tuple(msgspec.structs.replace(cell, ok={30: 4}) for cell in (current(),))
    skewed = verdict(*[slow + fast] * 10, params=LATENCY)
    assert skewed.numbers["e_latency"] >= 400
    assert (skewed.mismatch, skewed.blame) == (True, None)


# Latency.


def test_a_slow_canary_is_blamed_for_it_only_where_latency_is_judged() -> None:
    slow = tuple(msgspec.structs.replace(cell, ok={60: 5}) for cell in (canary(),))
    fast = tuple(msgspec.structs.replace(cell, ok={30: 5}) for cell in (current(),))
    found = verdict(*[slow + fast] * 20, params=LATENCY)
    assert found.blame is ReasonCode.LATENCY
    assert "slower than 1.2 times current" in found.words
    assert verdict(*[slow + fast] * 20).good


def test_promotion_waits_for_the_proof_of_speed() -> None:
    found = verdict(both(40, 0, 40, 0), both(40, 0, 40, 0), params=LATENCY)
    assert found.good
    only_one_look = verdict(both(80, 0, 80, 0), params=LATENCY)  # the first slice makes no latency bet
    assert "proof of speed" in only_one_look.words


def test_a_broken_current_does_not_block_its_own_fix() -> None:
    assert verdict(*[both(20, 0, 1, 19)] * 5, params=LATENCY).good


def test_the_few_answers_of_a_broken_current_are_no_yardstick() -> None:
    """What little it answers may be the easy pictures, in two thirds of the time."""
    slice_ = (canary(20), cell(Arm.CURRENT, 9, 11, bin_=TENTH - 2 * BINS_PER_MARGIN))
    assert verdict(*[slice_] * 5, params=LATENCY).good


# Users and probes.


def test_probes_vouch_for_a_canary_that_nobody_uses() -> None:
    found = verdict(probes(80, 0, 80))
    assert (found.good, found.on_probes) == (True, True)
    assert found.words.endswith("(on probes)")
    assert "probes of the canary" in found.words


def test_users_are_asked_first() -> None:
    found = verdict(both(80, 0, 80, 0), probes(80, 0, 80))
    assert (found.good, found.on_probes) == (True, False)


def test_probes_do_not_outvote_three_failing_users() -> None:
    found = verdict(both(0, 3, 3, 0), probes(300, 0, 300))
    assert not found.good
    assert found.alarm
    assert "3 of 3 canary requests failed" in found.words


def test_one_failure_of_a_user_is_no_contradiction_two_are() -> None:
    assert verdict(both(9, 1, 10, 0), probes(100, 0, 100)).on_probes
    assert not verdict(both(18, 2, 20, 0), probes(100, 0, 100)).good
    assert not verdict(both(0, 0, 0, 0), probes(100, 0, 100), in_flight=2).good


def test_one_user_who_fails_at_once_is_one() -> None:
    """His failure is all that users saw of it: E_abs is above 3, though two failures are still to come."""
    found = verdict(both(0, 1, 1, 0), probes(300, 0, 300))
    assert found.numbers["users_e_abs"] >= 3.0
    assert (found.good, found.alarm) == (False, True)


def test_either_stratum_can_blame() -> None:
    assert verdict(*[both(0, 1, 1, 0)] * 11, probes(80, 0, 80)).blame is ReasonCode.ERRORS
    found = verdict(both(80, 0, 80, 0), *[probes(0, 1, 1)] * 11)
    assert found.blame is ReasonCode.ERRORS
    assert "11 of 11 probes of the canary failed" in found.words


def test_numbers_name_the_strata() -> None:
    numbers = verdict(both(5, 1, 6, 0), probes(10, 0, 10)).numbers
    assert (numbers["canary_requests"], numbers["users_canary_requests"]) == (16, 6)
    assert (numbers["probes_canary_requests"], numbers["current_requests"]) == (10, 16)
    assert not any(name.startswith("probes") for name in verdict(both(5, 1, 6, 0)).numbers)


@pytest.mark.parametrize("text", ['{"max_error_rate":0}', '{"max_error_rate":1}', '{"threshold_scale":0.5}'])
def test_parameters_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text, type=Params)
