"""A journal in memory: bodies in, states out."""

import hashlib

import msgspec

from serinus.core.enums import ReasonCode
from serinus.core.ids import Digest, Version
from serinus.rollout.events import Body, Event, Promoted, Published, RolledBack, RolloutStarted, Verified
from serinus.rollout.policy import Policy
from serinus.rollout.state import State
from serinus.rollout.transitions import apply


class History:
    """Appends events as the store does: encoded, linked by their hashes."""

    def __init__(self, *bodies: Body) -> None:
        self.state = State()
        self.files: list[bytes] = []
        for body in bodies:
            self.append(body)

    def append(self, body: Body, *, reason: str = "because", actor: str = "test") -> State:
        number = self.state.seq + 1
        event = Event(
            seq=number,
            id=f"{number:032x}",
            prev=self.state.head,
            time=1000.0 + number,
            actor=actor,
            reason=reason,
            body=body,
        )
        data = msgspec.json.encode(event)
        self.state = apply(self.state, event, hashlib.sha256(data).hexdigest())
        self.files.append(data)
        return self.state

    def replayed(self) -> State:
        state = State()
        for data in self.files:
            event = msgspec.json.decode(data, type=Event)
            state = apply(state, event, hashlib.sha256(data).hexdigest())
        return state


def digest(number: int) -> Digest:
    return Digest(hashlib.sha256(str(number).encode()).hexdigest())


def published(number: int, *, initial: bool = False) -> Published:
    return Published(version=Version(number), digest=digest(number), initial=initial)


def started(
    rollout: int, version: int, *, policy: Policy | None = None, supersedes: int | None = None
) -> RolloutStarted:
    return RolloutStarted(
        rollout=rollout, version=Version(version), policy=policy or Policy(), supersedes=supersedes
    )


def promoted(rollout: int, version: int) -> Promoted:
    return Promoted(rollout=rollout, version=Version(version), code=ReasonCode.EVIDENCE_GOOD)


def rolled_back(rollout: int, version: int, code: ReasonCode = ReasonCode.ERRORS) -> RolledBack:
    return RolledBack(rollout=rollout, version=Version(version), code=code)


def with_canary(policy: Policy | None = None) -> History:
    """Version 1 is current, version 2 is the canary of rollout 1."""
    policy = policy or Policy()
    return History(
        published(1, initial=True),
        published(2),
        started(1, 2, policy=policy),
        Verified(rollout=1, share=policy.share),
    )
