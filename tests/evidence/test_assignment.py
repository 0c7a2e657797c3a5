"""The assignment check."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serinus.core.enums import Arm
from serinus.evidence import assignment
from serinus.evidence.counts import Cell
from tests.evidence.requests import canary, cell, current


def e_split(*slices: tuple[Cell, ...]) -> float:
    evidence = assignment.start()
    for slice_ in slices:
        evidence = assignment.observe(evidence, slice_)
    return assignment.e_split(evidence)


@given(st.floats(0.01, 0.99), st.lists(st.sampled_from(Arm), max_size=20))
def test_the_next_toss_of_the_declared_coin_is_a_fair_game(share: float, before: list[Arm]) -> None:
    slices = [(cell(arm, 1, share=share),) for arm in before]
    wins = e_split(*slices, (canary(1, share=share),))
    loses = e_split(*slices, (current(1, share=share),))
    assert share * wins + (1 - share) * loses == pytest.approx(e_split(*slices), rel=1e-9)


def test_the_declared_split_raises_no_alarm() -> None:
    assert e_split(*[(canary(25), current(25))] * 40) < 1.0


@pytest.mark.parametrize(
    ("of_canary", "of_current"), [(0, 30), (30, 0), (100, 200), (200, 100), (5 * 10**8, 10**9)]
)
def test_another_split_raises_it(of_canary: int, of_current: int) -> None:
    assert e_split((canary(of_canary), current(of_current))) >= assignment.LIMIT


def test_failures_are_counted_as_requests() -> None:
    assert e_split((canary(0, 30),)) == pytest.approx(e_split((canary(30, 0),)))


def test_without_a_coin_there_is_nothing_to_check() -> None:
    assert e_split((canary(1000, share=1.0),)) == pytest.approx(1.0)
