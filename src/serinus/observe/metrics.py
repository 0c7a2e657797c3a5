"""Prometheus metrics of one serving process, in a registry of its own. Base units; labels are bounded.

`role` is the arm that a request was assigned to, `model_version` the number of the version that had that arm.
"""

import threading
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)

from serinus.core.enums import Arm, FailureKind
from serinus.core.ids import Version
from serinus.observe.volumes import Volumes

CONTENT_TYPE = CONTENT_TYPE_LATEST
KEPT_VERSIONS = 16
"""Versions that keep their label values; the oldest are forgotten."""

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8)
_F1_BUCKETS = tuple(n / 10 for n in range(11))
_LABELS = ("role", "model_version")


class Metrics:
    """What a replica tells Prometheus. Thread-safe."""

    def __init__(self, folders: Mapping[str, Path] = MappingProxyType({})) -> None:
        """`folders`: whose volumes are told of, by name."""
        self.registry = CollectorRegistry()
        self.registry.register(Volumes(folders))
        self._lock = threading.Lock()
        self._versions: list[Version] = []
        self.requests = Counter(
            "serinus_requests",
            "Requests by the arm they were assigned to; outcome: ok, failed.",
            (*_LABELS, "outcome"),
            registry=self.registry,
        )
        self.errors = Counter(
            "serinus_errors",
            "Requests that a version failed, by kind.",
            (*_LABELS, "kind"),
            registry=self.registry,
        )
        self.seconds = Histogram(
            "serinus_request_seconds",
            "Time from assignment to a checked answer of the assigned version.",
            _LABELS,
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.fallbacks = Counter(
            "serinus_fallbacks",
            "Requests that the assigned version could not answer and the other one did.",
            registry=self.registry,
        )
        self.refused = Counter(
            "serinus_refused",
            "Requests refused before a version saw them; reason: bad_input, busy.",
            ("reason",),
            registry=self.registry,
        )
        self.pairs = Counter(
            "serinus_shadow_pairs",
            "Pictures that both versions were asked; outcome: agreed, disagreed, failed.",
            ("outcome",),
            registry=self.registry,
        )
        self.dropped = Counter(
            "serinus_shadow_dropped",
            "Pictures for a shadow pair that were dropped; reason: load, full, unready, gone.",
            ("reason",),
            registry=self.registry,
        )
        self.f1 = Histogram(
            "serinus_shadow_agreement_f1",
            "Agreement F1 of both versions on one picture.",
            buckets=_F1_BUCKETS,
            registry=self.registry,
        )
        self.share = Gauge(
            "serinus_canary_share", "Share of requests that the canary gets.", registry=self.registry
        )
        self.loaded = Gauge(
            "serinus_model_loaded",
            "1 for each version that serves in this replica.",
            _LABELS,
            registry=self.registry,
        )
        self.waiting = Gauge(
            "serinus_requests_waiting",
            "Requests that wait for a worker: what an autoscaler can go by.",
            registry=self.registry,
        )
        self.journal = Gauge(
            "serinus_journal_seq", "Journal event that this replica obeys.", registry=self.registry
        )
        self.store_ok = Gauge("serinus_store_up", "1 while the store can be used.", registry=self.registry)
        self.ready = Gauge(
            "serinus_replica_ready", "1 while requests should be sent here.", registry=self.registry
        )
        self.state_age = Gauge(
            "serinus_state_age_seconds",
            "Time since this replica last read the journal to its end.",
            registry=self.registry,
        )

    def ok(self, role: Arm, version: Version, seconds: float) -> None:
        """`version` answered well after `seconds`."""
        self._keep(version)
        self.requests.labels(role.value, str(version), "ok").inc()
        self.seconds.labels(role.value, str(version)).observe(seconds)

    def failed(self, role: Arm, version: Version, kind: FailureKind, seconds: float) -> None:
        """`version` failed after `seconds`."""
        self._keep(version)
        self.requests.labels(role.value, str(version), "failed").inc()
        self.errors.labels(role.value, str(version), kind.value).inc()
        self.seconds.labels(role.value, str(version)).observe(seconds)

    def paired(self, f1: float, *, disagrees: bool) -> None:
        """Both versions answered one picture."""
        self.pairs.labels("disagreed" if disagrees else "agreed").inc()
        self.f1.observe(f1)

    def serving(self, current: Version | None, canary: Version | None, share: float) -> None:
        """What serves now."""
        self.loaded.clear()
        for role, version in ((Arm.CURRENT, current), (Arm.CANARY, canary)):
            if version is not None:
                self.loaded.labels(role.value, str(version)).set(1)
        self.share.set(share)

    def text(self) -> bytes:
        """The exposition, of content type `CONTENT_TYPE`."""
        return generate_latest(self.registry)

    def _keep(self, version: Version) -> None:
        with self._lock:
            if version in self._versions:
                return
            self._versions.append(version)
            forgotten = self._versions[:-KEPT_VERSIONS]
            self._versions = self._versions[-KEPT_VERSIONS:]
        for old in forgotten:
            for metric in (self.requests, self.errors, self.seconds):
                metric.remove_by_labels({"model_version": str(old)})
