"""One store goes through everything, stopped again and again, and is never made anew.

python -m tests.store.crash.walk FOLDER STEPS SEED     under LD_PRELOAD of the shim; prints JSON

Each step does in a child what the state allows, in a way and at a call that chance picks; somebody meddles
with the folder now and then. After each step everything that was ever confirmed must hold (`invariants`).
"""

import random
import shutil
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import msgspec

from serinus.control import retention
from serinus.core.enums import Arm
from serinus.store import Store
from serinus.store.incoming import is_foreign
from tests.store.crash.cuts import Harness
from tests.store.crash.invariants import Before, violations
from tests.store.crash.operations import LATER, Operation, Place, Say, copied, harm, opened
from tests.store.crash.shim import MODES
from tests.store.drafts import frozen_slice, write_draft, write_set
from tests.store.whole import pass_by
from tests.store.writer import decisions

_FARTHEST = defaultdict(lambda: 12, copy=150, repair=100, publish=40)
"""A step is cut at one of so many calls; some make fewer, then nothing is cut."""


class Walk(msgspec.Struct):
    """What happened on the way."""

    steps: dict[str, int]
    """How often each was done."""
    cut: int
    """Steps that were stopped."""
    events: int
    """Of the journal in the end."""
    violated: list[str]


class Steps:
    """What the state allows, whatever it is, in step `n`.

    `chance`: a child has a copy, so that what it takes from it is not missing to its parent.
    """

    def __init__(self, n: int, chance: random.Random) -> None:
        self._n = n
        self._chance = chance

    def publish(self, store: Store, place: Place, say: Say) -> None:
        version = store.publish(place.inputs / "draft", note="one more", actor="train")
        say("version", version, store.state().versions[version].digest)

    def decide(self, store: Store, place: Place, say: Say) -> None:
        allowed = decisions(store, store.state(), "walker", self._chance)
        if allowed:
            event = self._chance.choice(allowed)()
            say("event", event.seq, event.id)

    def freeze(self, store: Store, place: Place, say: Say) -> None:
        rollout = store.state().rollouts
        last = store.last_frozen(rollout)
        k, prev = (0, "") if last is None else (last.k + 1, last.digest)
        frozen = frozen_slice(rollout, k, prev, time=time.time())
        if store.freeze(frozen):
            say("frozen", rollout, k, frozen.digest)

    def golden(self, store: Store, place: Place, say: Say) -> None:
        name = f"storm-{self._n}"
        say("golden", name, store.add_golden(name, place.inputs / "golden", actor="alice"))

    def report(self, store: Store, place: Place, say: Say) -> None:
        if store.state().rollout is not None:
            pass_by(store)
        store.remove_replica("infer-1-cd")

    def snapshot(self, store: Store, place: Place, say: Say) -> None:
        store.snapshot()

    def views(self, store: Store, place: Place, say: Say) -> None:
        store.refresh_views()

    def forget(self, store: Store, place: Place, say: Say) -> None:
        store.forget_observations(keep=store.state().rollouts, before=time.time() + LATER)

    def sweep(self, store: Store, place: Place, say: Say) -> None:
        opened(place, later=LATER)

    def collect(self, store: Store, place: Place, say: Say) -> None:
        retention.collect(store, keep=2, dry_run=False, actor="alice")

    def take(self, store: Store, place: Place, say: Say) -> None:
        taken = store.incoming.take(Arm.CANARY) if is_foreign(place.root / "canary") else None
        if taken is not None:
            store.incoming.refuse(taken)

    def repair(self, store: Store, place: Place, say: Say) -> None:
        list(store.check(repair=True))

    def copy(self, store: Store, place: Place, say: Say) -> None:
        if store.copy_to(copied(place)).left_out:
            raise OSError("something could not be read")


STEPS = (*["decide"] * 5, "publish", *(name for name in vars(Steps) if not name.startswith("_")))
"""Decisions come more often: the rest depends on where they lead."""


def _prepare(name: str, place: Place, n: int) -> None:
    """What makes this step worth while; nobody stops it."""
    match name:
        case "publish":
            shutil.rmtree(place.inputs / "draft")
            write_draft(place.inputs / "draft", b"%d" % (n // 2))
        case "golden":
            shutil.rmtree(place.inputs / "golden")
            write_set(place.inputs / "golden", dataset=f"ds-{n:012d}")
        case "take" if not is_foreign(place.root / "canary"):
            (place.root / "canary").unlink(missing_ok=True)
            (place.root / "canary").mkdir()
            (place.root / "canary" / "best.pt").write_bytes(b"theirs, %d" % n)
        case "repair":
            harm(place.root)


def walk(folder: Path, count: int, chance: random.Random) -> Walk:
    place = Place(folder)
    write_draft(place.inputs / "draft", b"first")
    write_set(place.inputs / "golden")
    store = opened(place)
    store.publish(place.inputs / "draft", note="first", actor="up", initial=True)
    store.refresh_views()
    harness, seen = Harness(folder), Walk({}, 0, 0, [])
    said: list[list[Any]] = []
    for n in range(count):
        name, mode = chance.choice(STEPS), chance.choice(list(MODES))
        _prepare(name, place, n)
        before = harness.before["walk"] = Before.of(place)
        operation = Operation("walk", getattr(Steps(n, chance), name))
        outcome = harness.cut(operation, place, MODES[mode], chance.randint(1, _FARTHEST[name]))
        said += outcome.said
        wrong = outcome.wrong + violations(place, before, said)
        seen.violated += [f"step {n}, {name}, {mode}: {words}" for words in wrong]
        seen.steps[name] = seen.steps.get(name, 0) + 1
        seen.cut += outcome.fired
    seen.events = opened(place).state().seq
    return seen


if __name__ == "__main__":
    found = walk(Path(sys.argv[1]), int(sys.argv[2]), random.Random(sys.argv[3]))
    sys.stdout.write(msgspec.json.encode(found).decode())
