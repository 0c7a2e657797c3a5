"""Whatever a canary does, and whatever is swapped, no user sees a failed answer.

Users ask at 40 % of the capacity that is measured first, with pictures of 256 x 256. Asserted is what they
are told and in which order, never when.
"""

import asyncio
import contextlib
import itertools
import math
import os
import signal
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import psutil
import pytest

from serinus.core.enums import ReasonCode, RolloutPhase
from serinus.rollout.events import Undone
from serinus.rollout.policy import Policy, Rule
from tests import models
from tests.api.live import Server, server
from tests.api.raw import Wire
from tests.processes import wild
from tests.processes.installation import Installation, eventually, pair
from tests.processes.load import Answer, Load, pressed, request
from tests.serving.house import WAIT_SECONDS, promote, publish, roll_back, start_canary, wait_for

pytestmark = pytest.mark.processes

ROUNDS = 1000
"""A model of about 10 ms: so much work that asking is not most of it."""
PART = 0.4
MISDEEDS = (
    "throw",
    "hang",
    "leave:3",
    "leave_politely:0",
    "segfault",
    "nan",
    "huge",
    "many",
    "flat",
    "bytes",
)
"""What a canary does to each picture, and so never answers."""
CRASHES = MISDEEDS[1:5]
"""Those that take its worker with them."""


PATIENT = Policy(rule=Rule.COUNTING)
"""Under this one only the controller, which is not here, takes traffic away from a bad canary."""


class Stage:
    """A service with a good version and users who ask for 40 % of what it can do."""

    def __init__(self, made: Server, root: Path) -> None:
        self.made = made
        self._root = root
        self._seeds = itertools.count(2)
        load = Load(made.url, size=wild.SIZE)
        self.rate = PART * asyncio.run(load.capacity(8, 4.0))

    def publish(self, misdeed: str = "") -> int:
        seed = next(self._seeds)
        return publish(
            self.made.store, wild.draft(self._root / f"v{seed}", misdeed, seed=seed, rounds=ROUNDS)
        )

    def failure(self, version: int) -> str:
        """Why the replica says that a version does not load or stay alive."""
        digest = self.made.store.state().versions[version].digest
        return next((r.failed[digest] for r in self.made.store.replicas(0.0) if digest in r.failed), "")

    def roll_back(self, rollout: int, version: int) -> float:
        """Rolls a canary back; the moment (monotonic seconds) since which nobody is sent to it."""
        roll_back(self.made.store, rollout, version)
        wait_for(lambda: self.made.canary() is None, "the rollback")
        return time.monotonic()

    def serves(self, version: int) -> float:
        """Waits until `version` is current here; the moment since which it is."""

        def is_current() -> bool:
            status = self.made.get("/model-status")
            return status.get("current_version", {}).get("version") == version and not status["canary_model"]

        wait_for(is_current, f"version {version} to be current")
        return time.monotonic()

    def some_after(self, load: Load, moment: float) -> list[Answer]:
        """Waits for a few answers to who asked after the moment."""
        wait_for(lambda: len(after(load, moment)) >= 5, "answers")
        return after(load, moment)

    def users(self) -> AbstractContextManager[Load]:
        return pressed(self.made.url, self.rate, size=wild.SIZE)

    def workers_of(self, version: int) -> list[int]:
        digest = self.made.store.state().versions[version].digest
        found = []
        for child in self.made.psutil.children():
            with contextlib.suppress(psutil.Error):  # it has just ended
                if digest in " ".join(child.cmdline()):
                    found.append(child.pid)
        return found


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    root = tmp_path_factory.mktemp("chaos")
    first = wild.draft(root / "first", seed=1, rounds=ROUNDS)
    with server(
        root,
        first=first,
        env=wild.ENVIRONMENT,
        predict_seconds=5.0,
        load_timeout_seconds=600.0,
        worker_memory_bytes=600 << 20,
    ) as made:
        yield Stage(made, root)


def after(load: Load, moment: float) -> list[Answer]:
    """What was asked after a moment, in the order of asking."""
    return sorted(answer for answer in load.answers if answer.asked > moment)


def let_misbehave(stage: Stage, misdeed: str, harm: float, seconds: float = WAIT_SECONDS) -> tuple[str, Load]:
    """A canary does `misdeed` until it failed `harm` requests or was given up, then it is rolled back.

    `seconds`: how long that may take. Gives the words of the replica that gave it up, if it did, and what the
    users were told.
    """
    version = stage.publish(misdeed)
    with stage.users() as load:
        rollout = start_canary(stage.made.store, version, policy=PATIENT)
        wait_for(
            lambda: sum(answer.fallback for answer in load.answers) >= harm or stage.failure(version),
            f"{harm} requests that the canary fails",
            seconds,
        )
        given_up = stage.failure(version)
        calm = stage.roll_back(rollout, version)
        stage.some_after(load, calm)
    assert load.failed == []
    assert {(a.version, a.assigned, a.fallback) for a in after(load, calm)} == {(1, "current", False)}
    assert {answer.version for answer in load.answers} == {1}
    wait_for(lambda: not stage.workers_of(version), "the end of its workers")
    return given_up, load


def let_load(stage: Stage, seconds: int) -> None:
    """A canary that computes for so many seconds before it is loaded; then it answers its share."""
    version = stage.publish(f"load:{seconds}")
    with stage.users() as load:
        rollout = start_canary(stage.made.store, version, policy=PATIENT)
        wait_for(lambda: stage.workers_of(version), "its worker")
        begun = time.monotonic()
        wait_for(lambda: len(after(load, begun)) >= 10, "answers while it loads")
        assert stage.made.canary() is None
        waiting = list(load.answers)
        wait_for(
            lambda: any(a.version == version for a in load.answers),
            "an answer of the canary",
            300.0 + 20 * seconds,
        )
        calm = stage.roll_back(rollout, version)
        stage.some_after(load, calm)
    assert load.failed == []
    assert {(a.version, a.assigned, a.fallback) for a in waiting} == {(1, "current", False)}
    assert {(a.version, a.fallback) for a in after(load, calm)} == {(1, False)}
    assert not any(answer.fallback for answer in load.answers)


@pytest.mark.parametrize("misdeed", MISDEEDS)
def test_a_canary_that_misbehaves_costs_nobody_an_answer(stage: Stage, misdeed: str) -> None:
    let_misbehave(stage, misdeed, harm=5)


def test_a_canary_that_leaks_fails_at_its_limit_and_goes_on_in_a_new_worker(stage: Stage) -> None:
    version = stage.publish("leak")

    def recovered(load: Load) -> bool:
        failed = [answer.told for answer in load.answers if answer.fallback]
        return bool(failed) and any(a.version == version and a.asked > failed[0] for a in load.answers)

    with stage.users() as load:
        rollout = start_canary(stage.made.store, version, policy=PATIENT)
        wait_for(lambda: recovered(load), "the canary to fail, and to answer again")
        stage.roll_back(rollout, version)
    assert load.failed == []
    assert all(a.assigned == "canary" and not a.fallback for a in load.answers if a.version == version)


def test_a_canary_that_loads_for_long_is_not_waited_for(stage: Stage) -> None:
    let_load(stage, 1)


def test_promotion_undo_and_rollback_fail_no_request(stage: Stage) -> None:
    """Also an undo after the window, when the version before must be loaded again."""
    store = stage.made.store
    second, third = stage.publish(), stage.publish()
    with stage.users() as load:
        for policy in (Policy(), Policy(rollback_window_seconds=0.0)):
            rollout = start_canary(store, second, policy=policy)
            wait_for(lambda: stage.made.canary() == second, "the canary")
            promote(store, rollout, second)
            swapped = stage.serves(second)
            if not policy.rollback_window_seconds:
                wait_for(lambda: not stage.workers_of(1), "version 1 to be unloaded")
            promoted = stage.some_after(load, swapped)
            store.append(Undone(version=1, undone=second), actor="test", reason="test")
            undone = stage.some_after(load, stage.serves(1))
            assert {(a.version, a.assigned) for a in promoted} == {(second, "current")}
            assert {(a.version, a.assigned) for a in undone} == {(1, "current")}
        rollout = start_canary(store, third)
        wait_for(lambda: any(a.version == third for a in load.answers), "an answer of the canary")
        calm = stage.roll_back(rollout, third)
        stage.some_after(load, calm)
    assert load.failed == []
    assert {a.version for a in after(load, calm)} == {1}
    assert {a.version for a in load.answers} == {1, second, third}
    assert not any(a.fallback for a in load.answers)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("misdeed", MISDEEDS)
def test_a_canary_that_misbehaves_for_long_costs_nobody_an_answer(stage: Stage, misdeed: str) -> None:
    crashes = misdeed in CRASHES
    given_up, _ = let_misbehave(stage, misdeed, harm=math.inf if crashes else 300, seconds=600.0)
    assert given_up == "" or crashes
    assert not crashes or "died 6 times in a row without an answer" in given_up


@pytest.mark.long
@pytest.mark.timeout(2000)
def test_a_canary_that_loads_for_a_minute_is_not_waited_for(stage: Stage) -> None:
    let_load(stage, 60)


def test_workers_that_are_killed_or_stand_still_cost_nobody_an_answer(tmp_path: Path) -> None:
    first = wild.draft(tmp_path / "first", seed=1, rounds=ROUNDS)
    with server(tmp_path, first=first, predict_seconds=60.0, workers=2) as made:
        stage = Stage(made, tmp_path)
        version = stage.publish()
        with stage.users() as load:
            rollout = start_canary(made.store, version, policy=PATIENT)
            wait_for(lambda: len(stage.workers_of(version)) == 2, "both workers of the canary")
            wait_for(lambda: any(a.version == version for a in load.answers), "an answer of the canary")
            standing = stage.workers_of(version)[0]
            os.kill(standing, signal.SIGSTOP)
            for _ in range(2):
                wait_for(lambda: len(stage.workers_of(1)) == 2, "both workers of current")
                os.kill(stage.workers_of(1)[0], signal.SIGKILL)
                killed = time.monotonic()
                # A request that lost a worker is asked of another one once: a pair may be what kills.
                wait_for(lambda at=killed: sum(a.version == 1 for a in after(load, at)) >= 5, "answers")
            os.kill(standing, signal.SIGKILL)
            stage.roll_back(rollout, version)
        assert load.failed == []


def test_a_shortage_of_descriptors_passes_without_harm(stage: Stage) -> None:
    """The limit falls below what is open: requests are told to come back, and no worker is lost."""
    process, workers = stage.made.psutil, stage.workers_of(1)
    before = process.rlimit(psutil.RLIMIT_NOFILE)
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(Wire(stage.made.url)) for _ in range(8)]
        wait_for(lambda: len(stage.made.connections()) >= 8, "the connections")
        process.rlimit(psutil.RLIMIT_NOFILE, (8, before[1]))
        try:
            replies = [wire.send(request(wild.SIZE)).reply() for wire in wires]
        finally:
            process.rlimit(psutil.RLIMIT_NOFILE, before)
    assert {(503, "1")} <= {(r.status, r.header("Retry-After")) for r in replies} <= {(503, "1"), (200, None)}
    assert stage.workers_of(1) == workers
    with stage.users() as load:
        stage.some_after(load, 0.0)
    assert load.failed == []


def test_a_crash_loop_ends_the_rollout_with_the_reason(tmp_path: Path) -> None:
    place = Installation(tmp_path, {"PROBES": "false", "MAX_EVALUATION": "100"})
    place.up()
    try:
        version = place.publish(models.healthy(tmp_path / "second", seed=2))
        digest = place.state().versions[version].digest

        def killed() -> bool:
            """One more worker of the canary, as the kernel does it that is short of memory."""
            for process in place.tree():
                with contextlib.suppress(psutil.Error):
                    if digest in " ".join(process.cmdline()) and place.status()["canary_model"]:
                        process.kill()
            return place.ended(version) is not None

        eventually(killed, "the rollout ends", tell=place.log)
        last = place.ended(version)
        assert last is not None
        assert (last.phase, last.code) == (RolloutPhase.ROLLED_BACK, ReasonCode.LOAD_FAILURE), last.reason
        assert "does not load or stay alive" in last.reason
        assert "the worker was killed by SIGKILL" in last.reason, "loaded already, or while it loaded"
        assert place.predict(pair(1)).json()["model"]["version"] == 1
    finally:
        place.down()
