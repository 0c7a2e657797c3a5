"""Counters: bins, sums, canonical bytes."""

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serinus.core.enums import Arm, FailureKind, Stratum
from serinus.evidence.counts import BINS_PER_MARGIN, LAST_BIN, Cell, Slice, latency_bin, merge
from tests.evidence.requests import canary, current
from tests.evidence.strategies import slices


def test_a_margin_is_two_bins() -> None:
    for seconds in (0.00017, 0.03, 0.1, 2.5, 60.0):
        assert latency_bin(seconds * 1.2 * 1.0001) == latency_bin(seconds * 1.0001) + BINS_PER_MARGIN


@pytest.mark.parametrize(
    ("seconds", "bin_"),
    [
        (-1.0, 0),
        (0.0, 0),
        (1e-4, 0),
        (math.nan, 0),
        (1.0955e-4, 1),
        (1e30, LAST_BIN),
        (1e308, LAST_BIN),
        (math.inf, LAST_BIN),
    ],
)
def test_bins_at_the_edges(seconds: float, bin_: int) -> None:
    assert latency_bin(seconds) == bin_


@given(st.floats(1e-5, 1e8), st.floats(1e-5, 1e8))
def test_slower_is_never_a_lower_bin(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert 0 <= latency_bin(low) <= latency_bin(high) <= LAST_BIN


@given(slices(), slices(), slices())
def test_merging_is_associative_and_commutative_to_the_byte(a: Slice, b: Slice, c: Slice) -> None:
    merged = msgspec.json.encode(merge([a, b, c]))
    assert msgspec.json.encode(merge([c, a, b])) == merged
    assert msgspec.json.encode(merge([merge([a, b]), c])) == merged
    assert msgspec.json.encode(merge([a, merge([b, c])])) == merged
    assert msgspec.json.encode(merge([merge([a, b, c])])) == merged


@given(slices(), slices())
def test_merging_loses_nothing(a: Slice, b: Slice) -> None:
    merged = merge([a, b])
    assert sum(c.successes for c in merged) == sum(c.successes for c in a + b)
    assert sum(c.failures for c in merged) == sum(c.failures for c in a + b)
    keys = [(c.stratum, c.arm, c.share) for c in merged]
    assert len(set(keys)) == len(keys)


def test_what_is_empty_leaves_no_trace() -> None:
    empty = Cell(arm=Arm.CANARY, stratum=Stratum.USERS, share=0.5, ok={3: 0}, failed={FailureKind.CRASH: 0})
    assert merge([(empty,), ()]) == ()


def test_strata_arms_and_shares_stay_apart() -> None:
    cells = (
        canary(1),
        canary(2, share=0.25),
        canary(3, stratum=Stratum.PROBES),
        current(4),
    )
    assert merge([cells, cells]) == tuple(
        sorted(
            (
                canary(2),
                canary(4, share=0.25),
                canary(6, stratum=Stratum.PROBES),
                current(8),
            ),
            key=lambda c: (c.stratum, c.arm, c.share),
        )
    )


@given(slices(most=10**12))
def test_slices_go_through_json(slice_: Slice) -> None:
    assert msgspec.json.decode(msgspec.json.encode(slice_), type=Slice) == slice_


@pytest.mark.parametrize(
    "text",
    [
        '{"arm":"canary","stratum":"users","share":1.5}',
        '{"arm":"canary","stratum":"users","share":0.5,"ok":{"300":1}}',
        '{"arm":"canary","stratum":"users","share":0.5,"ok":{"3":-1}}',
        '{"arm":"canary","stratum":"users","share":0.5,"failed":{"bad_input":1}}',
    ],
)
def test_counts_that_cannot_be_are_refused(text: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text, type=Cell)
