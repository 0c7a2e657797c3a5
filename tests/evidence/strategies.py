"""Slices for Hypothesis."""

from hypothesis import strategies as st

from serinus.core.enums import Arm, FailureKind, Signal, Stratum
from serinus.evidence.counts import Cell

SHARES = [0.0, 0.05, 0.25, 0.5, 0.9, 1.0]


def cells(most: int = 40, shares: list[float] = SHARES) -> st.SearchStrategy[Cell]:
    count = st.integers(0, most)
    return st.builds(
        Cell,
        arm=st.sampled_from(Arm),
        stratum=st.sampled_from(Stratum),
        share=st.sampled_from(shares),
        ok=st.dictionaries(st.integers(0, 255), count, max_size=3),
        failed=st.dictionaries(st.sampled_from(FailureKind), count, max_size=2),
        signals=st.dictionaries(
            st.sampled_from(Signal),
            st.dictionaries(st.sampled_from(["found", "empty", "1"]), count, max_size=3),
            max_size=3,
        ),
    )


def slices(most: int = 40, shares: list[float] = SHARES) -> st.SearchStrategy[tuple[Cell, ...]]:
    return st.lists(cells(most, shares), max_size=4).map(tuple)
