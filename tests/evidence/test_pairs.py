"""Shadow pairs: sums that do not depend on the order, and the test for disagreement."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serinus.core.enums import Arm, ShadowDrop
from serinus.evidence import pairs, signals
from serinus.evidence.pairs import BANDS, PairCounts, PairEvidence, Tolerance

TOLERANCE = Tolerance(below=0.5, rate=0.2)

counts = st.builds(
    PairCounts,
    f1=st.dictionaries(st.integers(0, BANDS), st.integers(0, 9), max_size=4),
    boxes_current=st.integers(0, 50),
    matched=st.integers(0, 50),
    confusion=st.dictionaries(
        st.integers(-1, 3), st.dictionaries(st.integers(-1, 3), st.integers(0, 9)), max_size=3
    ),
    score_shift=st.integers(-(10**9), 10**9),
    answered=st.dictionaries(
        st.sampled_from(Arm), st.dictionaries(st.integers(0, 255), st.integers(0, 9), max_size=3)
    ),
    slower=st.dictionaries(st.sampled_from(Arm), st.integers(-(10**7), 10**7)),
    failed=st.dictionaries(st.sampled_from(Arm), st.integers(0, 9)),
    dropped=st.dictionaries(st.sampled_from(ShadowDrop), st.integers(0, 9)),
)


@settings(max_examples=40)
@given(st.lists(counts, max_size=4), st.randoms())
def test_replicas_add_up_in_any_order_to_the_same_bytes(many: list[PairCounts], random) -> None:
    shuffled = list(many)
    random.shuffle(shuffled)
    whole = pairs.add(many)
    stepwise = PairCounts()
    for one in shuffled:
        stepwise = pairs.add([stepwise, one])
    assert msgspec.json.encode(whole) == msgspec.json.encode(stepwise)
    assert whole.pairs == sum(one.pairs for one in many)
    assert whole.score_shift == sum(one.score_shift for one in many)
    assert msgspec.json.decode(msgspec.json.encode(whole), type=PairCounts) == whole


@pytest.mark.parametrize(
    ("f1", "disagrees"), [(0.0, True), (0.4999, True), (0.5, False), (2 * 3 / 12, False), (1.0, False)]
)
def test_a_pair_disagrees_below_the_threshold(f1: float, disagrees: bool) -> None:
    assert PairCounts(f1={pairs.band(f1): 1}).disagreed(0.5) == int(disagrees)


def said(agreed: int, disagreed: int) -> PairCounts:
    return pairs.add([PairCounts(f1={BANDS: agreed}), PairCounts(f1={0: disagreed})])


def after(*slices: PairCounts, tolerance: Tolerance = TOLERANCE) -> PairEvidence:
    evidence = pairs.observe(None, PairCounts(), tolerance)
    for slice_ in slices:
        evidence = pairs.observe(evidence, slice_, tolerance)
    return evidence


def test_versions_at_the_tolerated_rate_are_hardly_ever_accused() -> None:
    """By Ville's inequality at most 1 in 400 ever; looked at after every pair."""
    random = np.random.default_rng(20)
    accused = 0
    for _ in range(60):
        evidence = after()
        for disagrees in random.random(120) < TOLERANCE.rate:
            evidence = pairs.observe(evidence, said(int(not disagrees), int(disagrees)), TOLERANCE)
            if evidence.excessive:
                accused += 1
                break
    assert accused <= 1


def test_versions_that_disagree_twice_as_often_are_found() -> None:
    evidence, asked = after(), 0
    random = np.random.default_rng(1)
    while not evidence.excessive and asked < 500:
        disagrees = random.random() < 2 * TOLERANCE.rate
        evidence = pairs.observe(evidence, said(int(not disagrees), int(disagrees)), TOLERANCE)
        asked += 1
    assert evidence.excessive and asked < 200
    assert evidence.objection == evidence.words != ""
    assert after(said(80, 20)).objection == ""


def test_another_tolerance_is_another_test_with_a_doubled_limit() -> None:
    evidence = after(said(0, 60))
    assert evidence.excessive
    stricter = pairs.observe(evidence, PairCounts(), Tolerance(below=0.9, rate=0.2))
    assert (stricter.pairs, stricter.excessive, stricter.limit) == (0, False, 2 * signals.LIMIT)
    assert stricter.total == evidence.total, "what was seen is still shown"
    assert pairs.observe(stricter, PairCounts(), Tolerance(below=0.9, rate=0.2)) == stricter
    assert pairs.observe(after(), PairCounts(), Tolerance(below=0.9, rate=0.2)).restarts == 0


def test_the_state_resumes_bit_for_bit() -> None:
    first = after(said(10, 3), said(0, 2))
    read = msgspec.json.decode(msgspec.json.encode(first), type=PairEvidence)
    assert pairs.observe(read, said(5, 5), TOLERANCE) == pairs.observe(first, said(5, 5), TOLERANCE)
