"""What the replicas say right now, as one value."""

from collections.abc import Iterable

import msgspec

from serinus.core.ids import Digest
from serinus.evidence.counts import Categories, added
from serinus.rollout.room import shortage
from serinus.store import Replica


class Readings(msgspec.Struct, frozen=True, kw_only=True):
    """The heartbeats, read for one canary."""

    ready: bool
    """There is a replica, and every fresh one has the canary loaded."""
    in_flight: int
    """Canary requests that are not settled."""
    load_failure: str
    """Why a fresh replica could not load the canary; empty when none says so."""
    tripped: bool
    """A replica stopped the canary on its own evidence."""


def read(
    replicas: Iterable[Replica], *, canary: Digest, rollout: int, now: float, fresh_seconds: float
) -> Readings:
    """`replicas` may be old ones too: a trip stays a trip when its replica has gone.

    `now`: UTC seconds. A heartbeat from as far ahead is no fresher than one from the past: a clock was set
    back, and who lives writes again.
    """
    everyone = list(replicas)
    fresh = _fresh(everyone, now, fresh_seconds)
    failures = [
        f"{replica.replica}: {replica.failed[canary]}" for replica in fresh if canary in replica.failed
    ]
    return Readings(
        ready=bool(fresh) and all(canary in replica.loaded for replica in fresh),
        in_flight=sum(replica.in_flight for replica in fresh),
        load_failure="; ".join(failures[:3]),
        tripped=any(rollout in replica.trips for replica in everyone),
    )


def shortages(
    replicas: Iterable[Replica], digest: Digest, model: int, *, now: float, fresh_seconds: float
) -> tuple[list[str], float]:
    """What each fresh replica without room for a version says, which has a model.onnx of `model` bytes and is
    not loaded there; and how long a version takes to load there, seconds."""
    fresh = [one for one in _fresh(replicas, now, fresh_seconds) if digest not in one.loaded]
    short = {one.replica: words for one in fresh if (words := shortage(one.memory, model))}
    seconds = [one.memory.load_seconds for one in fresh if one.memory is not None and one.replica in short]
    return [f"{replica}: {words}" for replica, words in short.items()], max(seconds, default=0.0)


def past(
    replicas: Iterable[Replica], current: Digest | None, *, now: float, fresh_seconds: float
) -> Categories:
    """What `current` answered to users of late, on all fresh replicas; nothing where nobody says so."""
    told = (one.past for one in _fresh(replicas, now, fresh_seconds) if one.past_of == current)
    return {} if current is None else added(told)


def _fresh(replicas: Iterable[Replica], now: float, fresh_seconds: float) -> list[Replica]:
    return [replica for replica in replicas if abs(now - replica.time) < fresh_seconds]
