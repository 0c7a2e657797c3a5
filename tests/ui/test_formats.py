"""How values look on a page."""

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serinus.ui import formats


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (formats.count(1204), "1,204"),
        (formats.percent(0.5), "50 %"),
        (formats.percent(0.0042), "0.42 %"),
        (formats.percent(0.0), "0 %"),
        (formats.percent(3e-8), "< 0.001 %"),
        (formats.seconds(0.0834), "83.4 ms"),
        (formats.seconds(0.9996), "1 s"),
        (formats.seconds(1234.0), "1,234 s"),
        (formats.rate(1, 250), "0.4 %"),
        (formats.rate(0, 0), "–"),
        (formats.score(0.7406), "0.741"),
        (formats.score(None), "–"),
        (formats.evidence(0.119), "0.11"),
        (formats.evidence(19.99), "19.9"),
        (formats.evidence(1015.9), "1,015"),
        (formats.evidence(3e7), "more than a million"),
        (formats.clock(125), "2:05"),
        (formats.clock(0.2), "0:01"),
        (formats.clock(-3), "0:00"),
        (formats.clock(3800), "1:03:20"),
        (formats.ago(100, 103), "just now"),
        (formats.ago(100, 159), "59 s ago"),
        (formats.ago(0, 200), "3 min ago"),
        (formats.ago(0, 90000), "1 day ago"),
        (formats.ago(0, 864000), "10 days ago"),
        (formats.utc(1_795_435_200), "2026-11-23 12:00:00 UTC"),
        (formats.iso(1_795_435_200), "2026-11-23T12:00:00+00:00"),
        (formats.size(48_300_000), "48.3 MB"),
        (formats.size(12), "12 B"),
        (formats.size(999_600), "1 MB"),
        (formats.size(1.2e12), "1,200 GB"),
        (formats.sentence("it failed"), "It failed."),
        (formats.sentence(""), ""),
        (formats.unbroken("50 % of 3 sets in 20 s."), "50\xa0% of 3 sets in 20\xa0s."),
        (formats.label("users_e_good"), "users e good"),
        (formats.label("map50/destroyed"), "mAP50 destroyed"),
        (formats.number(12000.0), "12,000"),
        (formats.number(0.012345), "0.01235"),
        (formats.band(0.0), 0.0),
        (formats.band(0.001), 2.0),
    ],
)
def test_words(made: object, words: object) -> None:
    assert made == words


def test_prose_escapes_all_but_code() -> None:
    assert formats.prose("`a<b>` & <i>") == "<code>a&lt;b&gt;</code> &amp; &lt;i&gt;"


@given(st.floats(1e-3, 1e9), st.sampled_from((formats.percent, formats.seconds, formats.size)))
def test_nobody_has_to_read_powers_of_ten(value: float, words: Callable[[float], str]) -> None:
    assert not re.search(r"\de[+-]?\d", words(value))


@given(st.floats(0, 1e200), st.floats(1, 1e6))
def test_a_gauge_is_full_only_at_its_limit(value: float, limit: float) -> None:
    shown = formats.gauge(value, limit)
    assert 0 <= shown <= 100
    if value >= limit:
        assert shown == 100


@given(st.floats(0, 1e6), st.floats(0.1, 1e6))
def test_a_ring_empties(done: float, whole: float) -> None:
    assert 0 <= formats.ring(done, whole) <= formats.ring(0, whole)
