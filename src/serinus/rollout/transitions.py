"""`apply`, which folds the journal: what the state is after an event that `table` allows.

Pure: no clock, no files.
"""

from collections.abc import Mapping

import msgspec

from serinus.core.enums import ReasonCode, RolloutPhase, VersionState
from serinus.core.ids import Version
from serinus.rollout.events import (
    EditionSaved,
    EpochReset,
    Event,
    Held,
    ImportRejected,
    Lost,
    Noted,
    Paused,
    PolicyChanged,
    Promoted,
    Published,
    Rejected,
    Removed,
    Resumed,
    RolledBack,
    RolloutStarted,
    ShareChanged,
    Undone,
    Verified,
)
from serinus.rollout.policy import Policy, share_of_step
from serinus.rollout.state import Edition, Rollout, State, VersionRecord, waiting, was_current
from serinus.rollout.table import (
    LOOK_AGAIN,
    STARTABLE,
    VERBS,
    IllegalTransition,
    Phase,
    active,
    either,
    following,
    situation,
)

FOLD = 3
"""Changes whenever `apply` gives another state for the same events: older snapshots are then left out."""

_REFUSED_KEPT = 100
"""A folder is moved away right after its event; so many are never on the way at once."""


def apply(state: State, event: Event, digest: str) -> State:
    """The state after `event`, whose file has the sha256 `digest`.

    Raises IllegalTransition, in words for people, when the event cannot follow.
    """
    if event.seq != state.seq + 1 or event.prev != state.head:
        raise IllegalTransition(
            f"Event {event.seq} does not follow event {state.seq} of the journal.",
            remedy="Somebody else was faster: look at the state again, then decide.",
        )
    after = _after(state, event)
    return msgspec.structs.replace(after, seq=event.seq, head=digest)


def _after(state: State, event: Event) -> State:
    body = event.body
    phase = following(state, type(body))
    match body:
        case Published() | ImportRejected() | EditionSaved() | Lost():
            after = _noted(state, body, event)
        case RolloutStarted():
            after = _start(state, body, event)
        case Undone():
            after = _undo(state, body, event)
        case Removed():
            after = _remove(state, body, event)
        case Promoted() | RolledBack():
            rollout = active(state, body.rollout, type(body))
            if body.version != rollout.version:
                raise IllegalTransition(
                    f"Cannot {VERBS[type(body)]} version {body.version}: {situation(state)}.",
                    remedy=LOOK_AGAIN,
                )
            after = _end(state, rollout, event, phase, body.code)
        case Rejected():
            after = _end(state, active(state, body.rollout, Rejected), event, phase, body.code)
        case _:
            rollout = active(state, body.rollout, type(body))
            if isinstance(body, PolicyChanged):
                moved = _under_policy(rollout, body)
            elif isinstance(body, ShareChanged):
                moved = _with_share(rollout, body, event)
            else:
                moved = _step(rollout, body, event)
            versions = state.versions
            if isinstance(body, Verified):
                versions = _with(versions, rollout.version, VersionState.CANARY, event.reason)
                canary = msgspec.structs.replace(versions[rollout.version], canary_at=event.time)
                versions[rollout.version] = canary
            after = msgspec.structs.replace(
                state, rollout=msgspec.structs.replace(moved, phase=phase), versions=versions
            )
    return after


def _noted(state: State, body: Published | ImportRejected | EditionSaved | Lost, event: Event) -> State:
    """Something is there, or is there no more; the rollout goes on."""
    match body:
        case Published():
            return _publish(state, body, event)
        case ImportRejected():
            return _refuse_import(state, body)
        case EditionSaved(edition=edition, sha256=sha256):
            folder = f"{body.what}/{body.name}"
            known = state.editions.get(folder)
            if known is not None and known.number >= edition:
                return state  # of two that were saved at once, the later one was told of first
            editions = {**state.editions, folder: Edition(number=edition, sha256=sha256)}
            return msgspec.structs.replace(state, editions=editions)
        case Lost():
            return msgspec.structs.replace(state, skipped=state.next_version, rollouts=state.rollouts + 1)


def _publish(state: State, body: Published, event: Event) -> State:
    if body.version != state.next_version:
        raise IllegalTransition(
            f"Cannot publish version {body.version}: the next number is {state.next_version}.",
            remedy="Somebody else published meanwhile: publish under the next number.",
        )
    if body.initial and state.versions:
        raise IllegalTransition(
            f"Cannot publish version {body.version} as the initial one: there are versions already.",
            remedy="Publish it as an ordinary version; it is then verified and rolled out.",
        )
    record = VersionRecord(
        version=body.version,
        digest=body.digest,
        content=body.content,
        state=VersionState.CURRENT if body.initial else VersionState.PUBLISHED,
        published_at=event.time,
        note=body.note,
        reason=event.reason,
        served=body.initial,
        source=body.source,
    )
    published = msgspec.structs.replace(state, versions={**state.versions, body.version: record})
    if not body.initial:
        return published
    return msgspec.structs.replace(published, current=body.version, current_since=event.time)


def _refuse_import(state: State, body: ImportRejected) -> State:
    if body.source in state.refused:
        raise IllegalTransition(
            f"Cannot reject the import of {body.source}: that was done already.", remedy=LOOK_AGAIN
        )
    return msgspec.structs.replace(state, refused=(*state.refused, body.source)[-_REFUSED_KEPT:])


def _start(state: State, body: RolloutStarted, event: Event) -> State:
    _check_start(state, body)
    if state.rollout is not None:
        state = _end(state, state.rollout, event, RolloutPhase.SUPERSEDED, ReasonCode.SUPERSEDED)
    rollout = Rollout(
        number=body.rollout,
        version=body.version,
        baseline=state.current,
        policy=body.policy,
        phase=RolloutPhase.VERIFYING,
        share=0.0,
        started_at=event.time,
        reason=event.reason,
    )
    return msgspec.structs.replace(
        state,
        versions=_with(state.versions, body.version, VersionState.VERIFYING, event.reason),
        rollout=rollout,
        rollouts=body.rollout,
    )


def _check_start(state: State, body: RolloutStarted) -> None:
    cannot = f"Cannot start a rollout of version {body.version}"
    active = state.rollout.number if state.rollout else None
    if active != body.supersedes:
        if active is None:
            raise IllegalTransition(
                f"{cannot} in place of rollout {body.supersedes}: that one is over.", remedy=LOOK_AGAIN
            )
        raise IllegalTransition(
            f"{cannot}: {situation(state)}.",
            remedy=f"Wait for its end, roll it back first, or supersede rollout {active}.",
        )
    if body.rollout != state.rollouts + 1:
        raise IllegalTransition(
            f"{cannot} as rollout {body.rollout}: the next number is {state.rollouts + 1}.",
            remedy=LOOK_AGAIN,
        )
    record = state.versions.get(body.version)
    if record is None:
        raise IllegalTransition(f"{cannot}: there is no such version.", remedy="Publish it first.")
    if record.state not in STARTABLE:
        raise IllegalTransition(
            f"{cannot}: its state is {record.state}.",
            remedy=f"A rollout starts from a version that is {either(sorted(STARTABLE))}.",
        )
    _check_policy(body.policy, cannot)


def _check_policy(policy: Policy, cannot: str) -> None:
    if problems := policy.problems():
        raise IllegalTransition(
            f"{cannot}: the policy {policy.name!r} cannot be obeyed.", remedy="; ".join(problems) + "."
        )


def _step(
    rollout: Rollout,
    body: Verified | Paused | Resumed | Held | Noted | EpochReset,
    event: Event,
) -> Rollout:
    """A move within a rollout; the phase apart."""
    replace = msgspec.structs.replace
    match body:
        case Verified():
            if body.share == 0.0:
                raise IllegalTransition("Cannot make it the canary with a share of 0.", remedy=_SHARE)
            return replace(
                rollout,
                share=_share(body.share),
                canary_at=event.time,
                vouched=body.vouched,
                measured=body.measured,
                past=body.past,
                sequential=body.sequential,
                reason=event.reason,
            )
        case Paused():
            return replace(rollout, reason=event.reason)
        case Held():
            return replace(rollout, held_at=event.time, held_k=body.k, code=body.code, reason=event.reason)
        case Noted():
            return _let_pass(rollout, body.code) if body.lenient else _explained(rollout, body.code)
        case Resumed():
            # Only a hold ends an evaluation; a pause stops its clock.
            counted_from = body.clock if rollout.phase is RolloutPhase.HELD else rollout.evaluate_from
            seen = rollout.code if rollout.code in _EXPLAINED_BY_HAND else None
            missplit = rollout.code is ReasonCode.ASSIGNMENT
            return replace(
                _back_to_canary(_explained(rollout, seen)),
                evaluate_from=counted_from,
                split_restarts=rollout.split_restarts + missplit,
                split_from=body.clock + body.late if missplit else rollout.split_from,
                reason=event.reason,
            )
        case EpochReset():
            return replace(
                _back_to_canary(rollout),
                epoch=rollout.epoch + 1,
                epoch_after=body.k,
                evaluate_from=body.clock,
                reason=event.reason,
            )


_EXPLAINED_BY_HAND = (ReasonCode.SIGNALS, ReasonCode.DRIFT, ReasonCode.DISAGREEMENT)
"""Who resumes such a hold has seen it."""


def _explained(rollout: Rollout, code: ReasonCode | None) -> Rollout:
    if code is None or code in rollout.explained:
        return rollout
    return msgspec.structs.replace(rollout, explained=(*rollout.explained, code))


def _let_pass(rollout: Rollout, code: ReasonCode) -> Rollout:
    passed = dict.fromkeys((*rollout.let_pass, code))
    return msgspec.structs.replace(rollout, let_pass=tuple(passed))


def _with_share(rollout: Rollout, body: ShareChanged, event: Event) -> Rollout:
    changed = msgspec.structs.replace(rollout, share=_share(body.share))
    if body.step is None:
        return changed
    return msgspec.structs.replace(
        changed, step=body.step, step_after=body.k, evaluate_from=body.clock, reason=event.reason
    )


def _under_policy(rollout: Rollout, body: PolicyChanged) -> Rollout:
    _check_policy(body.policy, "Cannot change the policy")
    known = (rollout.policy.shares, rollout.step) == (body.policy.shares, body.step)
    changed = msgspec.structs.replace(
        rollout,
        policy=body.policy,
        share=_share(body.share),
        step=body.step,
        # Another ladder, or another step of it, is climbed anew; else the step's evidence goes on.
        step_after=rollout.step_after if known else body.k,
    )
    if not body.fresh:
        return changed
    return msgspec.structs.replace(
        changed,
        epoch=rollout.epoch + 1,
        epoch_after=body.k,
        evaluate_from=body.clock,
        window_from=body.clock,
    )


def _back_to_canary(rollout: Rollout) -> Rollout:
    """A hold that lasted too long took the share away; without a baseline the canary is all there is."""
    declared = share_of_step(rollout.policy, rollout.baseline, rollout.step)
    return msgspec.structs.replace(rollout, share=rollout.share or declared, held_at=None, code=None)


def _share(share: float) -> float:
    if 0.0 <= share <= 1.0:
        return share
    raise IllegalTransition(f"{share:g} is no share of the requests.", remedy=_SHARE)


_VERSION_AFTER: Mapping[Phase, VersionState] = {
    RolloutPhase.PROMOTED: VersionState.CURRENT,
    RolloutPhase.ROLLED_BACK: VersionState.REJECTED,
    RolloutPhase.REJECTED: VersionState.REJECTED,
    RolloutPhase.SUPERSEDED: VersionState.RETIRED,
}


def _end(state: State, rollout: Rollout, event: Event, phase: Phase, code: ReasonCode) -> State:
    ended = msgspec.structs.replace(rollout, phase=phase, ended_at=event.time, code=code, reason=event.reason)
    versions = _with(state.versions, rollout.version, _VERSION_AFTER[phase], event.reason)
    after = msgspec.structs.replace(state, versions=versions, rollout=None, last=ended)
    if phase is not RolloutPhase.PROMOTED:
        return after
    return _replace_current(after, rollout.version, event, previous=state.current)


def _undo(state: State, body: Undone, event: Event) -> State:
    known = was_current(state, body.version)
    if state.previous is None and not known:
        raise IllegalTransition(
            "Cannot undo: there is no previous current version.",
            remedy="Start a rollout of the version that you want back: `serinus rollout start VERSION`.",
        )
    if body.undone != state.current or not known:
        raise IllegalTransition(
            f"Cannot undo version {body.undone} in favour of {body.version}:"
            f" current is version {state.current}, before it was {state.previous}.",
            remedy=LOOK_AGAIN,
        )
    after = _replace_current(state, body.version, event, previous=None)
    undone = msgspec.structs.replace(after.versions[body.undone], served=False)
    return msgspec.structs.replace(after, versions={**after.versions, body.undone: undone})


def _remove(state: State, body: Removed, event: Event) -> State:
    versions = state.versions
    for version in body.versions:
        if (why := needed(state, version)) is not None:
            raise IllegalTransition(f"Cannot remove version {version}: {why}.", remedy=LOOK_AGAIN)
        versions = _with(versions, version, VersionState.REMOVED, event.reason)
    return msgspec.structs.replace(state, versions=versions)


def needed(state: State, version: Version) -> str | None:
    """Why a version's artifact must stay, in words; None when it may go."""
    record = state.versions.get(version)
    if record is None:
        return "there is no such version"
    if version == state.previous:
        return "undo would bring it back"
    if state.rollout is not None and version in (state.rollout.version, state.rollout.baseline):
        return f"rollout {state.rollout.number} needs it"
    if [version] == waiting(state)[-1:]:
        return "it is the newest whose rollout is still to come"
    if record.state is VersionState.CURRENT:
        return "it is current"
    return "it was removed before" if record.state is VersionState.REMOVED else None


def _replace_current(state: State, version: Version, event: Event, *, previous: Version | None) -> State:
    versions = state.versions
    if state.current is not None:
        retired = f"replaced by version {version}: {event.reason}"
        versions = _with(versions, state.current, VersionState.RETIRED, retired)
    versions = _with(versions, version, VersionState.CURRENT, event.reason)
    serving = msgspec.structs.replace(versions[version], served=True)
    return msgspec.structs.replace(
        state,
        versions={**versions, version: serving},
        current=version,
        previous=previous,
        current_since=event.time,
    )


def _with(
    versions: Mapping[Version, VersionRecord], version: Version, state: VersionState, reason: str
) -> dict[Version, VersionRecord]:
    changed = msgspec.structs.replace(versions[version], state=state, reason=reason)
    return {**versions, version: changed}


_SHARE = "A share is at least 0 and at most 1; a canary starts above 0."
