"""The replica's loop: obey the journal, report what was counted, stop a canary that does harm here.

When the store cannot be read the replica goes on with what is loaded; closed slices wait until it can. One
that starts then serves the current version of the last state that it knew, and no canary: nobody would hear
what it counts, and the rollout may have ended meanwhile.
"""

import logging
import threading
from collections import defaultdict, deque
from collections.abc import Callable
from time import monotonic

import msgspec

from serinus.core.enums import Arm
from serinus.core.errors import SerinusError, Unavailable, Unwritable
from serinus.core.ids import Clock, Digest
from serinus.evidence import analysis as evidence
from serinus.evidence.analysis import Analysis, Params
from serinus.evidence.answers import Tolerated
from serinus.evidence.counts import Slice, merge
from serinus.evidence.pairs import PairCounts
from serinus.observe.counters import Closed, Counters
from serinus.observe.logs import fields
from serinus.observe.metrics import Metrics
from serinus.rollout.policy import Policy, Rule
from serinus.rollout.state import Rollout, State
from serinus.serving.copies import Copies
from serinus.serving.recorder import Recorder
from serinus.serving.residency import Residency
from serinus.serving.routing import to_come
from serinus.serving.settings import InferenceSettings
from serinus.serving.shadowing import Shadows
from serinus.store import Replica, Store

log = logging.getLogger(__name__)

_LOADING_SECONDS = 0.05
_STUCK_SECONDS = 10.0
"""A round of the loop that takes longer is one that waits for the store."""
_MOST_WAITING = 600
"""Slices that wait for the store; beyond, neighbours are added up."""


class Agent:
    """One replica's loop. `boot` makes its name unique for this start."""

    def __init__(
        self,
        store: Store,
        residency: Residency,
        counters: Counters,
        metrics: Metrics,
        settings: InferenceSettings,
        *,
        recorder: Recorder,
        shadows: Shadows,
        clock: Clock,
        boot: str,
    ) -> None:
        self.name = f"{settings.replica}-{boot}"
        self._store = store
        self._residency = residency
        self._counters = counters
        self._metrics = metrics
        self._recorder = recorder
        self._settings = settings
        self._clock = clock
        self._state = State()
        self._candidate: Digest | None = None
        """What is to be loaded before it is the canary."""
        self._trips: frozenset[int] = frozenset()
        self._judge: _Judge | None = None
        self._reports = _Reports(store, self.name)
        self._pairs = _PairReports(store, self.name, shadows, settings.shadow_report_seconds)
        self._copies = Copies(store)
        self._beat: Replica | None = None
        self._beat_at = 0.0
        self._store_ok = True
        self._read_at = monotonic()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="replica", daemon=True)
        metrics.store_ok.set_function(lambda: float(self.store_reachable))
        metrics.state_age.set_function(lambda: self.state_age_seconds)

    @property
    def state(self) -> State:
        """The registry as this replica last read it."""
        return self._state

    @property
    def trips(self) -> frozenset[int]:
        """Rollouts whose canary this replica stopped on its own evidence."""
        return self._trips

    @property
    def store_reachable(self) -> bool:
        """Whether the last use of the store worked, and was not long ago: a volume that is away may keep
        whoever asks it waiting for ever."""
        return self._store_ok and self.state_age_seconds < _STUCK_SECONDS + self._settings.poll_seconds

    @property
    def state_age_seconds(self) -> float:
        """How long ago the journal was last read to its end."""
        return monotonic() - self._read_at

    def start(self) -> None:
        """Begins the loop in a thread."""
        if self._thread.ident is None:
            self._thread.start()
            self._copies.start()

    def stop(self) -> None:
        """Ends the loop, reports the rest, removes the heartbeat. Call when no request is in flight.

        A heartbeat that says that the active rollout's canary does harm stays: its veto outlives the replica.
        """
        self._stopping.set()
        self._thread.join()
        self._copies.stop()
        self._reports.add(self._counters.close(everything=True))
        self._with_store(self._reports.send)
        self._with_store(self._pairs.send)
        self._with_store(self._recorder.send)
        rollout = self._state.rollout
        if rollout is not None and rollout.number in self._trips:
            self._with_store(self._send_heartbeat)
        else:
            self._with_store(lambda: self._store.remove_replica(self.name))

    def tick(self) -> None:
        """One round."""
        errors = [self._with_store(self._read)]
        snapshot = self._residency.reconcile(self._state, self._trips, self._candidate)
        closed = self._counters.close()
        if self._judged_harmful(closed):
            snapshot = self._residency.reconcile(self._state, self._trips, self._candidate)
        self._metrics.serving(
            snapshot.current.version if snapshot.current else None,
            snapshot.canary.version if snapshot.canary else None,
            snapshot.share,
        )
        self._metrics.journal.set(snapshot.seq)
        self._copies.follow(self._state, self._residency.loaded)
        self._reports.add(closed)
        if not isinstance(errors[0], Unavailable):  # else it is away, and each look may take a moment
            errors.append(self._with_store(self._reports.send))
            errors.append(self._with_store(self._send_heartbeat))
            errors.append(self._with_store(self._recorder.send))
            errors.append(self._with_store(self._pairs.send_when_due))
        self._note(errors)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self.tick()
            except Exception:
                # A bug here must not freeze the replica on an old snapshot for ever.
                log.exception("A round of the replica's loop failed.")
            pause = self._settings.poll_seconds
            # What has just been loaded is to answer at once.
            self._stopping.wait(min(pause, _LOADING_SECONDS) if self._residency.loading else pause)

    def _read(self) -> None:
        try:
            state = self._store.state()
            self._store.confirm(state)
            self._state, self._read_at = state, monotonic()
        except Unavailable:
            if self._state.seq == 0 and (known := self._store.last_known()) is not None:
                log.warning(
                    "The store is away; this replica serves what was current when it was last seen.",
                    extra=fields(seq=known.seq, version=known.current),
                )
                self._state = msgspec.structs.replace(known, rollout=None)
            raise
        if to_come(self._state) is None:
            self._candidate = None
            return
        routes = self._store.routes()
        # Newer routes belong to a state that the next round reads. They name no candidate, for it is the
        # canary by then; unloaded now it would have to be loaded again.
        if routes is not None and routes.seq <= self._state.seq:
            self._candidate = None if routes.candidate is None else routes.candidate.digest

    def _judged_harmful(self, closed: list[Closed]) -> bool:
        """Adds the slices to the replica's own evidence; True when it stops the canary now."""
        rollout = self._state.rollout
        if rollout is None:
            self._judge = None
            return False
        if self._judge is None or self._judge.number != rollout.number:
            self._judge = _Judge(rollout)
        words = self._judge.blame(rollout, [slice_ for number, slice_ in closed if number == rollout.number])
        if words is None or rollout.number in self._trips:
            return False
        self._trips |= {rollout.number}
        log.error("This replica stops the canary.", extra=fields(rollout=rollout.number, reason=words))
        return True

    def _send_heartbeat(self) -> None:
        snapshot = self._residency.snapshot
        rollout = snapshot.rollout
        past_of, past = self._counters.past.read()
        beat = Replica(
            replica=self.name,
            time=self._clock(),
            seq=snapshot.seq,
            loaded=self._residency.loaded,
            loading=self._residency.loading,
            failed=self._residency.failed,
            restarts=self._residency.restarts,
            trips=tuple(sorted(self._trips)),
            in_flight=self._counters.in_flight(Arm.CANARY, rollout) if rollout is not None else 0,
            share=snapshot.share,
            url=self._settings.url,
            past=past,
            past_of=past_of,
            memory=self._residency.memory,
        )
        # What changes with every request waits for the next heartbeat that is due.
        same = (
            self._beat is not None
            and (self._beat.memory is None) is (beat.memory is None)
            and beat
            == msgspec.structs.replace(
                self._beat, time=beat.time, past=past, past_of=past_of, memory=beat.memory
            )
        )
        if same and monotonic() - self._beat_at < self._settings.heartbeat_seconds:
            return
        self._store.put_replica(beat)
        self._beat, self._beat_at = beat, monotonic()

    def _with_store(self, work: Callable[[], None]) -> OSError | SerinusError | None:
        """Does `work`; gives the error when the store cannot be used."""
        try:
            work()
        except (OSError, SerinusError) as error:
            return error
        return None

    def _note(self, errors: list[OSError | SerinusError | None]) -> None:
        """Says once that the store went away, and once that it came back. `errors[0]`: of reading it."""
        error = next((error for error in errors if error is not None), None)
        if error is not None and self._store_ok:
            words = "The store cannot be used; this replica goes on with what is loaded."
            if errors[0] is None:
                words = "The store takes no heartbeat, no counts, no answers; this replica goes on serving."
            told = isinstance(error, Unavailable | Unwritable)  # their words say all there is
            log.error(words, exc_info=None if told else error, extra=fields(cause=str(error)))
        elif error is None and not self._store_ok:
            log.info("The store can be used again.")
        self._store_ok = error is None


class _Judge:
    """A replica's own evidence about one rollout. Its limits are multiplied: many replicas look."""

    def __init__(self, rollout: Rollout) -> None:
        self.number = rollout.number
        self._epoch = rollout.epoch
        self._params = _params(rollout.policy)
        self._analysis: Analysis = evidence.begin(self._params)

    def blame(self, rollout: Rollout, slices: list[Slice]) -> str | None:
        """Words that blame the canary, or None. Where counting is the rule, only the controller judges."""
        self._params = _params(rollout.policy)
        if rollout.epoch != self._epoch:
            self._epoch = rollout.epoch
            self._analysis = evidence.reset_epoch(self._analysis, self._params)
        self._analysis = evidence.restart_split(self._analysis, rollout.split_restarts)
        for slice_ in slices:
            self._analysis = evidence.observe(self._analysis, slice_, self._params)
        if not slices or rollout.policy.rule is not Rule.EVIDENCE:
            return None
        verdict = evidence.judge(self._analysis, self._params)
        return verdict.words if verdict.blame is not None else None


def _params(policy: Policy) -> Params:
    return Params(
        max_error_rate=policy.max_error_rate,
        judge_latency=policy.judge_latency,
        latency_floor_seconds=policy.latency_floor_seconds,
        tolerated=Tolerated(invalid=policy.max_invalid_rate, empty=policy.max_empty_rate),
        threshold_scale=float(policy.max_replicas),
    )


class _Reports:
    """Closed slices on their way to the store, numbered from 0 for each rollout."""

    def __init__(self, store: Store, replica: str) -> None:
        self._store = store
        self._replica = replica
        self._waiting: deque[Closed] = deque()
        self._next: dict[int, int] = defaultdict(int)

    def add(self, closed: list[Closed]) -> None:
        self._waiting.extend(closed)
        while len(self._waiting) > _MOST_WAITING:
            last, before = self._waiting.pop(), self._waiting.pop()
            if last.rollout != before.rollout:
                self._waiting.append(last)  # of a rollout that is over
                continue
            self._waiting.append(Closed(last.rollout, merge([before.slice, last.slice])))

    def send(self) -> None:
        """Writes what waits, in order. The first may have been written in part before: it stays the same."""
        while self._waiting:
            rollout, slice_ = self._waiting[0]
            self._store.put_observation(rollout, self._replica, self._next[rollout], slice_)
            self._next[rollout] += 1
            self._waiting.popleft()


class _PairReports:
    """What shadow pairs said, on its way to the store, numbered from 0 for each rollout."""

    def __init__(self, store: Store, replica: str, shadows: Shadows, seconds: float) -> None:
        self._store = store
        self._replica = replica
        self._shadows = shadows
        self._seconds = seconds
        self._waiting: dict[int, PairCounts] = {}
        self._next: dict[int, int] = defaultdict(int)
        self._sent_at = 0.0

    def send_when_due(self) -> None:
        """Now and then: nothing is decided in a hurry on pairs."""
        if monotonic() - self._sent_at >= self._seconds:
            self.send()

    def send(self) -> None:
        """Writes what was counted. What may have been written in part before stays the same."""
        self._sent_at = monotonic()
        self._write()
        self._waiting = self._shadows.take()
        self._write()

    def _write(self) -> None:
        for rollout, counts in list(self._waiting.items()):
            self._store.put_pairs(rollout, self._replica, self._next[rollout], counts)
            self._next[rollout] += 1
            del self._waiting[rollout]
