"""What is generated from the state: the hint who serves, the views, and the list of live replicas."""

from typing import NamedTuple

import msgspec

from serinus.control.arrivals import Arrivals
from serinus.control.importing import Importer
from serinus.core.ids import Clock, Version
from serinus.rollout.state import State
from serinus.store import Routes, Served, Store


class Candidate(NamedTuple):
    """To be loaded by the replicas, and not yet the canary."""

    version: Version
    waits_for: str


def routes_of(state: State, *, clock: float, time: float) -> Routes:
    """The hint for replicas. `clock`: the window's, in seconds; `time`: UTC seconds."""
    rollout, canary = state.rollout, state.canary
    return Routes(
        seq=state.seq,
        current=_served(state, state.current),
        canary=None if canary is None else _served(state, canary.version),
        rollout=None if rollout is None else rollout.number,
        phase=None if rollout is None else rollout.phase,
        share=0.0 if rollout is None or canary is None else rollout.share,
        clock=clock if rollout is not None else 0.0,
        window_seconds=0.0 if rollout is None else rollout.policy.window_seconds,
        time=time,
    )


def _served(state: State, version: Version | None) -> Served | None:
    return None if version is None else Served(version=version, digest=state.versions[version].digest)


_OBSERVATIONS_SECONDS = 24 * 3600.0
"""Observations of a rollout that is over stay this long; the frozen evidence has what they said."""
_PREDICTIONS_SECONDS = 7 * 24 * 3600.0
"""Answers of a process that is gone can be judged this long."""

_GALLERY_SECONDS = 30 * 24 * 3600.0
"""Disagreements of a rollout that is over can be looked at this long."""


class Upkeep:
    """Does it when something changed, and now and then anyway: somebody may have meddled with the files.

    Models from elsewhere that lie where the views belong are noticed on the way, and their imports begun.
    """

    def __init__(
        self,
        store: Store,
        arrivals: Arrivals,
        importer: Importer,
        *,
        clock: Clock,
        heal_seconds: float,
        forget_seconds: float,
    ) -> None:
        self._store = store
        self._arrivals = arrivals
        self._importer = importer
        self._clock = clock
        self._heal = heal_seconds
        self._forget = forget_seconds
        self._healed: float | None = None
        self._seq = -1

    def turn(self, state: State, clock: float, now: float, candidate: Candidate | None = None) -> None:
        """`clock`: the window's, in seconds; `now`: monotonic seconds."""
        routes = routes_of(state, clock=clock, time=self._clock())
        if candidate is not None:
            served = _served(state, candidate.version)
            routes = msgspec.structs.replace(routes, candidate=served, waits_for=candidate.waits_for)
        self._assert_routes(routes)
        due = self._healed is None or now - self._healed >= self._heal
        taken = self._arrivals.turn(now)
        self._importer.turn()
        if state.seq != self._seq or due or taken:
            self._store.refresh_views()
            self._seq = state.seq
        if due:
            active = state.rollout.number if state.rollout is not None else None
            self._forget_replicas(active)
            self._store.forget_observations(keep=active, before=self._clock() - _OBSERVATIONS_SECONDS)
            self._store.predictions.forget(before=self._clock() - _PREDICTIONS_SECONDS)
            self._store.gallery.forget(keep=active, before=self._clock() - _GALLERY_SECONDS)
            self._healed = now

    def _assert_routes(self, routes: Routes) -> None:
        there = self._store.routes()
        if there is not None and there.seq == routes.seq and routes.candidate is None:
            # Of two controllers the one that was slower to check it does not take the hint back.
            routes = msgspec.structs.replace(routes, candidate=there.candidate, waits_for=there.waits_for)
        same = there is not None and msgspec.structs.replace(there, time=routes.time) == routes
        newer = there is not None and there.seq > routes.seq
        if not same and not newer:
            self._store.put_routes(routes)

    def _forget_replicas(self, rollout: int | None) -> None:
        """Who was not heard of for long, except who stopped the canary of the active rollout."""
        now = self._clock()
        for replica in self._store.replicas():
            if abs(now - replica.time) >= self._forget and rollout not in replica.trips:
                self._store.remove_replica(replica.replica)
