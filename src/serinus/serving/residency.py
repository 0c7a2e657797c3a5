"""Which versions are loaded in this replica, and the snapshot that requests are routed by.

A new version is loaded before an old one is unloaded, and nothing is unloaded while a request may ask it.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import NamedTuple

from serinus.artifact.manifest import Contract
from serinus.core.enums import Arm
from serinus.core.errors import NotFound
from serinus.core.ids import Clock, Digest, Version
from serinus.rollout.state import State
from serinus.serving.pool import Pool, PoolState
from serinus.serving.routing import RouteSnapshot, Target, route, wanted
from serinus.serving.settings import InferenceSettings
from serinus.serving.worker_handle import WorkerSpec
from serinus.store import Store

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

    @property
    def snapshot(self) -> RouteSnapshot:
        return self._snapshot

    @property
    def loaded(self) -> tuple[Digest, ...]:
        """Digests that can be asked, in canonical order."""
        return tuple(sorted(d for d, r in self._residents.items() if r.pool.state is PoolState.READY))

    @property
    def loading(self) -> tuple[Digest, ...]:
        """Digests that are being read, in canonical order."""
        states = {PoolState.READY, PoolState.FAILED}
        return tuple(sorted(d for d, r in self._residents.items() if r.pool.state not in states))

    @property
    def failed(self) -> dict[Digest, str]:
        """Versions that do not load or stay alive here, with the reason in words."""
        return {digest: failure.words for digest, failure in self._failed.items()}

    @property
    def restarts(self) -> dict[Digest, int]:
        """How often a version's workers died since it was loaded; without those that never did."""
        return {d: r.pool.restarts for d, r in sorted(self._residents.items()) if r.pool.restarts}

    @property
    def crowded(self) -> bool:
        """A request waits for a worker."""
        return any(resident.pool.waiting for resident in list(self._residents.values()))

    def shadow_pids(self, digest: Digest) -> list[int]:
        """Process ids of a version's worker for shadow pairs."""
        resident = self._residents.get(digest)
        return [] if resident is None or resident.shadow is None else resident.shadow.pids

    def pids(self, digest: Digest) -> list[int]:
        """Process ids of a version's workers."""
        resident = self._residents.get(digest)
        return resident.pool.pids if resident is not None else []

    def reconcile(self, state: State, tripped: frozenset[int]) -> RouteSnapshot:
        """Begins to load what `state` wants, routes by what is loaded, unloads what nobody needs."""
        self._collect_failures(state)
        targets = wanted(state, self._clock(), self._failed)
        for target in targets:
            if target.digest not in self._residents and target.digest not in self._failed:
                resident = _Resident(target, self._load)
                with self._lock:
                    self._residents[target.digest] = resident
        snapshot = route(state, loaded=self.loaded, tripped=tripped, before=self._snapshot)
        keep = {target.digest for target in targets} | _digests(snapshot)
        with self._lock:
            self._snapshot = snapshot
            idle = [d for d, r in self._residents.items() if d not in keep and r.users == 0]
            gone = [self._residents.pop(digest) for digest in idle]
        for resident in gone:
            _close(resident)
        self._shadow(snapshot)
        return snapshot

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
        raise NotFound(
            f"Version {version} is not loaded here.", remedy="Ask for one that the model's metadata names."
        )

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
        for digest, resident in self._residents.items():
            if resident.pool.state is PoolState.FAILED and digest not in self._failed:
                number = rollout.number if rollout is not None and digest == started else None
                self._failed[digest] = _Failure(resident.pool.failure, now, number)
        for digest, failure in list(self._failed.items()):
            waited = digest == current and now - failure.at >= self._settings.retry_load_seconds
            anew = rollout is not None and digest == started and failure.rollout != rollout.number
            if waited or anew:
                self._forget(digest)

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
                nice=settings.shadow_nice if shadow else self._nice(),
                background=shadow,
                memory_bytes=settings.worker_memory_bytes,
                load_seconds=settings.load_timeout_seconds,
                infer_seconds=settings.predict_timeout_seconds,
            )

        return Pool(
            resident.target.version,
            prepare,
            workers=1 if shadow else settings.workers,
            queue_size=settings.queue_size,
            start_limit=settings.start_limit,
        )

    def _nice(self) -> int:
        """While nobody serves there is nobody whom a load could slow down."""
        return 0 if self._snapshot.current is None else self._settings.worker_nice


def _close(resident: _Resident) -> None:
    if resident.shadow is not None:
        resident.shadow.close()
    resident.pool.close()


def _digests(snapshot: RouteSnapshot) -> set[Digest]:
    return {target.digest for target in (snapshot.current, snapshot.canary) if target is not None}
