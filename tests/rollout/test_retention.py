import pytest
from hypothesis import given
from hypothesis import strategies as st

from serinus.core.enums import VersionState
from serinus.core.errors import Conflict, InvalidInput
from serinus.core.ids import Digest, Version
from serinus.rollout.events import Event, Removed
from serinus.rollout.retention import plan
from serinus.rollout.state import State
from serinus.rollout.transitions import apply
from tests.rollout.histories import History
from tests.rollout.strategies import histories


def removal(state: State, versions: tuple[Version, ...]) -> Event:
    return Event(
        seq=state.seq + 1,
        id="x",
        prev=state.head,
        time=1.0,
        actor="a",
        reason="space",
        body=Removed(versions=versions),
    )


@given(histories(), st.integers(0, 4), st.data())
def test_what_is_needed_stays(history: History, keep: int, data: st.DataObject) -> None:
    state = history.state
    digests = sorted({record.digest for record in state.versions.values()})
    loaded = data.draw(st.sets(st.sampled_from(digests))) if digests else set()
    fates = plan(state, keep=keep, held=dict.fromkeys(loaded, "loaded"))
    removed = {fate.version for fate in fates if fate.remove}
    kept = {fate.version for fate in fates if not fate.remove}
    present = [v for v, record in state.versions.items() if record.state is not VersionState.REMOVED]
    assert removed | kept == set(present) and not removed & kept
    assert not removed & {state.current, state.previous}
    assert not removed & set(sorted(present)[len(present) - keep :] if keep else [])
    assert not {state.versions[version].digest for version in removed} & loaded
    if state.rollout is not None:
        assert not removed & {state.rollout.version, state.rollout.baseline}
    after = apply(state, removal(state, tuple(removed)), "f" * 64)
    assert {v for v, record in after.versions.items() if record.state is VersionState.REMOVED} >= removed
    assert (after.current, after.previous, after.rollout) == (state.current, state.previous, state.rollout)
    assert after.next_version == state.next_version, "a number is never given again"
    assert not [fate for fate in plan(after, keep=keep, held=dict.fromkeys(loaded, "loaded")) if fate.remove]


@given(histories())
def test_what_is_needed_cannot_be_removed(history: History) -> None:
    state = history.state
    for version in {state.current, state.previous, state.next_version} - {None}:
        assert version is not None
        with pytest.raises(Conflict, match=f"Cannot remove version {version}"):
            apply(state, removal(state, (version,)), "f" * 64)


def test_a_negative_number_is_refused() -> None:
    with pytest.raises(InvalidInput):
        plan(State(), keep=-1, held={Digest("a"): "loaded"})
