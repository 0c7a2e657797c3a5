"""What is true for a moment: who is alive (`replicas/`), and the hint who serves (`routes.json`)."""

import logging
from typing import TypeVar

import msgspec

from serinus.core.enums import RolloutPhase
from serinus.core.errors import Corrupt
from serinus.core.ids import Digest, Version
from serinus.evidence.counts import Categories
from serinus.rollout.room import Memory
from serinus.store.backend import Backend
from serinus.store.observations import check_replica
from serinus.store.sealed import seal, unseal

_LOG = logging.getLogger(__name__)
_FOLDER = "replicas"
_ROUTES = "routes.json"
_T = TypeVar("_T")


class Replica(msgspec.Struct, frozen=True, kw_only=True):
    """The heartbeat of one serving process."""

    replica: str
    """`<name>-<boot>`: the boot part is fresh at each start."""
    time: float
    """UTC seconds by its clock."""
    seq: int
    """The journal's number that it obeys."""
    loaded: tuple[Digest, ...] = ()
    """Artifacts that can answer now."""
    loading: tuple[Digest, ...] = ()
    """Artifacts that are being read to answer soon."""
    failed: dict[Digest, str] = {}
    """Artifacts that it could not load, and why."""
    restarts: dict[Digest, int] = {}
    """Artifacts whose workers died, and how often one was started again since it was loaded."""
    trips: tuple[int, ...] = ()
    """Rollouts whose canary it stopped on its own evidence."""
    in_flight: int = 0
    """Canary requests that are not settled."""
    share: float = 0.0
    """The canary's share in force here."""
    url: str = ""
    past: Categories = {}
    """What users were answered of late while no version was on trial."""
    past_of: Digest | None = None
    """The version that answered them."""
    memory: Memory | None = None
    """What a version takes here, and what is left; None: none is loaded."""


class Served(msgspec.Struct, frozen=True, kw_only=True):
    version: Version
    digest: Digest


class Routes(msgspec.Struct, frozen=True, kw_only=True):
    """Who serves, as the controller saw it. A hint: readers go on from `seq` in the journal, never back."""

    seq: int
    current: Served | None = None
    canary: Served | None = None
    candidate: Served | None = None
    """Passed its checks, and becomes the canary once every ready replica has it loaded; no request is for it
    before."""
    waits_for: str = ""
    """What keeps the candidate waiting, in words."""
    rollout: int | None = None
    phase: RolloutPhase | None = None
    share: float = 0.0
    clock: float = 0.0
    """The window's clock, in seconds."""
    window_seconds: float = 0.0
    time: float = 0.0
    """When it was written, UTC seconds."""


class Heartbeats:
    """`replicas/<replica>.json` and `routes.json`; replaced whole, not durable."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def put_replica(self, replica: Replica) -> None:
        self._backend.replace(_key(replica.replica), seal(msgspec.json.encode(replica)), durable=False)

    def replicas(self, newer_than: float = float("-inf")) -> list[Replica]:
        """Heartbeats with a time above `newer_than` (UTC seconds), sorted by name."""
        names = sorted(name for name in self._backend.names(_FOLDER) if name.endswith(".json"))
        found = self._backend.each(lambda name: self._read(f"{_FOLDER}/{name}", Replica), names)
        return [replica for replica in found if replica is not None and replica.time > newer_than]

    def unreadable(self) -> list[str]:
        """Paths of heartbeats that say nothing (torn, damaged, forbidden), sorted."""
        names = sorted(name for name in self._backend.names(_FOLDER) if name.endswith(".json"))
        return [
            self._backend.name(key) for key in (f"{_FOLDER}/{name}" for name in names) if not self._told(key)
        ]

    def _told(self, key: str) -> bool:
        """Whether it can be read, or is gone by now."""
        try:
            data = self._backend.read(key)
            if data is not None:
                _decode(data, self._backend.name(key), Replica)
        except (OSError, Corrupt):
            return False
        return True

    def remove_replica(self, replica: str) -> None:
        """Forgets a replica; one that is not there is fine."""
        self._backend.remove(_key(replica))

    def put_routes(self, routes: Routes) -> None:
        self._backend.replace(_ROUTES, seal(msgspec.json.encode(routes)), durable=False)

    def routes(self) -> Routes | None:
        """The last hint; None when there is none, or a power cut left it torn (the next tick rewrites it)."""
        return self._read(_ROUTES, Routes)

    def _read(self, key: str, kind: type[_T]) -> _T | None:
        try:
            data = self._backend.read(key)
            return None if data is None else _decode(data, self._backend.name(key), kind)
        except Corrupt as error:
            _LOG.warning("Skipped %s: %s", self._backend.name(key), error)
            return None


def _decode(data: bytes, name: str, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(unseal(data, name), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Corrupt(f"{name} cannot be read: {error}.") from error


def _key(replica: str) -> str:
    return f"{_FOLDER}/{check_replica(replica)}.json"
