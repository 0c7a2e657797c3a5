"""Bytes are found where `bytes.find` finds them."""

from hypothesis import given
from hypothesis import strategies as st

from serinus.api.memory import where

FEW = st.text("ab\0", max_size=40).map(str.encode)


@given(FEW, FEW.filter(len), st.integers(0, 45))
def test_it_is_the_first_place_from_the_start_on(memory: bytes, wanted: bytes, start: int) -> None:
    expected = memory.find(wanted, start)
    for kind in (bytes, bytearray, memoryview):
        assert where(kind(memory), wanted, start) == (None if expected < 0 else expected)


def test_a_view_ends_where_it_ends() -> None:
    assert where(memoryview(b"..mark..")[:5], b"mark") is None
    assert where(memoryview(b"mark..mark")[2:], b"mark") == 4
