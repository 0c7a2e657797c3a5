"""What is done when: every row of the semantics table."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serinus.core.enums import ReasonCode, RolloutPhase, Stratum, VersionState
from serinus.evidence.analysis import Params, Verdict, begin, judge, observe
from serinus.evidence.steps import StepProof
from serinus.rollout.decide import (
    Advance,
    Decision,
    Hold,
    Note,
    Promote,
    ResetEpoch,
    RollBack,
    Situation,
    Suspend,
    decide,
    next_start,
)
from serinus.rollout.events import (
    Body,
    EpochReset,
    Held,
    Noted,
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
from serinus.rollout.policy import OnDrift, OnInsufficient, OnNewVersion, OnShift, Policy
from serinus.rollout.state import State
from tests.evidence.requests import both
from tests.rollout.histories import History, promoted, published, rolled_back, started, with_canary

GOOD = Verdict(good=True, words="0 of 80 canary requests failed")
UNDECIDED = Verdict(blockers=("too little proof",), words="too little proof")
BLAMED = Verdict(blame=ReasonCode.ERRORS, words="11 of 11 canary requests failed")
SHARED = Verdict(shared_failure=True, words="both versions fail")
MISMATCH = Verdict(mismatch=True, blockers=("split",), words="the split is not the one declared")
ALARM = Verdict(alarm=True, blockers=("alarm",), words="4 of 30 canary requests failed")


def situation(
    verdict: Verdict | None = GOOD,
    clock: float = 180.0,
    *,
    now: float = 2000.0,
    load_failure: str = "",
    tripped: bool = False,
    ready: bool = True,
) -> Situation:
    return Situation(
        now=now, clock=clock, verdict=verdict, load_failure=load_failure, tripped=tripped, ready=ready
    )


SHIFT = Verdict(good=True, shift="the canary answers differently", words="0 of 80 canary requests failed")
DRIFT = Verdict(good=True, drift="both answer differently", words="0 of 80 canary requests failed")
HOLDS = Policy(on_shift=OnShift.HOLD)
NOTES = Policy(on_shift=OnShift.NOTE, on_drift=OnDrift.NOTE)


@pytest.mark.parametrize(
    ("verdict", "code"), [(SHIFT, ReasonCode.SIGNALS), (DRIFT, ReasonCode.DRIFT)], ids=["shift", "drift"]
)
def test_other_answers_hold_or_are_noted_once_and_roll_nothing_back(
    verdict: Verdict, code: ReasonCode
) -> None:
    history = with_canary(HOLDS)
    decision = decide(history.state, situation(verdict))
    assert isinstance(decision, Suspend) and decision.code is code
    history.append(Held(rollout=1, code=code))
    assert isinstance(decide(history.state, situation(verdict)), Hold), "a hold is a person's to end"
    history.append(Resumed(rollout=1, clock=180.0))
    assert isinstance(decide(history.state, situation(verdict)), Promote), "who resumed it has looked"

    history = with_canary(NOTES)
    decision = decide(history.state, situation(verdict))
    assert isinstance(decision, Note) and decision.code is code
    history.append(Noted(rollout=1, code=code))
    assert isinstance(decide(history.state, situation(verdict)), Promote)


def test_without_golden_sets_other_answers_pass_but_not_other_pictures() -> None:
    alone = with_canary().state
    assert isinstance(decide(alone, situation(SHIFT)), Note)
    assert isinstance(decide(alone, situation(DRIFT)), Suspend)
    assert alone.rollout is not None
    measured = msgspec.structs.replace(alone, rollout=msgspec.structs.replace(alone.rollout, measured=True))
    assert isinstance(decide(measured, situation(SHIFT)), Suspend), "a golden set is there, and did not vouch"


def test_a_golden_set_vouches_for_other_answers_but_not_for_other_pictures() -> None:
    history = with_canary()
    vouched = {"vouched": ("golden set coast",)}
    shift = msgspec.structs.replace(situation(SHIFT), **vouched)
    decision = decide(history.state, shift)
    assert isinstance(decision, Note) and "golden set coast" in decision.reason
    assert isinstance(decide(history.state, msgspec.structs.replace(situation(DRIFT), **vouched)), Suspend)


def test_what_condemns_goes_before_what_is_strange() -> None:
    blamed = msgspec.structs.replace(BLAMED, shift="other answers", drift="other pictures")
    assert isinstance(decide(with_canary().state, situation(blamed)), RollBack)
    shared = msgspec.structs.replace(SHARED, shift="other answers")
    decision = decide(with_canary().state, situation(shared))
    assert isinstance(decision, Suspend) and decision.code is ReasonCode.SHARED_FAILURE


def paused() -> History:
    history = with_canary()
    history.append(Paused(rollout=1))
    return history


def held(code: ReasonCode = ReasonCode.INSUFFICIENT, policy: Policy | None = None) -> History:
    history = with_canary(policy)
    history.append(Held(rollout=1, code=code))
    return history


def carry_out(history: History, decision: Decision, clock: float) -> State:
    """What the controller does with a decision."""
    rollout = history.state.rollout
    assert rollout is not None
    number, version = rollout.number, rollout.version
    bodies: dict[type, Body] = {}
    match decision:
        case Promote(code=code):
            bodies[Promote] = Promoted(rollout=number, version=version, code=code)
        case RollBack(code=code):
            bodies[RollBack] = RolledBack(rollout=number, version=version, code=code)
        case Suspend(code=code):
            bodies[Suspend] = Held(rollout=number, code=code)
        case ResetEpoch():
            bodies[ResetEpoch] = EpochReset(rollout=number, k=7, clock=clock)
        case Advance(share=share):
            bodies[Advance] = ShareChanged(rollout=number, share=share)
    return history.append(bodies[type(decision)], reason=decision.reason)


def test_without_a_rollout_there_is_nothing_to_do() -> None:
    assert decide(History(published(1, initial=True)).state, situation()) == Hold(
        "no rollout is active", None
    )


def test_verification_takes_its_time() -> None:
    state = History(published(1, initial=True), published(2), started(1, 2)).state
    assert isinstance(decide(state, situation(BLAMED, load_failure="x")), Hold)


def test_a_good_canary_is_promoted_when_the_window_ends_and_not_before() -> None:
    state = with_canary().state
    assert decide(state, situation(GOOD, 100.0)) == Hold("the window is open for another 80 s", 2080.0)
    assert decide(state, situation(GOOD, 179.9)).reason.startswith("the window is open")
    assert decide(state, situation(GOOD, 180.0)) == Promote(ReasonCode.EVIDENCE_GOOD, GOOD.words)


@pytest.mark.parametrize("make", [with_canary, paused, held])
@pytest.mark.parametrize("clock", [0.0, 50.0, 5000.0])
def test_blame_rolls_back_at_once_in_every_phase_with_traffic(make, clock: float) -> None:  # type: ignore[no-untyped-def]
    assert decide(make().state, situation(BLAMED, clock)) == RollBack(ReasonCode.ERRORS, BLAMED.words)


@pytest.mark.parametrize("make", [with_canary, paused, held])
def test_a_canary_that_does_not_load_is_rolled_back(make) -> None:  # type: ignore[no-untyped-def]
    decision = decide(make().state, situation(None, 0.0, load_failure="truncated file", ready=False))
    assert decision == RollBack(
        ReasonCode.LOAD_FAILURE, "the canary does not load or stay alive: truncated file"
    )


def test_a_pause_freezes_promotion_and_every_timer() -> None:
    for verdict in (GOOD, UNDECIDED, SHARED, MISMATCH, None):
        assert isinstance(decide(paused().state, situation(verdict, 1e9, now=1e12)), Hold)


@pytest.mark.parametrize(
    ("hindrance", "says"),
    [
        (situation(GOOD, tripped=True), "a replica stopped"),
        (situation(GOOD, ready=False), "not every replica"),
        (situation(UNDECIDED), "too little proof"),
        (situation(ALARM), "4 of 30"),
        (situation(None), "nothing was observed"),
    ],
)
def test_what_bars_promotion_extends(hindrance: Situation, says: str) -> None:
    decision = decide(with_canary().state, hindrance)
    assert isinstance(decision, Hold)
    assert says in decision.reason
    assert decision.recheck_at == hindrance.now


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_a_first_version_without_baseline_is_judged_all_the_same(share: float) -> None:
    history = History(published(1), started(1, 1), Verified(rollout=1, share=share))
    assert isinstance(decide(history.state, situation()), Promote)
    assert isinstance(decide(history.state, situation(BLAMED, 1.0)), RollBack)


def test_evaluation_ends_after_max_evaluation_windows() -> None:
    state = with_canary(Policy(max_evaluation=3)).state
    assert isinstance(decide(state, situation(UNDECIDED, 539.0)), Hold)
    decision = decide(state, situation(UNDECIDED, 540.0))
    assert decision == Suspend(ReasonCode.INSUFFICIENT, "undecided after 3 windows: too little proof")
    assert isinstance(decide(state, situation(GOOD, 540.0)), Promote)


STEPS = Policy(steps=(0.05, 0.25, 0.5))
PROVED = StepProof(stratum=Stratum.USERS, requests=80, failures=0, e_good=25.0, limit=20.0)
UNPROVED = msgspec.structs.replace(PROVED, requests=8, e_good=1.5)


def in_step(proof: StepProof | None, verdict: Verdict = GOOD, clock: float = 10.0) -> Situation:
    return msgspec.structs.replace(situation(verdict, clock), step=proof)


def test_the_next_step_follows_its_proof_and_waits_for_no_window() -> None:
    state = with_canary(STEPS).state
    decision = decide(state, in_step(PROVED))
    assert isinstance(decision, Advance)
    assert (decision.share, decision.step) == (0.25, 1)
    assert "step 2, 25 % of the requests: 0 of 80 canary requests failed" in decision.reason
    for unmoved in (in_step(UNPROVED), in_step(None), in_step(PROVED, ALARM)):
        assert isinstance(decide(state, unmoved), Hold)
    assert isinstance(decide(state, in_step(PROVED, BLAMED)), RollBack)
    assert isinstance(decide(state, in_step(PROVED, SHARED)), Suspend)
    assert isinstance(decide(state, msgspec.structs.replace(in_step(PROVED), tripped=True)), Hold)


def test_good_evidence_of_all_steps_promotes_only_with_the_proof_of_the_last() -> None:
    history = with_canary(STEPS)
    early = decide(history.state, in_step(UNPROVED, GOOD, 500.0))
    assert isinstance(early, Hold) and "in this step 0 of 8 canary requests failed" in early.reason
    for step, share in ((1, 0.25), (2, 0.5)):
        history.append(ShareChanged(rollout=1, share=share, step=step, k=7, clock=100.0 * step))
    assert isinstance(decide(history.state, in_step(UNPROVED, GOOD, 500.0)), Hold)
    assert isinstance(decide(history.state, in_step(PROVED, GOOD, 179.0)), Hold), "the window is open"
    assert isinstance(decide(history.state, in_step(PROVED, GOOD, 180.0)), Promote)
    # The longest evaluation counts from the last step's beginning at 200 s.
    assert isinstance(decide(history.state, in_step(UNPROVED, GOOD, 1099.0)), Hold)
    assert isinstance(decide(history.state, in_step(UNPROVED, GOOD, 1100.0)), Suspend)


def test_a_first_version_has_no_steps_to_climb() -> None:
    history = History(published(1), started(1, 1, policy=STEPS), Verified(rollout=1, share=1.0))
    assert isinstance(decide(history.state, in_step(PROVED, GOOD, 180.0)), Promote)


def test_what_insufficient_evidence_leads_to_is_policy() -> None:
    def decided(on_insufficient: OnInsufficient, at: Situation) -> Decision:
        return decide(with_canary(Policy(on_insufficient=on_insufficient)).state, at)

    late = situation(UNDECIDED, 900.0)
    assert isinstance(decided(OnInsufficient.HOLD, late), Suspend)
    assert decided(OnInsufficient.ROLLBACK, late) == RollBack(
        ReasonCode.INSUFFICIENT, "undecided after 5 windows: too little proof"
    )
    assert decided(OnInsufficient.PROMOTE, late) == Promote(
        ReasonCode.INSUFFICIENT, "undecided after 5 windows: too little proof"
    )


@pytest.mark.parametrize(
    "late",
    [
        situation(UNDECIDED, 900.0, tripped=True),
        situation(UNDECIDED, 900.0, ready=False),
        situation(ALARM, 900.0),
    ],
)
def test_promotion_for_want_of_evidence_is_vetoed_by_what_speaks_against(late: Situation) -> None:
    state = with_canary(Policy(on_insufficient=OnInsufficient.PROMOTE)).state
    decision = decide(state, late)
    assert isinstance(decision, Suspend)
    assert decision.code is ReasonCode.INSUFFICIENT


def test_a_shared_failure_holds_and_ends_by_itself() -> None:
    history = with_canary()
    decision = decide(history.state, situation(SHARED, 20.0))
    assert decision == Suspend(ReasonCode.SHARED_FAILURE, SHARED.words)
    carry_out(history, decision, 20.0)
    assert isinstance(decide(history.state, situation(SHARED, 20.0)), Hold)

    over = msgspec.structs.replace(situation(SHARED, 20.0), outage_over=True)
    decision = decide(history.state, over)
    assert isinstance(decision, ResetEpoch)
    rollout = carry_out(history, decision, 20.0).rollout
    assert rollout is not None
    assert (rollout.phase, rollout.epoch, rollout.evaluate_from) == (RolloutPhase.CANARY, 1, 20.0)


def test_another_hold_does_not_end_by_an_outage_that_is_over() -> None:
    over = msgspec.structs.replace(situation(SHARED), outage_over=True)
    assert isinstance(decide(held().state, over), Hold)


def test_a_hold_is_promoted_only_by_hand_or_after_resume() -> None:
    history = held()
    decision = decide(history.state, situation(GOOD, 5000.0))
    assert isinstance(decision, Hold)
    assert decision.recheck_at == 1005.0 + 3600.0
    history.append(Resumed(rollout=1, clock=5000.0))
    assert isinstance(decide(history.state, situation(GOOD, 5000.0)), Promote)
    # A resumed evaluation may again take max_evaluation windows.
    assert isinstance(decide(history.state, situation(UNDECIDED, 5000.0 + 899.0)), Hold)
    assert isinstance(decide(history.state, situation(UNDECIDED, 5000.0 + 900.0)), Suspend)


def test_a_hold_that_nobody_ends_loses_its_share_once() -> None:
    history = held(policy=Policy(hold_for_seconds=60.0))
    assert isinstance(decide(history.state, situation(now=1064.0)), Hold)
    decision = decide(history.state, situation(now=1065.0))
    assert isinstance(decision, Advance) and decision.share == 0.0
    carry_out(history, decision, 0.0)
    after = decide(history.state, situation(now=9999.0))
    assert isinstance(after, Hold) and after.recheck_at is None


def test_a_wrong_split_holds_whatever_the_policy() -> None:
    for on_insufficient in OnInsufficient:
        state = with_canary(Policy(on_insufficient=on_insufficient)).state
        for clock in (1.0, 900.0):
            decision = decide(state, situation(MISMATCH, clock))
            assert decision == Suspend(ReasonCode.ASSIGNMENT, MISMATCH.words)


def test_the_real_evidence_decides() -> None:
    """Half of the traffic for three minutes, then promoted; or eleven failures, then rolled back."""
    params = Params(judge_latency=False)
    healthy = observe(begin(params), both(100, 0, 100, 0), params)
    state = with_canary().state
    assert isinstance(decide(state, situation(judge(healthy, params), 180.0)), Promote)
    failing = observe(begin(params), both(0, 11, 11, 0), params)
    decision = decide(state, situation(judge(failing, params), 3.0))
    assert isinstance(decision, RollBack)
    assert decision.reason.startswith("11 of 11 canary requests failed")
    assert isinstance(decide(state, situation(judge(begin(params), params), 900.0)), Suspend)


# Properties.

verdicts = st.one_of(
    st.none(),
    st.builds(
        Verdict,
        blame=st.none() | st.sampled_from([ReasonCode.ERRORS, ReasonCode.LATENCY]),
        good=st.booleans(),
        alarm=st.booleans(),
        shared_failure=st.booleans(),
        mismatch=st.booleans(),
        words=st.just("w"),
        blockers=st.just(("b",)),
    ),
)
situations = st.builds(
    Situation,
    now=st.floats(0.0, 1e6),
    clock=st.floats(0.0, 5000.0),
    verdict=verdicts,
    load_failure=st.sampled_from(["", "", "", "no"]),
    tripped=st.booleans(),
    ready=st.booleans(),
    outage_over=st.booleans(),
)
policies = st.builds(
    Policy,
    share=st.floats(0.01, 1.0),
    max_evaluation=st.integers(1, 6),
    on_insufficient=st.sampled_from(OnInsufficient),
    hold_for_seconds=st.floats(0.0, 1e5),
)


@given(policies, st.lists(situations, min_size=1, max_size=12), st.sampled_from(["canary", "paused", "held"]))
def test_decisions_are_legal_idempotent_and_never_promote_against_a_veto(
    policy: Policy, ticks: list[Situation], start: str
) -> None:
    history = with_canary(policy)
    if start == "paused":
        history.append(Paused(rollout=1))
    if start == "held":
        history.append(Held(rollout=1, code=ReasonCode.SHARED_FAILURE))
    for tick in ticks:
        before = history.state.rollout
        decision = decide(history.state, tick)
        assert decision == decide(history.state, tick)
        assert decision.reason
        if before is None:
            assert decision == Hold("no rollout is active", None)
            continue
        if isinstance(decision, Promote):
            assert before.phase is RolloutPhase.CANARY
            assert tick.clock >= policy.window_seconds
            assert tick.ready and not tick.tripped and not tick.load_failure
            verdict = tick.verdict
            assert verdict is None or not (verdict.blame or verdict.mismatch or verdict.alarm)
        if not isinstance(decision, Hold):
            carry_out(history, decision, tick.clock)
            # The same look again asks for the same thing no second time.
            again = decide(history.state, tick)
            assert isinstance(again, Hold) or type(again) is not type(decision)


# What starts next.


def test_the_lowest_published_version_is_next() -> None:
    history = History(published(1, initial=True))
    assert next_start(history.state) is None
    history.append(published(2))
    history.append(published(3))
    assert next_start(history.state) == (2, None)


def test_a_first_version_starts_without_a_current_one() -> None:
    assert next_start(History(published(1)).state) == (1, None)


def test_versions_queue_by_default() -> None:
    history = with_canary()
    history.append(published(3))
    assert next_start(history.state) is None
    history.append(rolled_back(1, 2))
    assert next_start(history.state) == (3, None)


def test_a_policy_may_let_the_newer_version_supersede() -> None:
    history = with_canary(Policy(on_new_version=OnNewVersion.SUPERSEDE))
    assert next_start(history.state) is None
    history.append(published(3))
    assert next_start(history.state) == (3, 1)
    history.append(started(2, 3, supersedes=1))
    assert next_start(history.state) is None


def test_what_was_rejected_or_undone_does_not_start_by_itself() -> None:
    history = with_canary()
    history.append(promoted(1, 2))
    history.append(Undone(version=history.state.previous or 1, undone=history.state.current or 2))
    assert next_start(history.state) is None
    history.append(published(3))
    history.append(started(2, 3))
    history.append(Rejected(rollout=2, code=ReasonCode.QUALITY_GATE))
    assert next_start(history.state) is None


def test_an_older_version_is_no_update() -> None:
    history = History(published(1, initial=True), published(2), published(3), started(1, 3))
    history.append(Verified(rollout=1, share=0.5))
    history.append(promoted(1, 3))
    assert history.state.versions[history.state.next_version - 2].state is VersionState.PUBLISHED
    assert next_start(history.state) is None


@pytest.mark.parametrize("code", [ReasonCode.SIGNALS, ReasonCode.DRIFT, ReasonCode.DISAGREEMENT])
@pytest.mark.parametrize("lenient", [True, False])
def test_a_stricter_policy_holds_for_what_was_let_pass_and_not_for_what_was_vouched_for(
    code: ReasonCode, lenient: bool
) -> None:
    words = {"shift": "other answers"} if code is ReasonCode.SIGNALS else {}
    words |= {"drift": "other pictures"} if code is ReasonCode.DRIFT else {}
    seen = situation(msgspec.structs.replace(GOOD, **words), clock=10.0)
    if code is ReasonCode.DISAGREEMENT:
        seen = msgspec.structs.replace(seen, disagreement="they disagree")
    history = with_canary(NOTES)
    asked = decide(history.state, seen)
    assert isinstance(asked, Note) and (asked.code, asked.lenient) == (code, True)
    history.append(Noted(rollout=1, code=code, lenient=lenient))
    assert isinstance(decide(history.state, seen), Hold), "once"
    history.append(PolicyChanged(rollout=1, policy=HOLDS, share=0.5))
    stricter = decide(history.state, seen)
    if lenient:
        assert isinstance(stricter, Suspend) and stricter.code is code
        history.append(PolicyChanged(rollout=1, policy=NOTES, share=0.5))
        assert isinstance(decide(history.state, seen), Hold), "it is noted already"
    else:
        assert isinstance(stricter, Hold)
    assert history.replayed() == history.state


def test_a_note_of_an_older_journal_folds_as_before() -> None:
    history = with_canary(NOTES)
    older = msgspec.json.decode(b'{"kind": "noted", "rollout": 1, "code": "signals"}', type=Noted)
    history.append(older)
    assert history.state.rollout is not None
    assert history.state.rollout.explained == (ReasonCode.SIGNALS,)


def test_a_disagreement_holds_once_and_never_rolls_back() -> None:
    said = msgspec.structs.replace(situation(clock=10.0), disagreement="they disagree")
    state = with_canary().state
    decision = decide(state, said)
    assert isinstance(decision, Suspend) and decision.code is ReasonCode.DISAGREEMENT
    shared = decide(state, msgspec.structs.replace(said, verdict=SHARED))
    assert isinstance(shared, Suspend) and shared.code is ReasonCode.SHARED_FAILURE, "it ends by itself"
    assert isinstance(decide(state, msgspec.structs.replace(said, verdict=BLAMED)), RollBack)
    noted = decide(state, msgspec.structs.replace(said, vouched=("golden set storm",)))
    assert isinstance(noted, Note) and noted.code is ReasonCode.DISAGREEMENT
    assert state.rollout is not None
    rollout = msgspec.structs.replace(state.rollout, explained=(ReasonCode.DISAGREEMENT,))
    decided = decide(msgspec.structs.replace(state, rollout=rollout), said)
    assert isinstance(decided, Hold) and "window" in decided.reason


def test_who_resumes_after_a_disagreement_has_seen_it() -> None:
    for code, seen in ((ReasonCode.INSUFFICIENT, ()), (ReasonCode.DISAGREEMENT, (ReasonCode.DISAGREEMENT,))):
        history = held(code)
        history.append(Resumed(rollout=1))
        assert history.state.rollout is not None
        assert history.state.rollout.explained == seen
        history.append(Held(rollout=1, code=ReasonCode.INSUFFICIENT))
        history.append(Resumed(rollout=1))
        assert history.state.rollout.explained == seen
