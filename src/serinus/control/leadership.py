"""Which of several controllers works: the one that holds a Lease of coordination.k8s.io.

It saves the others their work, and nothing rests on it: the journal takes each decision once, whoever makes
it. So where the Lease cannot be asked for, because the API does not answer or a permission is missing, a
controller works without it.
"""

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol

from serinus.core.errors import Conflict, SerinusError
from serinus.core.ids import Clock

log = logging.getLogger(__name__)

Document = dict[str, Any]


class Leases(Protocol):
    """What is asked of the cluster (`jobs.cluster_api.ClusterApi`)."""

    def lease(self, name: str) -> Document | None: ...
    def create_lease(self, document: Document) -> None: ...
    def update_lease(self, document: Document) -> None: ...


class Leadership:
    """Takes the Lease when it is free, renews it every third of `lasts_seconds`, lets go of it at the end.

    Whether somebody else's is still good is told by whether it moved since this process first saw it so, by
    this process' own clock: clocks of different machines are not compared.
    """

    def __init__(
        self,
        leases: Leases,
        *,
        name: str,
        holder: str,
        clock: Clock,
        lasts_seconds: float = 15.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._leases = leases
        self._name = name
        self._holder = holder
        self._clock = clock
        self._lasts = lasts_seconds
        self._monotonic = monotonic
        self._held_until = -float("inf")
        self._without = False
        """It cannot be asked for."""
        self._seen: tuple[Any, ...] = ()
        self._seen_at = 0.0
        self._said = ""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="leadership", daemon=True)

    @property
    def works(self) -> bool:
        """Whether this controller is to decide now."""
        return self._without or self._monotonic() < self._held_until

    def start(self) -> None:
        """Asks once, and goes on in a thread: a cluster that does not answer holds nobody up."""
        self._thread.start()

    def stop(self) -> None:
        """Lets go of it, so that another one need not wait."""
        self._stopping.set()
        self._thread.join()
        try:
            found = self._leases.lease(self._name)
            if found is not None and found.get("spec", {}).get("holderIdentity") == self._holder:
                found["spec"]["holderIdentity"] = ""
                self._leases.update_lease(found)
        except SerinusError as error:
            log.info("the Lease is left to run out: %s", error.message)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self.turn()
            self._stopping.wait(self._lasts / 3)

    def turn(self) -> None:
        """One look: takes or renews it, or sees that somebody else has it."""
        asked = self._monotonic()
        try:
            held = self._hold()
        except Conflict:
            held = False  # somebody else was faster
        except SerinusError as error:
            self._without = True
            self._say(f"working without the Lease {self._name}: {error}")
            return
        self._without = False
        self._held_until = asked + self._lasts if held else -float("inf")
        self._say(f"{'holds' if held else 'stands by for'} the Lease {self._name}")

    def _hold(self) -> bool:
        found = self._leases.lease(self._name)
        if found is None:
            self._leases.create_lease(self._document({}, {}))
            return True
        spec = found.get("spec") or {}
        holder = spec.get("holderIdentity") or ""
        state = (holder, spec.get("renewTime"), spec.get("leaseTransitions"))
        if state != self._seen:
            self._seen, self._seen_at = state, self._monotonic()
        lasts = float(spec.get("leaseDurationSeconds") or self._lasts)
        if holder and holder != self._holder and self._monotonic() - self._seen_at < lasts:
            return False
        self._leases.update_lease(self._document(found.get("metadata") or {}, spec))
        return True

    def _document(self, metadata: Document, spec: Document) -> Document:
        moment = datetime.fromtimestamp(self._clock(), UTC)
        # A server takes six digits and nothing less, and the client leaves them out when all are 0.
        now = moment.replace(microsecond=moment.microsecond or 1).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        same = spec.get("holderIdentity") == self._holder
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {**metadata, "name": self._name},
            "spec": {
                "holderIdentity": self._holder,
                "leaseDurationSeconds": round(self._lasts),
                "renewTime": now,
                "acquireTime": spec.get("acquireTime", now) if same else now,
                "leaseTransitions": int(spec.get("leaseTransitions") or 0) + (0 if same or not spec else 1),
            },
        }

    def _say(self, words: str) -> None:
        if words != self._said:
            self._said = words
            log.info("this controller %s", words)
