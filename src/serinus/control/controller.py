"""The controller: reads, decides, appends, then acts. It keeps nothing that it could not read again.

One tick looks once and appends at most one event, and no effect precedes its event; so the controller may be
killed between any two lines, started again elsewhere, or run twice: what it finds in the store is where it
goes on. What goes wrong in a tick is logged, and the next tick tries again.
"""

import logging
import threading
import time
from collections.abc import Callable

import msgspec

from serinus.control import gather, probing, room
from serinus.control.arrivals import Arrivals
from serinus.control.checks import Check
from serinus.control.importing import Importer
from serinus.control.ledger import Ledger, Standing, standing
from serinus.control.outcomes import body_of
from serinus.control.policies import named
from serinus.control.probes import Prober
from serinus.control.settings import ControllerSettings
from serinus.control.situation import Watch
from serinus.control.trust import judge
from serinus.control.upkeep import Candidate, Upkeep
from serinus.control.verify import Outcome, Task, Verifier
from serinus.core.enums import ReasonCode, RolloutPhase
from serinus.core.errors import Conflict, Corrupt, Misconfigured, NotFound, Unavailable
from serinus.core.ids import Clock, Digest, Version
from serinus.evidence.counts import Categories
from serinus.rollout.decide import Promote, RollBack, Suspend, decide, next_start
from serinus.rollout.events import Body, Event, Rejected, RolledBack, RolloutStarted, Verified
from serinus.rollout.policy import share_of_step
from serinus.rollout.state import Rollout, State
from serinus.store import Store

log = logging.getLogger(__name__)

ACTOR = "controller"


class Tick(msgspec.Struct, frozen=True, kw_only=True):
    """What one tick came to."""

    seq: int
    """The journal's last event as this tick saw it; -1 when it could not be read."""
    event: Event | None = None
    """What it appended."""
    words: str
    """What it did, or why it did nothing."""


class Controller:
    """Moves rollouts on. `tick` never raises and never waits for a model; call it from one thread.

    `clock`: UTC seconds; `monotonic`: seconds for intervals; `notify` is called with each event it appended.
    While it is not its turn to work (`works`) a tick looks at nothing: another controller does.
    """

    def __init__(
        self,
        store: Store,
        settings: ControllerSettings,
        *,
        clock: Clock,
        prober: Prober,
        notify: Callable[[Event], None],
        monotonic: Callable[[], float] = time.monotonic,
        works: Callable[[], bool] = lambda: True,
    ) -> None:
        self._store = store
        self._works = works
        self._settings = settings
        self._clock = clock
        self._monotonic = monotonic
        self._prober = prober
        self._notify = notify
        self._watch = Watch(store)
        self._verifier = Verifier(store, settings, monotonic=monotonic)
        self._ledger = Ledger(
            store,
            clock=clock,
            clamp=settings.clamp_ticks * settings.tick_seconds,
            clock_slice=settings.clock_slice_seconds,
        )
        self._importer = Importer(
            store, settings.import_limits, size=settings.import_size, monotonic=monotonic
        )
        arrivals = Arrivals(
            store,
            settle_seconds=settings.import_settle_seconds,
            give_up_seconds=settings.import_give_up_seconds,
        )
        self._upkeep = Upkeep(
            store,
            arrivals,
            self._importer,
            clock=clock,
            heal_seconds=settings.heal_seconds,
            forget_seconds=settings.replica_forget_seconds,
        )
        self._candidate: Candidate | None = None
        """Passed its checks and is being loaded by the replicas."""
        self._asked: tuple[int, float] | None = None
        """The rollout whose version they are to load, and since when (monotonic seconds)."""
        self._trouble = ""

    def run(self, stop: threading.Event, turned: Callable[[], None]) -> None:
        """Ticks until `stop` is set, then lets go of probes, verification and imports. `turned` is called
        after each tick, also one in vain."""
        while not stop.is_set():
            self.tick()
            turned()
            stop.wait(self._settings.tick_seconds)
        self.close()

    def close(self) -> None:
        self._prober.close()
        self._verifier.close()
        self._importer.close()

    def tick(self) -> Tick:
        """One look, at most one event, and the effects of what the state is then."""
        if not self._works():
            self._prober.aim(0.0, tuple)
            return Tick(seq=-1, words="Another controller works.")
        try:
            done = self._turn()
        except Conflict as error:
            # Somebody else was faster; what they wrote is what the next tick starts from.
            log.info("another one decided first: %s", error.message)
            return Tick(seq=-1, words=error.message)
        except Exception as error:
            # The loop must outlive a store that is away, a full volume, a damaged file.
            words = f"{type(error).__name__}: {error}"
            if words != self._trouble and isinstance(error, Unavailable):
                log.warning("decisions wait: %s", error.message)
            elif words != self._trouble:
                log.exception("the controller cannot go on; it tries again every tick")
            self._trouble = words
            return Tick(seq=-1, words=words)
        if self._trouble:
            log.info("the controller goes on")
            self._trouble = ""
        return done

    def _turn(self) -> Tick:
        state = self._store.state()
        rollout = state.rollout
        self._candidate = None
        starting = next_start(state)
        if starting is not None:
            done = self._start(state, *starting)
        elif rollout is None:
            done = Tick(seq=state.seq, words="Nothing to do.")
        elif rollout.phase is RolloutPhase.VERIFYING:
            done = self._verify(state, rollout)
        else:
            done = self._judge(state, rollout)
        after = self._store.state()
        if after.canary is None:
            self._prober.aim(0.0, tuple)
        clock = 0.0 if after.rollout is None else standing(self._store, after.rollout).window
        self._upkeep.turn(after, clock, self._monotonic(), self._candidate)
        return done

    def _start(self, state: State, version: Version, supersedes: int | None) -> Tick:
        body = RolloutStarted(
            rollout=state.rollouts + 1,
            version=version,
            policy=named(self._store, self._settings.policy_name, self._settings.policy),
            supersedes=supersedes,
        )
        also = "" if supersedes is None else f", in place of rollout {supersedes}"
        return self._append(state, body, f"Version {version} is the next that was published{also}.")

    def _verify(self, state: State, rollout: Rollout) -> Tick:
        current = None if state.current is None else state.versions[state.current].digest
        task = Task(
            rollout=rollout.number,
            candidate=state.versions[rollout.version].digest,
            current=current,
            policy=rollout.policy,
        )
        outcome = self._verifier.outcome(task)
        if outcome is None:
            return Tick(seq=state.seq, words=f"Version {rollout.version} is being verified.")
        if outcome.failed is not None:
            rejected = Rejected(rollout=rollout.number, code=outcome.failed, report=outcome.report)
            return self._append(state, rejected, outcome.reason)
        return self._load(state, rollout, current, outcome)

    def _load(self, state: State, rollout: Rollout, current: Digest | None, outcome: Outcome) -> Tick:
        """What passed its checks is loaded by all replicas before it gets traffic, or gets none."""
        at, loading = self._room(state, rollout), self._loading(state, rollout)
        late = bool(loading.waiting) and self._waited(rollout) >= self._settings.candidate_seconds
        if late and loading.idle:
            at = room.never_begun(
                loading.idle, rollout.policy.on_no_room, seconds=self._settings.candidate_seconds
            )
        report = outcome.report
        if at.words:
            check = Check(name="memory", failed=ReasonCode.MEMORY if at.refused else None, words=at.words)
            report = {"checks": [*report["checks"], check.document()]}
        if at.refused:
            rejected = Rejected(rollout=rollout.number, code=ReasonCode.MEMORY, report=report)
            return self._append(state, rejected, at.words)
        if not at.sequential:  # else there is no room for it before it is its turn
            if loading.failed:
                why = f"the version does not load: {'; '.join(loading.failed[:3])}"
                body = RolledBack(
                    rollout=rollout.number, version=rollout.version, code=ReasonCode.LOAD_FAILURE
                )
                return self._append(state, body, why)
            if late:
                seconds = f"{self._settings.candidate_seconds:g} s"
                why = f"It was not loaded everywhere in {seconds}: {loading.words}."
                rejected = Rejected(rollout=rollout.number, code=ReasonCode.LOAD_FAILURE, report=report)
                return self._append(state, rejected, why)
            if loading.waiting:
                self._candidate = Candidate(rollout.version, loading.words)
                words = f"Version {rollout.version} is not loaded everywhere yet: {loading.words}."
                return Tick(seq=state.seq, words=words)
            report = {**report, "replicas": loading.loaded}
        share = 1.0 if at.sequential else share_of_step(rollout.policy, rollout.baseline, 0)
        verified = Verified(
            rollout=rollout.number,
            share=share,
            report=report,
            vouched=outcome.vouched,
            measured=outcome.measured,
            past=self._past(current),
            sequential=at.sequential,
        )
        return self._append(
            state, verified, f"{outcome.reason} {at.words}" if at.sequential else outcome.reason
        )

    def _waited(self, rollout: Rollout) -> float:
        """How long the replicas have known of the version that they are to load, seconds."""
        now = self._monotonic()
        if self._asked is None or self._asked[0] != rollout.number:
            self._asked = (rollout.number, now)
        return now - self._asked[1]

    def _loading(self, state: State, rollout: Rollout) -> gather.Loading:
        return gather.loading(
            self._store.replicas(),
            state.versions[rollout.version].digest,
            seq=state.seq,
            now=self._clock(),
            fresh_seconds=self._settings.replica_fresh_seconds,
        )

    def _room(self, state: State, rollout: Rollout) -> room.Verdict:
        return room.judge(
            self._store,
            self._store.replicas(),
            state.versions[rollout.version].digest,
            rollout.policy.on_no_room,
            now=self._clock(),
            fresh_seconds=self._settings.replica_fresh_seconds,
        )

    def _past(self, current: Digest | None) -> Categories:
        """What `current` answered to users of late."""
        fresh = self._settings.replica_fresh_seconds
        return gather.past(self._store.replicas(), current, now=self._clock(), fresh_seconds=fresh)

    def _judge(self, state: State, rollout: Rollout) -> Tick:
        now = self._clock()
        readings = gather.read(
            self._store.replicas(),
            canary=state.versions[rollout.version].digest,
            rollout=rollout.number,
            now=now,
            fresh_seconds=self._settings.replica_fresh_seconds,
        )
        at = self._ledger.turn(
            rollout,
            now=self._monotonic(),
            running=readings.ready and rollout.phase is RolloutPhase.CANARY,
            in_flight=readings.in_flight,
            ready=readings.ready,
            tripped=readings.tripped,
        )
        self._probe(state, rollout, at)
        verdict = at.verdict(readings.in_flight)
        situation = self._watch.situation(state, rollout, at, readings, now)
        decision = decide(state, situation)
        if isinstance(decision, Promote):
            decision = self._unfit(state.versions[rollout.version].digest, rollout) or decision
        body = body_of(decision, rollout, at, verdict, step=situation.step, feedback=situation.feedback)
        if body is None:
            return Tick(seq=state.seq, words=decision.reason)
        return self._append(state, body, decision.reason)

    def _unfit(self, digest: Digest, rollout: Rollout) -> RollBack | Suspend | None:
        """Workers hold what they loaded; what the next start would load may have been damaged since.

        And a key that signed it may have lost its trust. Where that cannot be told, a person is asked.
        """
        try:
            self._store.verify(digest)
        except (Corrupt, NotFound) as error:
            return RollBack(ReasonCode.LOAD_FAILURE, error.message)
        required = rollout.policy.require_signature
        try:
            made = judge(self._store, digest, self._settings.trust, required=required)
        except Misconfigured as error:
            return Suspend(
                ReasonCode.SIGNATURE,
                f"it would be promoted now, but its signature cannot be checked: {error} The settings are to "
                "blame, not the version: mend them, then resume",
            )
        return RollBack(ReasonCode.SIGNATURE, made.words) if made.refused else None

    def _probe(self, state: State, rollout: Rollout, at: Standing) -> None:
        if state.current is None:
            return
        current = state.versions[state.current].digest
        rate = probing.rate(rollout, at.analysis, self._settings.users_suffice)
        self._prober.aim(rate, lambda: probing.pairs(self._store, current))

    def _append(self, state: State, body: Body, reason: str) -> Tick:
        event = self._store.append(body, actor=ACTOR, reason=reason, expect=state.seq)
        self._notify(event)
        return Tick(seq=event.seq, event=event, words=event.reason)
