"""Who answers a request: pure functions from the registry's state to one immutable snapshot.

A request keeps the snapshot that it started with; the replica's loop only ever replaces the whole of it.
"""

from collections.abc import Container

import msgspec

from serinus.core.enums import Arm, RolloutPhase
from serinus.core.ids import Digest, Version
from serinus.rollout.policy import OnNoRoom, Policy, Sticky
from serinus.rollout.state import Rollout, State, VersionRecord, once_current


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A version that can be asked."""

    version: Version
    digest: Digest
    published_at: float
    """Seconds since 1970-01-01 UTC."""


class Shadowing(msgspec.Struct, frozen=True, kw_only=True):
    """How often the other version is asked, too, after the answer."""

    share: float
    """Probability, in (0, 1]."""
    keep_inputs: bool
    """Whether the worst disagreements are kept with their pictures."""
    below: float
    """Agreement F1 below which a pair disagrees."""


class RouteSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What a replica obeys. Both targets are loaded."""

    seq: int = 0
    """The journal's event that it follows from."""
    current: Target | None = None
    canary: Target | None = None
    rollout: int | None = None
    """The rollout whose canary is here, if any."""
    share: float = 0.0
    """Probability that a request is assigned to the canary, in [0, 1]."""
    sticky: Sticky | None = None
    """How users are told apart that stay with one version; None: each request tosses its own coin."""
    override_header: str | None = None
    """Header in which testers ask for an arm."""
    salt: str = ""
    """What makes the places of pinned users another draw in each rollout."""
    shadowing: Shadowing | None = None
    """None: no request is asked twice."""
    judges_latency: bool = False
    """Whether a version that takes long is blamed for that, and not only for what waits for it in vain."""

    def assign(self, coin: float) -> Arm:
        """The arm for a coin uniform in [0, 1)."""
        return Arm.CANARY if self.canary is not None and coin < self.share else Arm.CURRENT

    def target(self, arm: Arm) -> Target | None:
        return self.canary if arm is Arm.CANARY else self.current


def wanted(
    state: State, now: float, failed: Container[Digest], candidate: Digest | None = None
) -> tuple[Target, ...]:
    """The versions to load, the most urgent first.

    In a sequential rollout the canary alone, unless it `failed` to load. Else current, the canary, and the
    previous current for the policy's `rollback_window_seconds` after it was replaced, so that undo is
    instant. Also the `candidate`, while its rollout waits for the replicas to load it. When current is among
    the `failed`, also the version that takes its place: the previous one, or the newest that was current.
    """
    if (alone := in_place_of_current(state, failed)) is not None:
        return (alone,)
    records: list[VersionRecord] = []
    if state.current is not None:
        records.append(state.versions[state.current])
        if records[0].digest in failed:
            records += [record for record in once_current(state) if record.digest not in failed][:1]
    if state.canary is not None:
        records.append(state.canary)
    elif (becoming := to_come(state)) is not None and becoming.digest == candidate:
        records.append(becoming)
    if state.previous is not None:
        policy = state.last.policy if state.last is not None else Policy()
        if now < state.current_since + policy.rollback_window_seconds:
            records.append(state.versions[state.previous])
    return tuple({record.digest: target_of(record) for record in records}.values())


def to_come(state: State) -> VersionRecord | None:
    """The version that is being verified, if one is."""
    rollout = state.rollout
    if rollout is None or rollout.phase is not RolloutPhase.VERIFYING:
        return None
    return state.versions[rollout.version]


def in_place_of_current(state: State, failed: Container[Digest]) -> Target | None:
    """The canary of a sequential rollout, for which current makes way."""
    canary, rollout = state.canary, state.rollout
    if canary is None or rollout is None or not rollout.sequential or canary.digest in failed:
        return None
    return target_of(canary)


def on_no_room(state: State) -> OnNoRoom:
    """What the policy in force, or the last one, says of a version without room."""
    rollout = state.rollout or state.last
    return Policy().on_no_room if rollout is None else rollout.policy.on_no_room


def route(
    state: State, *, loaded: Container[Digest], tripped: Container[int], before: RouteSnapshot
) -> RouteSnapshot:
    """The snapshot for `state`, with what is loaded here.

    While current is not loaded, who answered before goes on, or a version that was current once. A canary
    that is not loaded gets nothing. `tripped`: rollouts whose canary this replica stopped by itself.
    """
    canary = state.canary
    rollout = state.rollout
    if canary is None or rollout is None or canary.digest not in loaded:
        return RouteSnapshot(seq=state.seq, current=_current(state, loaded, before))
    return RouteSnapshot(
        seq=state.seq,
        current=_current(state, loaded, before),
        canary=target_of(canary),
        rollout=rollout.number,
        share=_share(rollout, tripped),
        sticky=rollout.policy.sticky,
        override_header=rollout.policy.override_header,
        salt=f"{rollout.number}:{canary.digest}",
        shadowing=None if rollout.number in tripped else _shadowing(rollout.policy),
        judges_latency=rollout.policy.judge_latency,
    )


def _share(rollout: Rollout, tripped: Container[int]) -> float:
    if rollout.sequential:
        return 1.0  # there is nobody else
    return 0.0 if rollout.number in tripped else rollout.share


def _shadowing(policy: Policy) -> Shadowing | None:
    if policy.shadow_share == 0.0:
        return None
    return Shadowing(share=policy.shadow_share, keep_inputs=policy.keep_inputs, below=policy.shadow_agreement)


def _current(state: State, loaded: Container[Digest], before: RouteSnapshot) -> Target | None:
    if state.current is None:
        return None
    record = state.versions[state.current]
    if record.digest in loaded:
        return target_of(record)
    if before.current is not None and before.current.digest in loaded:
        return before.current
    return next((target_of(record) for record in once_current(state) if record.digest in loaded), None)


def target_of(record: VersionRecord) -> Target:
    """A version as something to ask."""
    return Target(version=record.version, digest=record.digest, published_at=record.published_at)
