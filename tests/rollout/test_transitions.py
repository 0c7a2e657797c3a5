"""The table, the fold, and what is refused in which words."""

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from serinus.core.enums import ImportRefusal, ReasonCode, RolloutPhase, VersionState
from serinus.core.errors import Conflict
from serinus.core.ids import Version
from serinus.rollout.diagram import mermaid
from serinus.rollout.events import (
    Body,
    EpochReset,
    Event,
    Held,
    ImportRejected,
    Paused,
    PolicyChanged,
    Promoted,
    Rejected,
    Resumed,
    RolledBack,
    ShareChanged,
    Undone,
    Verified,
)
from serinus.rollout.policy import Policy
from serinus.rollout.state import State, once_current
from serinus.rollout.table import TERMINAL, TRANSITIONS, IllegalTransition, kind_name
from serinus.rollout.transitions import apply
from tests.rollout.histories import History, promoted, published, rolled_back, started, with_canary

VERIFIED, PAUSED = Verified(rollout=1, share=0.5), Paused(rollout=1)


def states(state: State) -> dict[int, str]:
    return {int(version): record.state.value for version, record in state.versions.items()}


def test_the_initial_version_is_current_at_once() -> None:
    state = History(published(1, initial=True)).state
    assert state.current == 1
    assert state.current_since == 1001.0
    assert states(state) == {1: "current"}


def test_a_version_published_first_but_not_as_the_initial_one_waits() -> None:
    state = History(published(1)).state
    assert state.current is None
    assert states(state) == {1: "published"}


def test_from_publication_to_promotion() -> None:
    history = History(published(1, initial=True), published(2), started(1, 2))
    assert states(history.state) == {1: "current", 2: "verifying"}
    assert history.state.canary is None

    state = history.append(Verified(rollout=1, share=0.5))
    assert states(state) == {1: "current", 2: "canary"}
    assert state.canary is not None and state.canary.version == 2
    assert state.rollout is not None and (state.rollout.share, state.rollout.baseline) == (0.5, 1)
    assert state.rollout.canary_at == 1004.0

    state = history.append(promoted(1, 2), reason="0 of 80 failed")
    assert states(state) == {1: "retired", 2: "current"}
    assert (state.current, state.previous, state.rollout) == (2, 1, None)
    assert state.last is not None and state.last.phase is RolloutPhase.PROMOTED
    assert state.last.reason == "0 of 80 failed"
    assert state.current_since == 1005.0


def test_a_rolled_back_version_is_rejected_and_may_be_started_again() -> None:
    history = with_canary()
    state = history.append(rolled_back(1, 2))
    assert states(state) == {1: "current", 2: "rejected"}
    assert state.current == 1
    assert state.last is not None and state.last.code is ReasonCode.ERRORS
    assert states(history.append(started(2, 2))) == {1: "current", 2: "verifying"}


def test_rejected_before_traffic() -> None:
    history = History(published(1, initial=True), published(2), started(1, 2))
    state = history.append(Rejected(rollout=1, code=ReasonCode.QUALITY_GATE), reason="mAP50 fell")
    assert states(state) == {1: "current", 2: "rejected"}
    assert state.versions[Version(2)].reason == "mAP50 fell"


def test_superseding_ends_one_rollout_and_starts_another_in_one_event() -> None:
    history = with_canary()
    history.append(published(3))
    state = history.append(started(2, 3, supersedes=1))
    assert states(state) == {1: "current", 2: "retired", 3: "verifying"}
    assert state.last is not None and state.last.phase is RolloutPhase.SUPERSEDED
    assert state.rollout is not None and (state.rollout.number, state.rollouts) == (2, 2)


def test_undo_brings_the_previous_version_back_once() -> None:
    history = with_canary()
    history.append(promoted(1, 2))
    state = history.append(Undone(version=Version(1), undone=Version(2)))
    assert states(state) == {1: "current", 2: "retired"}
    assert (state.current, state.previous) == (1, None)
    assert [state.versions[v].served for v in (Version(1), Version(2))] == [True, False]
    with pytest.raises(IllegalTransition, match="no previous"):
        history.append(Undone(version=Version(2), undone=Version(1)))


def test_undo_goes_back_to_any_version_that_was_current_and_was_not_undone() -> None:
    history = with_canary()
    history.append(promoted(1, 2))
    for number in (3, 4):
        history.append(published(number))
        history.append(started(number - 1, number))
        history.append(Verified(rollout=number - 1, share=0.5))
        history.append(promoted(number - 1, number))
    history.append(published(5))
    with pytest.raises(IllegalTransition, match="current is version 4, before it was 3"):
        history.append(Undone(version=Version(5), undone=Version(4)))
    state = history.append(Undone(version=Version(1), undone=Version(4)))
    assert (state.current, state.previous) == (1, None)
    assert [record.version for record in once_current(state)] == [3, 2]
    with pytest.raises(IllegalTransition, match="Cannot undo"):
        history.append(Undone(version=Version(4), undone=Version(1)))
    state = history.append(Undone(version=Version(3), undone=Version(1)))
    assert states(state) == {1: "retired", 2: "retired", 3: "current", 4: "retired", 5: "published"}


def test_undo_is_refused_while_a_rollout_is_active() -> None:
    history = with_canary()
    history.append(promoted(1, 2))
    history.append(published(3))
    history.append(started(2, 3))
    with pytest.raises(IllegalTransition) as refused:
        history.append(Undone(version=Version(1), undone=Version(2)))
    assert "rollout 2 (version 3) is being verified" in refused.value.message
    assert "Roll back or promote rollout 2 first" in refused.value.remedy


def test_a_hold_that_lost_its_share_gets_it_back_with_a_new_evaluation() -> None:
    history = with_canary(Policy(share=0.25))
    history.append(Held(rollout=1, code=ReasonCode.INSUFFICIENT))
    held = history.append(ShareChanged(rollout=1, share=0.0)).rollout
    assert held is not None and (held.share, held.held_at, held.code) == (0.0, 1005.0, "insufficient")
    resumed = history.append(Resumed(rollout=1, clock=900.0)).rollout
    assert resumed is not None and resumed.phase is RolloutPhase.CANARY
    assert (resumed.share, resumed.evaluate_from, resumed.held_at, resumed.code) == (0.25, 900.0, None, None)


def test_a_pause_does_not_lengthen_the_evaluation() -> None:
    history = with_canary()
    history.append(Paused(rollout=1))
    resumed = history.append(Resumed(rollout=1, clock=90.0)).rollout
    assert resumed is not None and resumed.evaluate_from == 0.0


def test_only_a_hold_because_of_the_split_restarts_its_evidence() -> None:
    history = with_canary()
    for code, restarts in (
        (ReasonCode.INSUFFICIENT, 0),
        (ReasonCode.ASSIGNMENT, 1),
        (ReasonCode.ASSIGNMENT, 2),
    ):
        history.append(Held(rollout=1, code=code))
        resumed = history.append(Resumed(rollout=1)).rollout
        assert resumed is not None and resumed.split_restarts == restarts


def test_without_a_baseline_a_resumed_canary_gets_all_requests() -> None:
    history = History(published(1), started(1, 1), Verified(rollout=1, share=1.0))
    history.append(Held(rollout=1, code=ReasonCode.INSUFFICIENT))
    history.append(ShareChanged(rollout=1, share=0.0))
    resumed = history.append(Resumed(rollout=1, clock=1.0)).rollout
    assert resumed is not None and (resumed.share, resumed.baseline) == (1.0, None)


def test_an_epoch_reset_counts_epochs_and_evaluates_anew() -> None:
    history = with_canary()
    history.append(Held(rollout=1, code=ReasonCode.SHARED_FAILURE))
    rollout = history.append(EpochReset(rollout=1, k=41, clock=300.0)).rollout
    assert rollout is not None and rollout.phase is RolloutPhase.CANARY
    assert (rollout.epoch, rollout.epoch_after, rollout.evaluate_from) == (1, 41, 300.0)


@pytest.mark.parametrize(
    ("body", "says", "remedy"),
    [
        (published(4), "next number is 3", "next number"),
        (published(3, initial=True), "there are versions already", "ordinary"),
        (started(2, 2), "rollout 1 (version 2) is a canary", "supersede rollout 1"),
        (started(2, 1, supersedes=7), "rollout 1 (version 2) is a canary", "supersede rollout 1"),
        (started(2, 1, supersedes=1), "its state is current", "published, rejected or retired"),
        (started(2, 9, supersedes=1), "no such version", "Publish it first"),
        (started(5, 2, supersedes=1), "the next number is 2", "Look at the state again"),
        (Verified(rollout=1, share=0.5), "is a canary", "is being verified"),
        (Resumed(rollout=1), "is a canary", "is paused or is held"),
        (EpochReset(rollout=1, k=3), "is a canary", "is held"),
        (Paused(rollout=2), "meant for rollout 2", "Look at the state again"),
        (promoted(1, 3), "promote version 3", "Look at the state again"),
        (rolled_back(3, 2), "meant for rollout 3", "Look at the state again"),
        (ShareChanged(rollout=1, share=1.5), "1.5 is no share", "at most 1"),
    ],
)
def test_refusals_say_what_is_wrong_and_what_to_do(body: Body, says: str, remedy: str) -> None:
    history = with_canary()
    before = history.state
    with pytest.raises(IllegalTransition) as refused:
        history.append(body)
    assert says in refused.value.message
    assert remedy in refused.value.remedy
    assert isinstance(refused.value, Conflict)
    assert history.state == before


def test_nothing_to_promote_or_roll_back() -> None:
    history = History(published(1, initial=True))
    for body in (promoted(1, 1), rolled_back(1, 1), Paused(rollout=1)):
        with pytest.raises(IllegalTransition, match="no rollout is active"):
            history.append(body)


def test_a_version_being_verified_can_be_rolled_back_but_not_promoted() -> None:
    history = History(published(1, initial=True), published(2), started(1, 2))
    with pytest.raises(IllegalTransition, match="being verified"):
        history.append(promoted(1, 2))
    assert states(history.append(rolled_back(1, 2, ReasonCode.MANUAL))) == {1: "current", 2: "rejected"}


def test_an_import_is_rejected_in_every_phase_once_and_changes_nothing_else() -> None:
    histories = [
        History(),
        History(published(1, initial=True), published(2), started(1, 2)),
        with_canary(),
        History(*(bodies := (published(1, initial=True), published(2), started(1, 2))), VERIFIED, PAUSED),
        History(*bodies, VERIFIED, Held(rollout=1, code=ReasonCode.INSUFFICIENT)),
    ]
    body = ImportRejected(source="a" * 32, code=ImportRefusal.FOREIGN_CLASSES)
    for history in histories:
        before = history.state
        after = history.append(body)
        assert after.refused == ("a" * 32,)
        assert (after.versions, after.rollout, after.rollouts) == (
            before.versions,
            before.rollout,
            before.rollouts,
        )
        with pytest.raises(IllegalTransition, match="done already"):
            history.append(body)


def test_only_so_many_rejected_imports_are_remembered() -> None:
    history = History()
    for number in range(150):
        history.append(ImportRejected(source=str(number), code=ImportRefusal.CONTRACT))
    assert history.state.refused == tuple(map(str, range(50, 150)))


def test_a_canary_does_not_start_without_a_share() -> None:
    history = History(published(1, initial=True), published(2), started(1, 2))
    with pytest.raises(IllegalTransition, match="share of 0"):
        history.append(Verified(rollout=1, share=0.0))


@pytest.mark.parametrize(
    "policy",
    [
        Policy(share=0.0),
        Policy(share=1.1),
        Policy(max_error_rate=0.0),
        Policy(max_error_rate=1.0),
        Policy(window_seconds=0.0),
        Policy(max_evaluation=0),
        Policy(hold_for_seconds=-1.0),
        Policy(max_replicas=0),
        Policy(share=float("nan")),
    ],
)
def test_a_policy_that_nobody_can_obey_starts_nothing(policy: Policy) -> None:
    history = History(published(1, initial=True), published(2))
    with pytest.raises(IllegalTransition, match="cannot be obeyed") as refused:
        history.append(started(1, 2, policy=policy))
    assert "allowed: " in refused.value.remedy


@pytest.mark.parametrize(("seq", "prev"), [(5, ""), (6, "other"), (4, None), (6, None)])
def test_an_event_must_follow_the_last_one(seq: int, prev: str | None) -> None:
    state = with_canary().state
    event = Event(
        seq=seq,
        id="0" * 32,
        prev=state.head if prev is None else prev,
        time=1.0,
        actor="a",
        reason="r",
        body=Paused(rollout=1),
    )
    with pytest.raises(IllegalTransition, match="does not follow"):
        apply(state, event, "d")


def test_the_table_leaves_no_terminal_phase_and_reaches_every_phase() -> None:
    assert {phase for phase, _ in TRANSITIONS}.isdisjoint(TERMINAL)
    assert {following for following in TRANSITIONS.values() if following} == set(RolloutPhase)


def test_the_diagram_is_the_table() -> None:
    drawn = [line.strip() for line in mermaid().splitlines()]
    assert drawn[0] == "stateDiagram-v2"
    for (phase, kind), following in TRANSITIONS.items():
        if phase is not None and following is not None and phase is not following:
            assert f"{phase.value} --> {following.value}: {kind_name(kind)}" in drawn
    assert "[*] --> verifying: rollout_started" in drawn
    assert "promoted --> [*]" in drawn


class Journals(RuleBasedStateMachine):
    """Anybody appends anything; what is refused changes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.history = History()
        self.ended: dict[int, object] = {}

    def _try(self, body: Body) -> None:
        before = self.history.state
        try:
            after = self.history.append(body)
        except IllegalTransition as refused:
            assert refused.message and refused.remedy
            assert self.history.state is before
            return
        assert after.seq == before.seq + 1
        if after.last is not before.last and after.last is not None:
            assert after.last.number not in self.ended
            self.ended[after.last.number] = after.last

    def _number(self) -> int:
        return self.history.state.rollouts

    def _version(self) -> Version:
        rollout = self.history.state.rollout
        return rollout.version if rollout else Version(1)

    @rule(initial=st.booleans())
    def publish(self, initial: bool) -> None:
        self._try(published(self.history.state.next_version, initial=initial))

    @rule(version=st.integers(1, 5), supersede=st.booleans())
    def start(self, version: int, supersede: bool) -> None:
        active = self.history.state.rollout
        number = active.number if supersede and active else None
        self._try(started(self._number() + 1, version, supersedes=number))

    @rule(share=st.floats(-0.5, 1.5))
    def verify(self, share: float) -> None:
        self._try(Verified(rollout=self._number(), share=share))

    @rule(share=st.floats(-0.5, 1.5))
    def change_share(self, share: float) -> None:
        self._try(ShareChanged(rollout=self._number(), share=share))

    @rule(kind=st.sampled_from([Paused, Resumed]))
    def pause_or_resume(self, kind: type[Paused] | type[Resumed]) -> None:
        self._try(kind(rollout=self._number()))

    @rule(code=st.sampled_from(ReasonCode))
    def hold(self, code: ReasonCode) -> None:
        self._try(Held(rollout=self._number(), code=code))

    @rule(k=st.integers(0, 99))
    def reset(self, k: int) -> None:
        self._try(EpochReset(rollout=self._number(), k=k))

    @rule(kind=st.sampled_from([Promoted, RolledBack]), late=st.integers(0, 1))
    def end(self, kind: type[Promoted] | type[RolledBack], late: int) -> None:
        number = self._number() - late
        self._try(kind(rollout=number, version=self._version(), code=ReasonCode.MANUAL))

    @rule()
    def reject(self) -> None:
        self._try(Rejected(rollout=self._number(), code=ReasonCode.VERIFY_FAILED))

    @rule(source=st.sampled_from("abc"))
    def reject_an_import(self, source: str) -> None:
        self._try(ImportRejected(source=source, code=ImportRefusal.UNREADABLE))

    @rule(version=st.integers(0, 9))
    def undo(self, version: int) -> None:
        state = self.history.state
        target = Version(version) if version else state.previous or Version(1)
        self._try(Undone(version=target, undone=state.current or Version(1)))

    @invariant()
    def replay_gives_the_live_state(self) -> None:
        assert self.history.replayed() == self.history.state

    @invariant()
    def the_state_goes_through_json(self) -> None:
        state = self.history.state
        assert msgspec.json.decode(msgspec.json.encode(state), type=State) == state

    @invariant()
    def versions_and_rollout_agree(self) -> None:
        state = self.history.state
        of: dict[VersionState, list[Version]] = {}
        for record in state.versions.values():
            of.setdefault(record.state, []).append(record.version)
        assert of.get(VersionState.CURRENT, []) == ([state.current] if state.current else [])
        busy = of.get(VersionState.VERIFYING, []) + of.get(VersionState.CANARY, [])
        assert busy == ([state.rollout.version] if state.rollout else [])
        assert sorted(state.versions) == list(range(1, len(state.versions) + 1))
        if state.previous:
            assert state.previous != state.current
        if state.canary:
            assert state.canary.state is VersionState.CANARY

    @invariant()
    def shares_and_phases_are_sane(self) -> None:
        rollout = self.history.state.rollout
        if rollout:
            assert 0.0 <= rollout.share <= 1.0
            assert rollout.phase not in TERMINAL
            assert rollout.number == self.history.state.rollouts
        last = self.history.state.last
        if last:
            assert last.phase in TERMINAL
            assert self.ended[last.number] == last


TestJournals = Journals.TestCase
TestJournals.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_another_policy_counts_an_epoch_only_where_the_evidence_is_fresh() -> None:
    history = with_canary(Policy(steps=(0.05, 0.5)))
    history.append(ShareChanged(rollout=1, share=0.5, step=1, k=9, clock=60.0))
    same = Policy(name="longer", steps=(0.05, 0.5), window_seconds=600.0)
    history.append(PolicyChanged(rollout=1, policy=same, share=0.5, step=1, k=12, clock=80.0))
    rollout = history.state.rollout
    assert rollout is not None
    assert (rollout.policy, rollout.step, rollout.step_after) == (same, 1, 9)
    assert (rollout.epoch, rollout.evaluate_from) == (0, 60.0)
    other = Policy(name="other", max_error_rate=0.1)
    history.append(PolicyChanged(rollout=1, policy=other, share=0.5, fresh=True, k=20, clock=90.0))
    rollout = history.state.rollout
    assert rollout is not None
    assert (rollout.step_after, rollout.epoch, rollout.epoch_after, rollout.evaluate_from) == (
        20,
        1,
        20,
        90.0,
    )
    with pytest.raises(IllegalTransition, match="cannot be obeyed"):
        history.append(PolicyChanged(rollout=1, policy=Policy(share=0.0), share=0.5))
    with pytest.raises(IllegalTransition, match="no share"):
        history.append(PolicyChanged(rollout=1, policy=Policy(), share=1.5))
    assert history.replayed() == history.state
