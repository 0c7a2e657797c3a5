"""Which versions are loaded in this replica, and the snapshot that requests are routed by.

A new version is loaded before an old one is unloaded, and nothing is unloaded while a request may ask it. A
version without room beside the others is not loaded; where the policy says `sequential`, the others make way
for one that has to serve, and nobody answers until it is loaded.
"""

import logging
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from time import monotonic
from typing import NamedTuple

from serinus.artifact.manifest import Contract
from serinus.core.enums import Arm
from serinus.core.errors import NotFound, SerinusError, Unavailable
from serinus.core.ids import Clock, Digest, Version
from serinus.observe.logs import fields
from serinus.rollout.policy import OnNoRoom
from serinus.rollout.room import Memory, shortage
from serinus.rollout.state import State
from serinus.serving.batching import choose
from serinus.serving.memory import free, taken
from serinus.serving.pool import Pool, PoolState
from serinus.serving.routing import (
    RouteSnapshot,
    Target,
    in_place_of_current,
    on_no_room,
    route,
    target_of,
    to_come,
    wanted,
)
from serinus.serving.settings import InferenceSettings
from serinus.serving.worker_handle import WorkerSpec
from serinus.store import Store

log = logging.getLogger(__name__)

_MODEL = "model.onnx"


class Seat(NamedTuple):
    """A version that a request may ask."""

    target: Target
    pool: Pool
    contract: Contract
    shadow: Pool | None = None
    """The worker for shadow pairs, where there are any."""


class Lease(NamedTuple):
    """The snapshot that a request keeps; its versions stay loaded as long as the lease is held."""

    snapshot: RouteSnapshot
    seats: dict[Arm, Seat]


class _Resident:
    """A version that is loaded, loads, or failed to."""

    def __init__(self, target: Target, make: "Callable[[_Resident], Pool]") -> None:
        self.target = target
        self.users = 0
        self.contract: Contract | None = None
        """Known once the artifact is checked, which is before the pool is ready."""
        self.pool = make(self)
        self.shadow: Pool | None = None
        """One more worker, for shadow pairs: users never wait for them, and nothing that they do to it hurts
        those who answer users."""


class _Failure(NamedTuple):
    words: str
    at: float
    """Monotonic seconds."""
    rollout: int | None
    """The rollout in which it failed as the canary, if any."""


class Residency:
    """The loaded versions. `reconcile` belongs to the replica's loop; `lease` may be used from any thread."""

    def __init__(self, store: Store, settings: InferenceSettings, *, clock: Clock) -> None:
        self._store = store
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._residents: dict[Digest, _Resident] = {}
        self._failed: dict[Digest, _Failure] = {}
        self._snapshot = RouteSnapshot()
        self._sole: Target | None = None
        """The version that all others make way for."""
        self._memory: Memory | None = None
        self._measured_at = -math.inf

    @property
    def memory(self) -> Memory | None:
        """What a version takes here and what is left, once a heartbeat; None while none is loaded."""
        if monotonic() - self._measured_at >= self._settings.heartbeat_seconds:
            self._measure()
        return self._memory

    @property
    def snapshot(self) -> RouteSnapshot:
        return self._snapshot

    @property
    def loaded(self) -> tuple[Digest, ...]:
        """Digests that can be asked, in canonical order."""
        return tuple(sorted(d for d, r in self._listed() if r.pool.state is PoolState.READY))

    @property
    def loading(self) -> tuple[Digest, ...]:
        """Digests that are being read, in canonical order."""
        states = {PoolState.READY, PoolState.FAILED}
        return tuple(sorted(d for d, r in self._listed() if r.pool.state not in states))

    @property
    def failed(self) -> dict[Digest, str]:
        """Versions that do not load or stay alive here, with the reason in words."""
        return {digest: failure.words for digest, failure in list(self._failed.items())}

    @property
    def restarts(self) -> dict[Digest, int]:
        """How often a version's workers died since it was loaded; without those that never did."""
        return {d: r.pool.restarts for d, r in sorted(self._listed()) if r.pool.restarts}

    @property
    def waiting(self) -> int:
        """How many requests wait for a worker."""
        return sum(resident.pool.waiting for _, resident in self._listed())

    @property
    def crowded(self) -> bool:
        """A request waits for a worker."""
        return self.waiting > 0

    def shadow_pids(self, digest: Digest) -> list[int]:
        """Process ids of a version's worker for shadow pairs."""
        resident = self._residents.get(digest)
        return [] if resident is None or resident.shadow is None else resident.shadow.pids

    def pids(self, digest: Digest) -> list[int]:
        """Process ids of a version's workers."""
        resident = self._residents.get(digest)
        return resident.pool.pids if resident is not None else []

    def reconcile(
        self, state: State, tripped: frozenset[int], candidate: Digest | None = None
    ) -> RouteSnapshot:
        """Begins to load what `state` wants, routes by what is loaded, unloads what nobody needs.

        `candidate`: what is loaded before it is the canary, while `state` has it verified.
        """
        self._collect_failures(state)
        targets = wanted(state, self._clock(), self._failed, candidate)
        self._make_way(state)
        if self._sole is not None:
            targets = (self._sole,)
        if self._sole is not None and self._sole.digest not in self.loaded:
            snapshot = RouteSnapshot(seq=state.seq)
        else:
            snapshot = route(state, loaded=self.loaded, tripped=tripped, before=self._snapshot)
        self._unload(targets, snapshot)
        for target in targets:
            if target.digest not in self._residents and self._may_load(state, target):
                self._begin(target)
        self._shadow(snapshot)
        return snapshot

    def _begin(self, target: Target) -> None:
        """Begins to load; for want of threads in the next round."""
        try:
            resident = _Resident(target, self._load)
        except Unavailable as error:
            log.warning("A load has to wait.", extra=fields(version=target.version, cause=error.message))
            return
        with self._lock:
            self._residents[target.digest] = resident

    def _unload(self, targets: Sequence[Target], snapshot: RouteSnapshot) -> None:
        keep = {target.digest for target in targets} | _digests(snapshot)
        with self._lock:
            self._snapshot = snapshot
            idle = [d for d, r in self._residents.items() if d not in keep and r.users == 0]
            gone = [self._residents.pop(digest) for digest in idle]
        for resident in gone:
            _close(resident)

    def _make_way(self, state: State) -> None:
        """Decides whether all other versions make way for one that has to serve and finds no room."""
        alone = in_place_of_current(state, self._failed)
        current = None if state.current is None else target_of(state.versions[state.current])
        if alone is None and current is not None and current.digest not in self._failed:
            going_on = self._sole == current and current.digest not in self.loaded
            if going_on or (on_no_room(state) is OnNoRoom.SEQUENTIAL and self._shortage(current)):
                alone = current
        if alone is not None and alone != self._sole and alone.digest not in self._residents:
            seconds = None if self._memory is None else round(self._memory.load_seconds, 1)
            log.warning(
                "All other versions are unloaded to make room; nobody answers until this one is loaded.",
                extra=fields(version=alone.version, seconds_about=seconds),
            )
        self._sole = alone

    def _may_load(self, state: State, target: Target) -> bool:
        """Whether `target` may be loaded now. One that has to serve and finds no room has failed."""
        if target.digest in self._failed:
            return False
        if target == self._sole:
            return not self._residents
        if words := self._shortage(target):
            if target.version in (state.current, state.canary and state.canary.version):
                self._fail(state, target.digest, f"there is no room: {words}.")
            return False  # a candidate waits: by the heartbeat the controller sees it, and asks the policy
        return True

    def _shortage(self, target: Target) -> str:
        """Why a version that is not loaded finds no room beside those that are; empty if it does."""
        if target.digest in self._residents:
            return ""
        self._measure()
        return "" if self._memory is None else shortage(self._memory, self._model_bytes(target.digest))

    def _measure(self) -> None:
        """What the loaded version with the largest workers takes."""
        self._measured_at = monotonic()
        ready = [r for _, r in self._listed() if r.pool.state is PoolState.READY]
        measured = [(max(map(taken, r.pool.pids), default=0), r) for r in ready]
        worker, largest = max(measured, key=lambda pair: pair[0], default=(0, None))
        if largest is None or worker == 0:
            self._memory = None
            return
        bound = free(self._settings.memory_bytes, self._all_pids())
        self._memory = Memory(
            worker=worker,
            workers=self._settings.workers,
            model=self._model_bytes(largest.target.digest),
            free=bound.size,
            limit=bound.limit,
            load_seconds=largest.pool.load_seconds,
        )

    def _all_pids(self) -> list[int]:
        pools = [pool for _, r in self._listed() for pool in (r.pool, r.shadow) if pool is not None]
        return [pid for pool in pools for pid in pool.pids]

    def _listed(self) -> "list[tuple[Digest, _Resident]]":
        """As they are now: other threads ask while the replica's loop loads and unloads."""
        return list(self._residents.items())

    def _model_bytes(self, digest: Digest) -> int:
        """Size of a version's model.onnx; 0 when its manifest cannot be read, which loading will say."""
        try:
            return self._store.manifest(digest).files[_MODEL].size
        except (OSError, SerinusError, KeyError):
            return 0

    def seats(self) -> list[Seat]:
        """Every version that can be asked now, the newest first."""
        with self._lock:
            ready = [r for r in self._residents.values() if r.pool.state is PoolState.READY]
        found = [Seat(r.target, r.pool, r.contract) for r in ready if r.contract is not None]
        return sorted(found, key=lambda seat: -seat.target.version)

    @contextmanager
    def lease(self, version: Version | None = None) -> Iterator[Lease]:
        """The snapshot of now, held. `version`: one with that version alone; NotFound if it is not loaded."""
        with self._lock:
            snapshot = self._snapshot if version is None else self._alone(version)
            residents = {
                arm: self._residents[target.digest]
                for arm in Arm
                if (target := snapshot.target(arm)) is not None
            }
            for resident in residents.values():
                resident.users += 1
        try:
            seats = {
                arm: Seat(target, resident.pool, resident.contract, resident.shadow)
                for arm, resident in residents.items()
                if resident.contract is not None and (target := snapshot.target(arm)) is not None
            }
            yield Lease(snapshot, seats)
        finally:
            with self._lock:
                for resident in residents.values():
                    resident.users -= 1

    def _alone(self, version: Version) -> RouteSnapshot:
        """What only stands by for an undo counts as current, which it was."""
        for resident in self._residents.values():
            target = resident.target
            if target.version == version and resident.pool.state is PoolState.READY:
                if target == self._snapshot.canary and target != self._snapshot.current:
                    return RouteSnapshot(seq=self._snapshot.seq, canary=target, share=1.0)
                return RouteSnapshot(seq=self._snapshot.seq, current=target)
        raise NotFound(f"Version {version} is not loaded here.", remedy="/model-status names those that are.")

    def close(self) -> None:
        """Unloads everything."""
        with self._lock:
            self._snapshot = RouteSnapshot()
            residents = list(self._residents.values())
            self._residents.clear()
        for resident in residents:
            _close(resident)

    def _shadow(self, snapshot: RouteSnapshot) -> None:
        """Workers for shadow pairs where both versions are here and the policy wants some; else none."""
        both = snapshot.current is not None and snapshot.canary is not None
        wanted = _digests(snapshot) if both and snapshot.shadowing is not None else set()
        for digest, resident in self._residents.items():
            if digest in wanted and resident.shadow is None:
                with suppress(Unavailable):  # there is no thread for it now
                    resident.shadow = self._load(resident, shadow=True)
            elif digest not in wanted and resident.shadow is not None:
                superfluous, resident.shadow = resident.shadow, None
                superfluous.close()

    def _collect_failures(self, state: State) -> None:
        """Remembers what failed; current is tried again after a while, a canary in its next rollout."""
        now = monotonic()
        current = state.versions[state.current].digest if state.current is not None else None
        rollout = state.rollout
        started = state.versions[rollout.version].digest if rollout is not None else None
        trial = state.canary or to_come(state)
        canary = trial.digest if trial is not None else None
        for digest, resident in self._residents.items():
            # Current is started again for ever: without it nobody answers.
            if digest == canary != current and resident.pool.deaths >= self._settings.crash_limit:
                resident.pool.give_up()
            if resident.pool.state is PoolState.FAILED and digest not in self._failed:
                self._fail(state, digest, resident.pool.failure)
        for digest, failure in list(self._failed.items()):
            waited = digest == current and now - failure.at >= self._settings.retry_load_seconds
            anew = rollout is not None and digest == started and failure.rollout != rollout.number
            if waited or anew:
                self._forget(digest)

    def _fail(self, state: State, digest: Digest, words: str) -> None:
        rollout = state.rollout
        started = rollout is not None and state.versions[rollout.version].digest == digest
        number = rollout.number if rollout is not None and started else None
        self._failed[digest] = _Failure(words, monotonic(), number)

    def _forget(self, digest: Digest) -> None:
        del self._failed[digest]
        with self._lock:
            again = self._residents.pop(digest, None)
        if again is not None:
            _close(again)

    def _load(self, resident: _Resident, *, shadow: bool = False) -> Pool:
        settings = self._settings

        def prepare() -> WorkerSpec:
            digest = resident.target.digest
            self._store.verify(digest)
            resident.contract = self._store.manifest(digest).contract
            return WorkerSpec(
                model=self._store.artifact(digest) / _MODEL,
                contract=resident.contract,
                threads=settings.worker_threads,
                nice=settings.shadow_nice if shadow else self._nice(digest),
                background=shadow,
                memory_bytes=settings.worker_memory_bytes,
                load_seconds=settings.load_timeout_seconds,
                infer_seconds=settings.predict_timeout_seconds,
                device=settings.device,
            )

        return Pool(
            resident.target.version,
            prepare,
            workers=1 if shadow else settings.workers,
            queue_size=settings.queue_size,
            start_limit=settings.start_limit,
            # Nobody waits for shadow pairs, and one is asked after the other.
            choose=None if shadow else lambda pace: choose(pace, settings.batch_wait_seconds),
        )

    def _nice(self, digest: Digest) -> int:
        """Requests wait for current's workers; a load of another version must not slow current down."""
        current = self._snapshot.current
        return 0 if current is None or current.digest == digest else self._settings.worker_nice


def _close(resident: _Resident) -> None:
    if resident.shadow is not None:
        resident.shadow.close()
    resident.pool.close()


def _digests(snapshot: RouteSnapshot) -> set[Digest]:
    return {target.digest for target in (snapshot.current, snapshot.canary) if target is not None}
