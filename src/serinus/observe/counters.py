"""Hot-path counters that become evidence: a request costs a few dictionary look-ups under a lock.

A request belongs to the slice of time of its *arrival*. A slice is closed when its time is over and each of
its requests is settled or past the deadline, which is a failure: slow requests are never missing. Slices
close in the order of time. Everything is counted by the *assigned* arm; retries and fail-overs are not. Of
a pinned user one request counts for each toss that he was subject to (see `units`).
"""

import threading
from collections import defaultdict
from collections.abc import Callable
from typing import NamedTuple

from serinus.core.enums import Arm, FailureKind, Stratum
from serinus.evidence.counts import Answer, Cell, Slice, categories, latency_bin, merge
from serinus.evidence.units import Units
from serinus.observe.past import Past


class Ticket:
    """One request in flight. Settle it once; what comes after its deadline is ignored."""

    __slots__ = ("arm", "arrived", "rollout", "settled", "share", "slot", "stratum")

    def __init__(
        self, *, rollout: int, arm: Arm, stratum: Stratum, share: float, arrived: float, slot: int
    ) -> None:
        self.rollout = rollout
        self.arm = arm
        self.stratum = stratum
        self.share = share
        self.arrived = arrived
        """Monotonic seconds."""
        self.slot = slot
        self.settled = False


class Closed(NamedTuple):
    """A closed slice of one rollout; never empty."""

    rollout: int
    slice: Slice


class _Counts:
    def __init__(self) -> None:
        self.ok: dict[int, int] = defaultdict(int)
        self.failed: dict[FailureKind, int] = defaultdict(int)
        self.answers: dict[Answer, int] = defaultdict(int)


class _Open:
    """A slice that still takes outcomes."""

    def __init__(self) -> None:
        self.counts: dict[tuple[int, Arm, Stratum, float], _Counts] = defaultdict(_Counts)
        self.waiting: set[Ticket] = set()

    def count(self, ticket: Ticket) -> _Counts:
        return self.counts[ticket.rollout, ticket.arm, ticket.stratum, ticket.share]


class Counters:
    """Counts by slice, rollout, arm, stratum and share. Thread-safe.

    `slice_seconds`: length of a slice. `monotonic`: gives seconds. `deadline_seconds`: a request that is not
    settled this long after its arrival is a failure (`timeout`).
    """

    def __init__(
        self, slice_seconds: float, monotonic: Callable[[], float], *, deadline_seconds: float
    ) -> None:
        self._length = slice_seconds
        self._monotonic = monotonic
        self._deadline = deadline_seconds
        self._lock = threading.Lock()
        self._open: dict[int, _Open] = defaultdict(_Open)
        self.past = Past()
        """What users were answered while no version was on trial."""
        self._units = Units()
        self._units_of = -1

    def arrive(
        self, rollout: int, arm: Arm, stratum: Stratum, share: float, unit: int | None = None
    ) -> Ticket | None:
        """A request was assigned to `arm` while the canary's share was `share`.

        `unit`: the pinned user who sent it. None: it counts for nothing, since no toss brought it there.
        """
        with self._lock:
            if unit is not None:
                tossed = self._toss(rollout, unit, arm, share)
                if tossed is None:
                    return None
                share = tossed
            now = self._monotonic()
            slot = int(now // self._length)
            ticket = Ticket(rollout=rollout, arm=arm, stratum=stratum, share=share, arrived=now, slot=slot)
            self._open[slot].waiting.add(ticket)
        return ticket

    def succeed(self, ticket: Ticket, answer: Answer, *, queued: float = 0.0) -> None:
        """The version answered well, just now. `queued`: seconds since the arrival that do not count as its
        latency; how long a request waits for a worker, the others and the share decide too."""
        seconds = self._monotonic() - ticket.arrived - queued
        with self._lock:
            if slice_ := self._settle(ticket):
                counts = slice_.count(ticket)
                counts.ok[latency_bin(seconds)] += 1
                counts.answers[answer] += 1

    def fail(self, ticket: Ticket, kind: FailureKind) -> None:
        """The version failed the request."""
        with self._lock:
            if slice_ := self._settle(ticket):
                slice_.count(ticket).failed[kind] += 1

    def discard(self, ticket: Ticket) -> None:
        """The request says nothing about the version: bad input, or the client left. At most once."""
        with self._lock:
            self._settle(ticket)

    def in_flight(self, arm: Arm, rollout: int) -> int:
        """Users' requests to one arm of a rollout that are not settled. Probes are nobody's failure."""
        with self._lock:
            waiting = [ticket for slice_ in self._open.values() for ticket in slice_.waiting]
        mine = (rollout, arm, Stratum.USERS)
        return sum((ticket.rollout, ticket.arm, ticket.stratum) == mine for ticket in waiting)

    def close(self, *, everything: bool = False) -> list[Closed]:
        """The slices closed since the last call, oldest first, without empty ones.

        `everything`: the process ends; what still waits is counted as `timeout`, since nobody got an answer.
        """
        now = self._monotonic()
        closed: list[_Open] = []
        with self._lock:
            for slot in sorted(self._open):
                slice_ = self._open[slot]
                for ticket in list(slice_.waiting):
                    if everything or now - ticket.arrived > self._deadline:
                        self._settle(ticket)
                        slice_.count(ticket).failed[FailureKind.TIMEOUT] += 1
                if not everything and ((slot + 1) * self._length > now or slice_.waiting):
                    break
                closed.append(self._open.pop(slot))
        return [made for slice_ in closed for made in _closed(slice_)]

    def _toss(self, rollout: int, unit: int, arm: Arm, share: float) -> float | None:
        """Only the newest rollout's users are known; one that is over learns nothing more."""
        if rollout > self._units_of:
            self._units, self._units_of = Units(), rollout
        return self._units.toss(unit, arm, share) if rollout == self._units_of else None

    def _settle(self, ticket: Ticket) -> _Open | None:
        """The ticket's slice, or None when its outcome is already counted."""
        if ticket.settled:
            return None
        ticket.settled = True
        slice_ = self._open[ticket.slot]
        slice_.waiting.discard(ticket)
        return slice_


def _closed(slice_: _Open) -> list[Closed]:
    by_rollout: dict[int, list[Cell]] = defaultdict(list)
    for (rollout, arm, stratum, share), counts in slice_.counts.items():
        cell = Cell(
            arm=arm,
            stratum=stratum,
            share=share,
            ok=dict(counts.ok),
            failed=dict(counts.failed),
            signals=categories(counts.answers),
        )
        by_rollout[rollout].append(cell)
    return [Closed(rollout, merge([tuple(by_rollout[rollout])])) for rollout in sorted(by_rollout)]
