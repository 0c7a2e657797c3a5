"""What processes tell each other while versions serve: counters, evidence made of them, heartbeats, a hint.

Replicas write what they counted; the controller merges it and freezes the evidence that a decision cites.
Only frozen evidence is durable and chained. The rest is passing: when some is lost there is less evidence,
never wrong evidence.
"""

from collections.abc import Mapping
from pathlib import Path

from serinus.evidence.counts import Slice
from serinus.evidence.pairs import PairCounts
from serinus.store.backend import Backend
from serinus.store.frozen import FrozenEvidence, FrozenSlice
from serinus.store.heartbeats import Heartbeats, Replica, Routes
from serinus.store.local import volume_errors
from serinus.store.observations import observations, pairs


class Reports:
    """The part of a `Store` that needs no journal."""

    def __init__(self, root: Path, backend: Backend) -> None:
        self.root = root
        self.backend = backend
        self._observations = observations(backend)
        self._pairs = pairs(backend)
        self._evidence = FrozenEvidence(backend)
        self._heartbeats = Heartbeats(backend)

    # -- observations, evidence ------------------------------------------------------------------------------

    def put_observation(self, rollout: int, replica: str, n: int, slice: Slice) -> None:
        """Writes closed slice `n` of one process (`replica` = `<name>-<boot>`); atomic, not durable."""
        with volume_errors("report what was counted", self.root):
            self._observations.put(rollout, replica, n, slice)

    def new_observations(self, rollout: int, seen: Mapping[str, int]) -> list[tuple[str, int, Slice]]:
        """Per replica the slices with n above `seen`, ordered by replica and n."""
        return self._observations.new(rollout, seen)

    def forget_observations(self, *, keep: int | None, before: float) -> None:
        """Removes observations of rollouts other than `keep`, untouched since `before` (UTC seconds).

        What was frozen of them stays.
        """
        self._observations.forget(keep=keep, before=before)
        self._pairs.forget(keep=keep, before=before)

    def put_pairs(self, rollout: int, replica: str, n: int, counts: PairCounts) -> None:
        """Writes slice `n` of one process's shadow pairs; atomic, not durable."""
        with volume_errors("report what was counted", self.root):
            self._pairs.put(rollout, replica, n, counts)

    def new_pairs(self, rollout: int, seen: Mapping[str, int]) -> list[tuple[str, int, PairCounts]]:
        """Per replica the slices of shadow pairs with n above `seen`, ordered by replica and n."""
        return self._pairs.new(rollout, seen)

    def freeze(self, frozen: FrozenSlice) -> bool:
        """Puts slice k if absent. False: somebody else froze another. Raises Conflict on a wrong `prev`."""
        with volume_errors("freeze evidence", self.root):
            return self._evidence.freeze(frozen)

    def frozen(self, rollout: int, k: int) -> FrozenSlice | None:
        """Slice k of a rollout, None when it is not frozen. Raises Corrupt, naming the file."""
        return self._evidence.get(rollout, k)

    def last_frozen(self, rollout: int) -> FrozenSlice | None:
        """The newest frozen slice, None when there is none; cheap. Raises Corrupt, naming the file."""
        return self._evidence.last(rollout)

    # -- heartbeats ------------------------------------------------------------------------------------------

    def put_replica(self, replica: Replica) -> None:
        with volume_errors("write a heartbeat", self.root):
            self._heartbeats.put_replica(replica)

    def replicas(self, newer_than: float = float("-inf")) -> list[Replica]:
        """Heartbeats with a time above `newer_than` (UTC seconds), sorted by name."""
        return self._heartbeats.replicas(newer_than)

    def unreadable_replicas(self) -> list[str]:
        """Paths of heartbeats that are there and say nothing: what these replicas do is not known."""
        return self._heartbeats.unreadable()

    def remove_replica(self, replica: str) -> None:
        self._heartbeats.remove_replica(replica)

    def put_routes(self, routes: Routes) -> None:
        with volume_errors("write who serves", self.root):
            self._heartbeats.put_routes(routes)

    def routes(self) -> Routes | None:
        """The last hint, None when there is none."""
        return self._heartbeats.routes()
