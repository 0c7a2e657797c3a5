"""Prometheus metrics of the dashboard's process: the rollout, the replicas, the store, the volumes.

They say what the journal and the heartbeats say, so every dashboard says the same.
"""

from collections.abc import Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from serinus.core.enums import RolloutPhase
from serinus.observe.volumes import Volumes
from serinus.rollout.state import State
from serinus.store import Replica

_ACTIVE = (RolloutPhase.VERIFYING, RolloutPhase.CANARY, RolloutPhase.PAUSED, RolloutPhase.HELD)


class ControlMetrics:
    """What the dashboard tells Prometheus. For one thread at a time."""

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self.registry = registry = CollectorRegistry()
        registry.register(Volumes(folders))
        self._store_up = Gauge("serinus_store_up", "1 while the store can be read.", registry=registry)
        self._journal = Gauge("serinus_journal_seq", "The journal's newest event.", registry=registry)
        self._phase = Gauge(
            "serinus_rollout_phase",
            "1 for the phase that the active rollout is in; 0 for the others.",
            ("phase",),
            registry=registry,
        )
        self._ended = Gauge(
            "serinus_rollout_ended_timestamp_seconds",
            "When the last rollout ended, UTC seconds; outcome: promoted, rolled_back, rejected, superseded.",
            ("outcome", "model_version"),
            registry=registry,
        )
        self._alive = Gauge(
            "serinus_replicas_alive", "Inference processes with a fresh heartbeat.", registry=registry
        )
        self._ready = Gauge(
            "serinus_replicas_ready", "Those of them that have loaded the current version.", registry=registry
        )
        self._tripped = Gauge(
            "serinus_replicas_tripped",
            "Inference processes that stopped the active rollout's canary on their own evidence.",
            registry=registry,
        )

    def seen(self, state: State, replicas: list[Replica], *, now: float, fresh_seconds: float) -> None:
        """What the store says at `now` (UTC seconds)."""
        self._store_up.set(1)
        self._journal.set(state.seq)
        rollout, last = state.rollout, state.last
        for phase in _ACTIVE:
            self._phase.labels(phase.value).set(rollout is not None and rollout.phase is phase)
        self._ended.clear()
        if last is not None and last.ended_at is not None:
            self._ended.labels(last.phase.value, str(last.version)).set(last.ended_at)
        fresh = [one for one in replicas if abs(now - one.time) < fresh_seconds]
        current = None if state.current is None else state.versions[state.current].digest
        self._alive.set(len(fresh))
        self._ready.set(sum(current in one.loaded for one in fresh))
        number = None if rollout is None else rollout.number
        self._tripped.set(sum(number in one.trips for one in replicas))

    def away(self) -> None:
        """The store cannot be read; what was seen last stays."""
        self._store_up.set(0)

    def text(self) -> bytes:
        """The exposition, of content type `metrics.CONTENT_TYPE`."""
        return generate_latest(self.registry)
