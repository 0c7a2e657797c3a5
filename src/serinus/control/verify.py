"""Verification: every check before a version sees traffic, as one outcome; and the thread that it runs in.

It changes nothing, so it may be cut off at any point and made again by whoever comes next.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from serinus.control import checks, held_out, quality
from serinus.control.checks import Check
from serinus.control.golden import MEASUREMENTS
from serinus.control.quality import QualityGate
from serinus.control.settings import ControllerSettings
from serinus.core.enums import ReasonCode
from serinus.core.errors import Cancelled, Unavailable
from serinus.core.ids import Digest
from serinus.rollout.policy import Policy
from serinus.store import Store

log = logging.getLogger(__name__)


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What verification came to."""

    failed: ReasonCode | None
    """None: it may have traffic."""
    reason: str
    report: dict[str, Any]
    """`checks`: each with name, failed, words, numbers, gates."""
    vouched: tuple[str, ...] = ()
    """Golden sets and held-out pairs on which it was compared with current and is not worse."""
    measured: bool = False
    """Whether there was anything that could have vouched."""


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be verified, against what, under which rules."""

    rollout: int
    candidate: Digest
    current: Digest | None
    policy: Policy


def verify(store: Store, task: Task, gate: QualityGate, settings: ControllerSettings) -> Iterator[Check]:
    """The checks, cheap ones first; stop at one that failed. Raises what says nothing about the candidate."""
    yield checks.files(store, task.candidate)
    yield checks.signature(store, task.candidate, settings.trust, task.policy)
    manifest = store.manifest(task.candidate)
    yield checks.contract(manifest)
    golden = store.golden_sets(verify=True)
    yield quality.seen_in_training(manifest, golden)
    yield checks.golden_results(store.artifact(task.candidate), manifest, settings)
    if task.current is not None:
        for one in golden:
            yield gate.check(task.candidate, task.current, one, task.policy)
        dataset = manifest.lineage.dataset
        if dataset and all(one.dataset != dataset for one in golden):
            yield held_out.check(gate, store, task.candidate, task.current, settings)


def outcome_of(made: list[Check]) -> Outcome:
    """Failed when the last check failed; its words are the reason."""
    report = {"checks": [check.document() for check in made]}
    last = made[-1]
    if last.failed is not None:
        return Outcome(failed=last.failed, reason=f"Check of {last.name}: {last.words}", report=report)
    measurements = [check for check in made if check.name.startswith(MEASUREMENTS)]
    passed = f"All {len(made)} checks before traffic passed."
    return Outcome(
        failed=None,
        reason=" ".join([passed, *(check.words for check in measurements)]),
        report=report,
        vouched=tuple(check.name for check in measurements if check.vouches),
        measured=any(check.vouches is not None for check in measurements),
    )


class Verifier:
    """Runs verifications in the background, one at a time; the newest task asked for is the one that counts.

    To be used from one thread.
    """

    def __init__(
        self, store: Store, settings: ControllerSettings, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._settings = settings
        self._monotonic = monotonic
        self._gate = QualityGate(store, settings)
        self._run: _Run | None = None
        self._retry_at = 0.0

    def outcome(self, task: Task) -> Outcome | None:
        """The outcome of `task`; None while it is in the making (asking starts it).

        What could not be measured is made again after `retry_seconds`.
        """
        if self._run is not None and self._run.task != task:
            self._run.cancel()
            if self._run.working:
                return None  # the gate's memory is not shared between two threads
            self._run = None
        if self._run is None:
            if self._monotonic() >= self._retry_at:
                self._run = _Run(self._store, task, self._gate, self._settings)
            return None
        if self._run.working:
            return None
        outcome = self._run.outcome
        if outcome is None:
            self._run, self._retry_at = None, self._monotonic() + self._settings.retry_seconds
        return outcome

    def close(self) -> None:
        """Gives up what is in the making, at the end of its present check."""
        if self._run is not None:
            self._run.cancel()


class _Run:
    """One verification in its thread."""

    def __init__(self, store: Store, task: Task, gate: QualityGate, settings: ControllerSettings) -> None:
        self.task = task
        self.outcome: Outcome | None = None
        self._cancelled = threading.Event()
        self._thread = threading.Thread(
            target=self._work, args=(store, gate, settings), name=f"verify-{task.rollout}", daemon=True
        )
        self._thread.start()

    @property
    def working(self) -> bool:
        return self._thread.is_alive()

    def cancel(self) -> None:
        self._cancelled.set()

    def _work(self, store: Store, gate: QualityGate, settings: ControllerSettings) -> None:
        try:
            self.outcome = outcome_of(list(self._checks(store, gate, settings)))
        except Cancelled as error:
            log.info("%s", error)
        except Unavailable as error:
            log.warning("rollout %d is verified when the store is back: %s", self.task.rollout, error.message)
        except Exception:
            # A thread's exception would be lost: the tick sees that there is no outcome, and tries again.
            log.exception("rollout %d could not be verified; it is tried again", self.task.rollout)

    def _checks(self, store: Store, gate: QualityGate, settings: ControllerSettings) -> Iterator[Check]:
        for check in verify(store, self.task, gate, settings):
            log.info(
                "rollout %d: %s %s: %s",
                self.task.rollout,
                check.name,
                "passed" if check.failed is None else "failed",
                check.words,
            )
            yield check
            if check.failed is not None:
                return
            if self._cancelled.is_set():
                raise Cancelled(f"the verification of rollout {self.task.rollout} is not needed any more")
