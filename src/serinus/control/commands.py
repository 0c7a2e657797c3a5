"""Decisions by hand: each validates, appends one event and gives it. Shared by command line and control API.

`actor`: who decides (`alice via ui`); `reason`: why, for the history; `expect`: the `State.seq` that was
looked at, so that a decision made on an old page is refused. All raise Conflict when the state does not
allow the decision (nothing is written then), and InvalidInput for input that makes no sense.
"""

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from serinus.control import room
from serinus.control.judged import FeedbackWatch
from serinus.control.ledger import Standing, standing
from serinus.control.outcomes import numbers_of
from serinus.control.trust import NOTHING_REQUIRED, Trust, insist
from serinus.core.enums import ReasonCode, RolloutPhase
from serinus.core.errors import Conflict, Corrupt, InvalidInput, NotFound, Unavailable
from serinus.core.ids import Digest, Version
from serinus.evidence.verdict import Verdict
from serinus.rollout.decide import steps_left
from serinus.rollout.events import (
    Body,
    Event,
    Paused,
    PolicyChanged,
    Promoted,
    Resumed,
    RolledBack,
    RolloutStarted,
    Undone,
)
from serinus.rollout.feedback import objection
from serinus.rollout.policy import Policy, same_null, share_of_step, step_of
from serinus.rollout.state import Rollout, State, was_current
from serinus.store import Store

BY_HAND = "by hand"
_LONGEST_REASON = 2000
_ATTEMPTS = 5
_LATE_SECONDS = 5.0
"""So much later are requests frozen that came while the rollout was held, and what a replica still had."""
_ALIVE_SECONDS = 10.0
"""A replica whose heartbeat is so much older than the newest one counts as gone."""


class _Draft(NamedTuple):
    """An event to be: its body, and the reason for the history."""

    body: Body
    reason: str


def promote(
    store: Store,
    *,
    actor: str,
    reason: str = "",
    expect: int | None = None,
    confirm: bool = False,
    trust: Trust = NOTHING_REQUIRED,
) -> Event:
    """Makes the canary current now.

    Before the window is over, before the evidence suffices or against an alarm it takes `confirm` and a
    reason; the event then records the override. Neither gets around a signature that is required.
    """

    def draft(state: State) -> _Draft:
        rollout = _active(state, "promote")
        if rollout.phase is RolloutPhase.VERIFYING:
            raise Conflict(
                f"Version {rollout.version} is still being verified; it has not served a request.",
                remedy="Wait until it is the canary.",
            )
        at = standing(store, rollout)
        verdict = at.verdict()
        judged = FeedbackWatch(store).standing(state, rollout)
        objections = _objections(store, rollout, at, verdict)
        if said := objection(rollout.policy.feedback, judged):
            objections.append(said)
        if objections and not confirm:
            raise Conflict(
                f"Version {rollout.version} is not ready to be promoted: {'; '.join(objections)}.",
                remedy="Wait, or confirm (`--confirm`) that you want it anyway and say why.",
            )
        if objections and not reason.strip():
            raise InvalidInput("An override needs a reason.", remedy="Say why, for the history.")
        digest = state.versions[rollout.version].digest
        store.verify(digest)
        insist(store, digest, trust, required=rollout.policy.require_signature)
        body = Promoted(
            rollout=rollout.number,
            version=rollout.version,
            code=ReasonCode.MANUAL,
            override=bool(objections),
            numbers=numbers_of(rollout, at, verdict, feedback=judged),
            evidence=at.digest,
            policy=rollout.policy.name,
        )
        said = _words(reason)
        return _Draft(body, f"{said} (Override: {'; '.join(objections)})" if objections else said)

    return _decide(store, draft, actor, expect)


def _objections(store: Store, rollout: Rollout, at: Standing, verdict: Verdict) -> list[str]:
    """Why the controller would not promote it now."""
    found = []
    left = rollout.policy.window_seconds - at.window
    if left > 0:
        found.append(f"{left:.0f} s of the window are left")
    if steps_left(rollout):
        found.append(f"step {rollout.step + 1} of {len(rollout.policy.shares)} is reached")
    if any(rollout.number in replica.trips for replica in store.replicas()):
        found.append("a replica stopped it on its own evidence")
    if verdict.blame is not None or verdict.alarm or not verdict.good:
        found.append(verdict.words)
    return found


def rollback(store: Store, *, actor: str, reason: str = "", expect: int | None = None) -> Event:
    """Ends the active rollout; current gets all traffic again."""

    def draft(state: State) -> _Draft:
        rollout = _active(state, "roll back")
        at = standing(store, rollout)
        body = RolledBack(
            rollout=rollout.number,
            version=rollout.version,
            code=ReasonCode.MANUAL,
            numbers=numbers_of(rollout, at, at.verdict()),
            evidence=at.digest,
            policy=rollout.policy.name,
        )
        return _Draft(body, _words(reason))

    return _decide(store, draft, actor, expect)


def undo(
    store: Store,
    *,
    version: Version | None = None,
    actor: str,
    reason: str = "",
    expect: int | None = None,
    trust: Trust = NOTHING_REQUIRED,
) -> Event:
    """Brings the previous current version back, or an older one that was current. Raises Corrupt, naming the
    file, when it is damaged; Conflict when it was never current, or an undo took it away.

    Where `trust` requires a signature, that version must have one, as any other that is to serve.
    """

    def draft(state: State) -> _Draft:
        target = state.previous if version is None else version
        if target is None or state.current is None:
            raise Conflict("There is nothing to undo: no version was promoted, or it was undone already.")
        if not was_current(state, target):
            raise Conflict(
                f"No undo leads to version {target}: it was never current, or is, or was undone, or removed.",
                remedy=f"`serinus rollout start {target}` gives it its checks and a trial, if it is there.",
            )
        digest = state.versions[target].digest
        store.verify(digest)
        insist(store, digest, trust, required=False)
        said = _words(reason)
        if gap := _gap(store, state, digest):
            said = f"{said} ({gap})"
        return _Draft(Undone(version=target, undone=state.current), said)

    return _decide(store, draft, actor, expect)


def _gap(store: Store, state: State, digest: Digest) -> str:
    """What is to be announced where the version must be loaded and finds no room; empty where it does.

    Raises Conflict where the policy of the last rollout refuses that.
    """
    replicas = store.replicas()
    newest = max((replica.time for replica in replicas), default=0.0)
    on_no_room = Policy().on_no_room if state.last is None else state.last.policy.on_no_room
    at = room.judge(store, replicas, digest, on_no_room, now=newest, fresh_seconds=_ALIVE_SECONDS)
    if at.refused:
        raise Conflict(at.words, remedy=room.REMEDY)
    return at.words if at.sequential else ""


def pause(store: Store, *, actor: str, reason: str = "", expect: int | None = None) -> Event:
    """Freezes the window's clock and promotion; rollback stays armed."""

    def draft(state: State) -> _Draft:
        number = _active(state, "pause").number
        k: int | None = None
        try:
            last = store.last_frozen(number)
            k = -1 if last is None else last.k
        except Corrupt:
            pass  # a pause is for trouble: damaged evidence does not stand in its way
        return _Draft(Paused(rollout=number, k=k), _words(reason))

    return _decide(store, draft, actor, expect)


def resume(store: Store, *, actor: str, reason: str = "", expect: int | None = None) -> Event:
    """Ends a pause or a hold; after a hold the longest evaluation counts anew."""

    def draft(state: State) -> _Draft:
        rollout = _active(state, "resume")
        at = standing(store, rollout)
        late = _LATE_SECONDS if rollout.code is ReasonCode.ASSIGNMENT else 0.0
        body = Resumed(rollout=rollout.number, clock=at.clock, k=at.k, late=late)
        return _Draft(body, _words(reason))

    return _decide(store, draft, actor, expect)


def start(
    store: Store,
    version: Version,
    *,
    policy: Policy,
    actor: str,
    reason: str = "",
    expect: int | None = None,
) -> Event:
    """Starts a rollout of `version`, also one that was rejected or retired; supersedes an active one.

    Raises NotFound when there is no such version, InvalidInput for a policy that no rollout can obey.
    """

    def draft(state: State) -> _Draft:
        if version not in state.versions:
            raise NotFound(f"There is no version {version}.", remedy="`serinus versions list` names them.")
        if problems := policy.problems():
            raise InvalidInput(f"No rollout can obey this policy: {'; '.join(problems)}.")
        body = RolloutStarted(
            rollout=state.rollouts + 1,
            version=version,
            policy=policy,
            supersedes=None if state.rollout is None else state.rollout.number,
        )
        return _Draft(body, _words(reason))

    return _decide(store, draft, actor, expect)


def change_policy(
    store: Store,
    *,
    policy: Policy,
    step: int | None = None,
    actor: str,
    reason: str = "",
    expect: int | None = None,
) -> Event:
    """Lets the active rollout obey another policy from now on.

    The evidence goes on where its null hypotheses stay the same, else it starts afresh; the share is the new
    policy's, on its `step` (from 0; None: the one that the present share has reached). Gates before traffic
    hold for what is verified from then on. Raises InvalidInput for a policy that no rollout can obey, and for
    a step that it does not have.
    """

    def draft(state: State) -> _Draft:
        rollout = _active(state, "change")
        if problems := policy.problems():
            raise InvalidInput(f"No rollout can obey this policy: {'; '.join(problems)}.")
        if step is not None and not 0 <= step < len(policy.shares):
            raise InvalidInput(
                f"The policy {policy.name!r} has no step {step}.",
                remedy=f"Steps count from 0; its last one is {len(policy.shares) - 1}.",
            )
        at = standing(store, rollout)
        same_ladder = rollout.policy.shares == policy.shares
        reached = rollout.step if same_ladder else step_of(policy, rollout.share)
        begins = reached if step is None else step
        fresh = not same_null(rollout.policy, policy)
        kept = rollout.share == 0 or rollout.sequential
        body = PolicyChanged(
            rollout=rollout.number,
            policy=policy,
            share=rollout.share if kept else share_of_step(policy, rollout.baseline, begins),
            step=begins,
            fresh=fresh,
            k=at.k,
            clock=at.clock,
            numbers=numbers_of(rollout, at, at.verdict()),
        )
        goes_on = "the evidence starts afresh" if fresh else "the evidence goes on"
        return _Draft(body, f"{_words(reason)} (Policy {policy.name}; {goes_on}.)")

    return _decide(store, draft, actor, expect)


def change_share(
    store: Store, share: float, *, actor: str, reason: str = "", expect: int | None = None
) -> Event:
    """Gives the canary another share of the requests: its policy with that share instead of its steps.

    The evidence goes on. Raises InvalidInput for a share that is none, Conflict while there is no baseline.
    """
    rollout = _active(store.state(), "change")
    if rollout.baseline is None:
        raise Conflict("There is no other version that could take the rest of the requests.")
    policy = msgspec.structs.replace(rollout.policy, share=share, steps=())
    return change_policy(store, policy=policy, actor=actor, reason=reason, expect=expect)


def _decide(store: Store, draft: Callable[[State], _Draft], actor: str, expect: int | None) -> Event:
    """Appends what `draft` makes of the state. Without `expect` a lost race is tried again."""
    for _ in range(_ATTEMPTS):
        state = store.state()
        if expect is not None and expect != state.seq:
            raise Conflict(
                f"The journal has moved on: event {state.seq} is the last, not {expect}.",
                remedy="Look again (`serinus rollout status`), then decide.",
            )
        body, reason = draft(state)
        try:
            return store.append(
                body, actor=actor, reason=reason, expect=state.seq if expect is None else expect
            )
        except Conflict:
            if expect is not None or store.state().seq == state.seq:
                raise
    raise Unavailable("The journal moves on faster than this decision is made.", remedy="Try again.")


def _active(state: State, verb: str) -> Rollout:
    if state.rollout is None:
        raise Conflict(f"There is nothing to {verb}: no rollout is active.")
    return state.rollout


def _words(reason: str) -> str:
    words = reason.strip()
    if len(words) > _LONGEST_REASON:
        raise InvalidInput(f"The reason has {len(words)} characters; {_LONGEST_REASON} are enough.")
    return words or BY_HAND
