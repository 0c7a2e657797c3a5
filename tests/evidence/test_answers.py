"""Invalid and empty answers as accusations; the families; what old documents say."""

import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serinus.core.enums import Arm, FailureKind, ReasonCode, Signal, Stratum
from serinus.evidence.analysis import Analysis, Params, begin, judge, observe, reset_epoch
from serinus.evidence.counts import Cell, Slice
from serinus.evidence.replay import Row, replay
from serinus.evidence.signals import Categories as Part
from serinus.evidence.signals import Shift, observe_shift
from tests.evidence.strategies import slices

PAST = {Signal.DETECTIONS: {"1": 500, "2-3": 500}}


def cells(
    canary: dict[str, int], current: dict[str, int], *, share: float = 0.5, stratum: Stratum = Stratum.USERS
) -> Slice:
    signal = Signal.GOLDEN if stratum is Stratum.PROBES else Signal.DETECTIONS
    return tuple(
        Cell(arm=arm, stratum=stratum, share=share, ok={50: sum(counts.values())}, signals={signal: counts})
        for arm, counts in ((Arm.CANARY, canary), (Arm.CURRENT, current))
        if counts
    )


def failing(arm: Arm, ok: int, invalid: int) -> Cell:
    kind = FailureKind.INVALID_OUTPUT
    return Cell(arm=arm, stratum=Stratum.USERS, share=0.5, ok={50: ok}, failed={kind: invalid})


@given(st.lists(slices(), max_size=4), st.booleans())
def test_the_state_goes_through_json_bit_for_bit(parts: list[Slice], reset: bool) -> None:
    params = Params()
    analysis = begin(params, PAST)
    for part in parts:
        analysis = observe(analysis, part, params)
        read = msgspec.json.decode(msgspec.json.encode(analysis), type=Analysis)
        assert read == analysis
        analysis = reset_epoch(read, params) if reset else read
    assert judge(analysis, params).numbers["e_shift"] >= 0.0


def test_documents_of_before_signals_are_read() -> None:
    old = msgspec.to_builtins(observe(begin(Params()), cells({"1": 5}, {"1": 5}), Params()), str_keys=True)
    for stratum in ("users", "probes"):
        del old[stratum]["answers"]
    read = msgspec.convert(old, Analysis, str_keys=True)
    assert judge(read, Params()).numbers["e_shift"] == pytest.approx(1.0)
    cell = msgspec.to_builtins(cells({"1": 5}, {}))[0]
    del cell["signals"]
    assert msgspec.convert(cell, Cell, str_keys=True).signals == {}


def test_invalid_answers_blame_below_the_error_rate_that_is_allowed() -> None:
    params = Params()
    analysis = begin(params)
    for _ in range(60):
        analysis = observe(analysis, (failing(Arm.CANARY, 96, 4), failing(Arm.CURRENT, 100, 0)), params)
        if judge(analysis, params).blame:
            break
    verdict = judge(analysis, params)
    assert verdict.blame is ReasonCode.SIGNALS
    assert "invalid" in verdict.words
    assert verdict.numbers["users_e_errors"] < verdict.numbers["limit_errors"]


def test_what_breaks_both_versions_blames_neither() -> None:
    params = Params()
    analysis = begin(params)
    for _ in range(200):
        analysis = observe(analysis, tuple(failing(arm, 8, 2) for arm in Arm), params)
        assert judge(analysis, params).blame is None


def test_empty_answers_to_golden_pairs_blame_with_and_without_a_control_arm() -> None:
    for share, current in ((0.5, {"found": 10}), (1.0, {})):
        analysis, params = begin(Params()), Params()
        for _ in range(4):
            slice_ = cells({"empty": 10}, current, share=share, stratum=Stratum.PROBES)
            analysis = observe(analysis, slice_, params)
        verdict = judge(analysis, params)
        assert verdict.blame is ReasonCode.SIGNALS, share
        assert "golden" in verdict.words


def test_each_epoch_takes_twice_the_evidence_for_a_drift() -> None:
    params, other = Params(), cells({"4-9": 40}, {"4-9": 40})
    began = begin(params, PAST)
    first, second = (
        judge(observe(observe(one, other, params), other, params), params)
        for one in (began, reset_epoch(began, params))
    )
    assert first.drift
    assert second.numbers["e_drift"] == pytest.approx(first.numbers["e_drift"] / 2)


def test_a_shift_is_never_blamed() -> None:
    analysis, params = begin(Params(), PAST), Params()
    for _ in range(100):
        analysis = observe(analysis, cells({"0": 50}, {"1": 25, "2-3": 25}), params)
    verdict = judge(analysis, params)
    assert verdict.shift and verdict.blame is None and verdict.good
    assert not verdict.drift, "current is as it was"


@given(st.lists(st.tuples(st.sampled_from(Arm), st.sampled_from([0.05, 0.3, 0.8])), max_size=40))
def test_no_change_of_the_share_makes_the_bet_a_winning_one(before: list[tuple[Arm, float]]) -> None:
    evidence = Shift()
    for arm, share in before:
        evidence = observe_shift(evidence, [Part(arm=arm, share=share, counts={"1": 1})])
    for share in (0.05, 0.5, 0.9):
        mean = sum(
            chance * observe_shift(evidence, [Part(arm=arm, share=share, counts={"1": 1})]).e_shift
            for arm, chance in ((Arm.CANARY, share), (Arm.CURRENT, 1 - share))
        )
        assert mean <= evidence.e_shift * (1 + 1e-9)


def test_a_rising_share_does_not_hide_a_shift() -> None:
    rng, evidence = random.Random(3), Shift()
    for share in (0.05, 0.25, 0.5):
        for _ in range(600):
            arm = Arm.CANARY if rng.random() < share else Arm.CURRENT
            category = "1" if rng.random() < (0.8 if arm is Arm.CANARY else 0.3) else "0"
            evidence = observe_shift(evidence, [Part(arm=arm, share=share, counts={category: 1})])
    assert evidence.e_shift >= 400.0


def test_a_recorded_stream_may_tell_its_signals() -> None:
    rng = random.Random(5)
    rows = [
        Row(
            t=n / 10,
            arm=Arm.CANARY if rng.random() < 0.5 else Arm.CURRENT,
            ok=True,
            latency=0.1,
            p=0.5,
            signals={Signal.DETECTIONS: "1"},
        )
        for n in range(600)
    ]
    told = [msgspec.structs.replace(r, signals={Signal.DETECTIONS: r.arm.value}) for r in rows]
    assert not replay(rows, Params()).verdict.shift
    assert replay(told, Params()).verdict.shift
    kind = FailureKind.INVALID_OUTPUT
    invalid = [
        msgspec.structs.replace(r, ok=False, failure=kind) if r.arm is Arm.CANARY and n % 12 == 0 else r
        for n, r in enumerate(rows * 3)
    ]
    assert replay(invalid, Params(max_error_rate=0.3)).why is ReasonCode.SIGNALS
