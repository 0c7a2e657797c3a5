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


class Loading(msgspec.Struct, frozen=True, kw_only=True):
    """How far the ready replicas are with a version that is to become the canary."""

    loaded: int
    """Replicas that have checked its files and loaded it."""
    waiting: dict[str, str]
    """Replicas that have not, and what they do instead, in words."""
    idle: tuple[str, ...]
    """Those of them that know of it and have not begun: they find no room, or no threads."""
    failed: tuple[str, ...]
    """What those say that cannot load it, with their names."""

    @property
    def words(self) -> str:
        """Who keeps it waiting, as a clause."""
        return ", ".join(f"{replica} {does}" for replica, does in self.waiting.items())


def loading(
    replicas: Iterable[Replica], candidate: Digest, *, seq: int, now: float, fresh_seconds: float
) -> Loading:
    """Asks the fresh replicas that serve something: one that starts, or is broken, keeps nobody waiting.

    `seq`: the journal's number. What a replica says counts when it has read that far: a failure of an earlier
    rollout is none of this one.
    """
    ready = [one for one in _fresh(replicas, now, fresh_seconds) if one.loaded]
    behind = {one.replica for one in ready if one.seq < seq}
    asked = [one for one in ready if one.replica not in behind]
    failed = [f"{one.replica}: {one.failed[candidate]}" for one in asked if candidate in one.failed]
    missing = {one.replica for one in asked if candidate not in one.loaded}
    idle = {one.replica for one in asked if candidate not in (*one.loaded, *one.loading, *one.failed)}
    does = dict.fromkeys(missing, "is loading it")
    does |= dict.fromkeys(idle, "has not begun to load it") | dict.fromkeys(behind, "lags behind the journal")
    return Loading(
        loaded=len(ready) - len(does),
        waiting=dict(sorted(does.items())),
        idle=tuple(sorted(idle)),
        failed=tuple(failed),
    )


def shortages(
    replicas: Iterable[Replica], digest: Digest, model: int, *, now: float, fresh_seconds: float
) -> tuple[list[str], float]:
    """What each fresh replica without room for a version says, which has a model.onnx of `model` bytes and is
    neither loaded nor loading there; and how long a version takes to load there, seconds."""
    fresh = [one for one in _fresh(replicas, now, fresh_seconds) if digest not in (*one.loaded, *one.loading)]
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
