"""A small world around the controller: a real store, a clock turned by hand, a replica that reports."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from serinus.bootstrap.edge import new_id
from serinus.control import gather
from serinus.control.controller import Controller, Tick
from serinus.control.probes import ProbePair
from serinus.control.settings import ControllerSettings
from serinus.core.enums import Arm, FailureKind, RolloutPhase, Signal, Stratum
from serinus.core.ids import Digest, Version
from serinus.evidence.counts import Categories, Cell, latency_bin
from serinus.rollout.events import Event, RolloutStarted, Verified
from serinus.rollout.policy import Policy
from serinus.rollout.room import Memory
from serinus.rollout.state import Rollout, State
from serinus.store import Replica, Store
from tests import models

WINDOW = 30.0


class Turned:
    """A clock that only moves when it is told to."""

    def __init__(self) -> None:
        self.now = float(int(time.time()))  # near the real one, which stamps the files

    def __call__(self) -> float:
        return self.now


ALIKE = {"none": 2, "minor-damage": 5, "destroyed": 3}


def _signals(answers: Counter[str], stratum: Stratum) -> Categories:
    if not answers:
        return {}
    found = answers.total() - answers["none"]
    golden = {name: n for name, n in (("found", found), ("empty", answers["none"])) if n}
    return {
        Signal.DOMINANT_CLASS: dict(answers),
        **({Signal.GOLDEN: golden} if stratum is Stratum.PROBES else {}),
    }


class FakeReplica:
    """Loads what the journal says, tosses a coin per request, writes slices and heartbeats."""

    def __init__(self, store: Store, clock: Turned, name: str = "r1-a", seed: int = 1) -> None:
        self.store, self.clock, self.name = store, clock, name
        self.errors = {Arm.CURRENT: 0.0, Arm.CANARY: 0.0}
        self.broken: dict[Digest, str] = {}
        self.trips: tuple[int, ...] = ()
        self.memory: Memory | None = None
        self.loads = True
        self.silent = False
        """It sends no heartbeat."""
        self.loads_candidates = True
        """Loads what is not the canary yet."""
        self.coin: float | None = None
        """Share that it really gives the canary; None: the declared one."""
        self.kinds = {Arm.CURRENT: FailureKind.EXCEPTION, Arm.CANARY: FailureKind.EXCEPTION}
        """How requests fail."""
        self.answers = {Arm.CURRENT: ALIKE, Arm.CANARY: ALIKE}
        """Dominant class -> how many of ten answers; `none`: nothing was found."""
        self.past: dict[str, int] = {}
        """Dominant class -> answers of current to users before."""
        self.probe_rate = 0.0
        self._owed = 0.0
        self._slices: dict[int, int] = {}
        self._random = np.random.default_rng(seed)

    def work(self, users: int) -> None:
        """One second: the users' requests, the probes that are due, a heartbeat."""
        state = self.store.state()
        self._owed += self.probe_rate
        probes, self._owed = int(self._owed), self._owed % 1
        if state.canary is not None and state.rollout is not None and state.rollout.share > 0:
            cells = self._cells(Stratum.USERS, users, state.rollout.share)
            cells += self._cells(Stratum.PROBES, probes, state.rollout.share)
            if cells:
                number = state.rollout.number
                n = self._slices.get(number, -1) + 1
                self.store.put_observation(number, self.name, n, tuple(cells))
                self._slices[number] = n
        self.beat(state)

    def _cells(self, stratum: Stratum, requests: int, share: float) -> list[Cell]:
        counts: dict[Arm, list[int]] = {Arm.CANARY: [0, 0], Arm.CURRENT: [0, 0]}
        coin = share if self.coin is None else self.coin
        answers: dict[Arm, Counter[str]] = {Arm.CANARY: Counter(), Arm.CURRENT: Counter()}
        for _ in range(requests):
            arm = Arm.CANARY if self._random.random() < coin else Arm.CURRENT
            failed = int(self._random.random() < self.errors[arm])
            counts[arm][failed] += 1
            if not failed:
                answers[arm][self._answer(arm)] += 1
        return [
            Cell(
                arm=arm,
                stratum=stratum,
                share=share,
                ok={latency_bin(0.02): good} if good else {},
                failed={self.kinds[arm]: bad} if bad else {},
                signals=_signals(answers[arm], stratum),
            )
            for arm, (good, bad) in counts.items()
            if good or bad
        ]

    def _answer(self, arm: Arm) -> str:
        place, mix = self._random.random() * 10, self.answers[arm]
        ends = np.cumsum(list(mix.values()))
        return list(mix)[int(np.searchsorted(ends, place, side="right"))]

    def beat(self, state: State) -> None:
        if self.silent:
            return
        wanted = [state.versions[version].digest for version in (state.current,) if version is not None]
        if state.canary is not None:
            wanted.append(state.canary.digest)
        routes = self.store.routes()
        candidate = None if routes is None or state.canary is not None else routes.candidate
        if candidate is not None and self.loads_candidates:
            wanted.append(candidate.digest)
        loaded = tuple(digest for digest in wanted if digest not in self.broken) if self.loads else ()
        failed = {digest: why for digest, why in self.broken.items() if digest in wanted}
        self.store.put_replica(
            Replica(
                replica=self.name,
                time=self.clock(),
                seq=state.seq,
                loaded=loaded,
                failed=failed,
                trips=self.trips,
                past={Signal.DOMINANT_CLASS: self.past} if self.past else {},
                past_of=wanted[0] if wanted else None,
                memory=self.memory,
            )
        )


class AimedAt:
    """A prober that only tells the fake replica at which rate it is probed."""

    def __init__(self, replica: FakeReplica) -> None:
        self._replica = replica
        self.pairs: Sequence[ProbePair] = ()
        self.closed = False

    def aim(self, per_second: float, pairs: Callable[[], Sequence[ProbePair]]) -> None:
        if per_second > 0 and not self.pairs:
            self.pairs = pairs()
        self._replica.probe_rate = per_second

    def close(self) -> None:
        self.closed = True


class World:
    """Version 1 is current; versions are published from drafts; time passes in steps of a second."""

    def __init__(self, folder: Path, **policy: object) -> None:
        self.folder = folder
        self.clock = Turned()
        self.store = Store.open(folder / "models", clock=self.clock, new_id=new_id)
        self.store.publish(
            models.healthy(folder / "base", seed=0), note="base", actor="publisher", initial=True
        )
        self.policy = Policy(**({"window_seconds": WINDOW} | policy))  # type: ignore[arg-type]
        self.replica = FakeReplica(self.store, self.clock)
        self.events: list[Event] = []
        self.controllers = [self.controller()]

    def controller(self, **settings: object) -> Controller:
        """One more, as after a restart: it shares nothing with the others but the store."""
        store = Store(self.store.root, clock=self.clock, new_id=new_id)
        return Controller(
            store,
            ControllerSettings(policy=self.policy, **settings),  # type: ignore[arg-type]
            clock=self.clock,
            monotonic=self.clock,
            prober=AimedAt(self.replica),
            notify=self.events.append,
        )

    def publish(self, draft: Path, note: str = "") -> Version:
        return self.store.publish(draft, note=note, actor="trainer")

    @property
    def state(self) -> State:
        return self.store.state()

    @property
    def rollout(self) -> Rollout:
        assert self.state.rollout is not None, self.story()
        return self.state.rollout

    @property
    def clock_of_window(self) -> float:
        last = self.store.last_frozen(self.state.rollouts)
        return 0.0 if last is None else last.clock

    def tick(self) -> list[Tick]:
        return [controller.tick() for controller in self.controllers]

    def step(self, users: int = 0, seconds: int = 1) -> None:
        for _ in range(seconds):
            self.clock.now += 1.0
            self.replica.work(users)
            self.tick()

    def verify(self) -> None:
        """Real seconds pass until the checks of the next version are made; the clock stands still."""
        self._wait(lambda: self.state.rollout is not None)
        self._wait(lambda: self.state.rollout is None or self.rollout.phase is not RolloutPhase.VERIFYING)

    def canary(self, share: float = 0.5, vouched: tuple[str, ...] = (), *, measured: bool = True) -> None:
        """Version 2 is published and the canary, for tests that are not about its verification."""
        self.replica.beat(self.state)
        past = gather.past(
            self.store.replicas(),
            self.state.versions[Version(1)].digest,
            now=self.clock(),
            fresh_seconds=10.0,
        )
        version = self.publish(models.healthy(self.folder / "next", seed=1), note="more data")
        start = RolloutStarted(rollout=1, version=version, policy=self.policy)
        self.store.append(start, actor="controller", reason="the next that was published")
        self.store.append(
            Verified(rollout=1, share=share, vouched=vouched, measured=measured, past=past),
            actor="controller",
            reason="all checks passed",
        )
        self.replica.beat(self.state)
        self.tick()

    def _wait(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < end, self.story()
            self.replica.beat(self.state)
            self.tick()
            time.sleep(0.02)

    def until_over(self, users: int, seconds: int) -> Rollout:
        """Steps until the rollout has ended, at most so many seconds."""
        for _ in range(seconds):
            if self.state.rollout is None:
                break
            self.step(users)
        assert self.state.rollout is None, self.story()
        assert self.state.last is not None
        return self.state.last

    def story(self) -> str:
        return "\n".join(f"#{event.seq} {event.actor}: {event.reason}" for event in self.store.events())
