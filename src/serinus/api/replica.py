"""The parts of one inference process, wired; `bootstrap` and the routes share them."""

from collections.abc import Mapping
from time import monotonic

from serinus.api.admission import Admission
from serinus.core.enums import Stratum
from serinus.core.ids import Clock, Coin, NewId
from serinus.observe.counters import Counters
from serinus.observe.metrics import Metrics
from serinus.serving.agent import Agent
from serinus.serving.predict import Predictor
from serinus.serving.recorder import Recorder
from serinus.serving.residency import Residency
from serinus.serving.routing import Target
from serinus.serving.settings import InferenceSettings
from serinus.serving.shadowing import Shadows
from serinus.store import Store

_STRATUM_HEADER = "x-serinus-stratum"
_PROBE = "probe"


def stratum_of(headers: Mapping[str, str]) -> Stratum:
    """Who a request says it comes from: the controller's probes, or users."""
    return Stratum.PROBES if headers.get(_STRATUM_HEADER) == _PROBE else Stratum.USERS


class Replica:
    """One inference process. `draining` is set once, by whoever hears the signal."""

    def __init__(
        self, settings: InferenceSettings, store: Store, *, clock: Clock, new_id: NewId, coin: Coin
    ) -> None:
        self.settings = settings
        self.store = store
        self.new_id = new_id
        self.metrics = Metrics({"models": store.root, "outputs": settings.outputs})
        self.counters = Counters(
            settings.slice_seconds, monotonic, deadline_seconds=settings.deadline_seconds
        )
        self.residency = Residency(store, settings, clock=clock)
        self.metrics.waiting.set_function(lambda: self.residency.waiting)
        self.predictor = Predictor(self.residency, self.counters, self.metrics, settings, coin=coin)
        boot = new_id()[:12]
        self.recorder = Recorder(
            store,
            f"{settings.replica}-{boot}",
            most=settings.keep_predictions,
            pictures=settings.keep_pictures,
            clock=clock,
        )
        self.shadows = Shadows(store, self.residency, self.metrics, settings, clock=clock)
        self.agent = Agent(
            store,
            self.residency,
            self.counters,
            self.metrics,
            settings,
            recorder=self.recorder,
            shadows=self.shadows,
            clock=clock,
            boot=boot,
        )
        self.clock = clock
        self.draining = False
        """Whether the process is on its way out: it answers, but wants no more requests."""
        busy = self.metrics.refused.labels("busy").inc
        self.admission = Admission(
            places=settings.max_requests, max_bytes=settings.max_bytes_held, refused=busy
        )
        self.batches = Admission(places=settings.max_batches, max_bytes=settings.max_bytes_held, refused=busy)

    @property
    def serving(self) -> Target | None:
        """The version that answers most requests, if any is loaded."""
        snapshot = self.residency.snapshot
        return snapshot.current or (snapshot.canary if snapshot.share >= 1 else None)

    @property
    def is_ready(self) -> bool:
        """Whether requests should be sent here."""
        return self.serving is not None and not self.draining

    def drain(self) -> None:
        """The process is about to end."""
        self.draining = True

    def close(self) -> None:
        """Reports what was counted and ends the workers. Requests must be over."""
        self.shadows.close()
        self.agent.stop()
        self.predictor.close()
        self.residency.close()
