"""What the store is interrupted in: one table. A new operation is one line, and maybe a template."""

import functools
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple, TypeAlias

from serinus.control import commands, retention
from serinus.core.enums import Arm
from serinus.core.ids import Version
from serinus.rollout.events import ShareChanged
from serinus.rollout.policy import Policy
from serinus.store import Replica, Routes, Store
from serinus.store.local import Disk
from tests.store.drafts import frozen_slice, new_id, some_slice, start_canary, write_draft, write_set

Say: TypeAlias = Callable[..., None]
"""Tells the outside what the store has confirmed: `say("event", seq, id)`."""

LATER = 7200.0
"""Seconds after which whatever a killed writer left may be swept."""


class Place(NamedTuple):
    """A folder of one trial."""

    folder: Path

    @property
    def root(self) -> Path:
        return self.folder / "store"

    @property
    def inputs(self) -> Path:
        return self.folder / "inputs"


def unopened(place: Place, disk: Disk | None = None) -> Store:
    return Store(place.root, clock=time.time, new_id=new_id, disk=disk)


def opened(place: Place, *, later: float = 0.0) -> Store:
    return Store.open(place.root, clock=lambda: time.time() + later, new_id=new_id)


def copied(place: Place) -> Store:
    """What the operation `copy` copies into."""
    return Store.open(place.folder / "copy", clock=time.time, new_id=new_id, may_be_unfinished=True)


# -- templates: what the store looks like before ----------------------------------------------------------


def _new(place: Place) -> None:
    for name in ("first", "second", "third", "fourth"):
        write_draft(place.inputs / name, name.encode())
    write_set(place.inputs / "golden")
    write_set(place.inputs / "more-golden", dataset="ds-000000000002")


def _canary(place: Place) -> None:
    """Version 1 is current, 2 the canary, 3 waits; two slices of evidence, observations, a golden set."""
    _new(place)
    store = opened(place)
    store.publish(place.inputs / "first", note="first", actor="test", initial=True)
    store.publish(place.inputs / "second", note="second", actor="test")
    store.publish(place.inputs / "third", note="third", actor="test")
    store.refresh_views()
    start_canary(store, Version(2))
    store.refresh_views()
    prev = ""
    for k in range(2):
        store.put_observation(1, "infer-0-ab", k, some_slice())
        frozen = frozen_slice(1, k, prev)
        assert store.freeze(frozen)
        prev = frozen.digest
    store.put_replica(Replica(replica="infer-0-ab", time=1.0, seq=3))
    store.put_routes(Routes(seq=3))
    store.add_golden("hurricane", place.inputs / "golden", actor="test")
    store.snapshot()


def _second(place: Place) -> None:
    """A second rollout, without evidence yet."""
    _canary(place)
    store = opened(place)
    commands.rollback(store, actor="test", reason="bad")
    start_canary(store, Version(3))
    store.refresh_views()


def _promoted(place: Place) -> None:
    """Version 2 is current and can be undone, 3 was rolled back, 4 waits; some old views; no rollout."""
    _canary(place)
    store = opened(place)
    commands.promote(store, actor="test", reason="good", confirm=True)
    store.refresh_views()
    for n in range(4):
        rollout = start_canary(store, Version(3), share=(n + 1) / 10)
        store.refresh_views()
        store.append(ShareChanged(rollout=rollout, share=(n + 2) / 10), actor="test", reason="more")
        store.refresh_views()
        commands.rollback(store, actor="test", reason="bad")
        store.refresh_views()
    store.publish(place.inputs / "fourth", note="fourth", actor="test")
    store.put_replica(Replica(replica="infer-0-ab", time=1.0, seq=store.state().seq))


def _moved(place: Place) -> None:
    """The journal went on since the views were made: both links are to be swapped, old views to go."""
    _promoted(place)
    store = opened(place)
    commands.undo(store, actor="test", reason="back")
    start_canary(store, Version(4), share=0.25)


def _foreign(place: Place) -> None:
    """Somebody else's folder and file where links should be."""
    _moved(place)
    for path in (place.root / "canary", place.root / "versions" / "000002"):
        path.unlink(missing_ok=True)
    (place.root / "canary").mkdir()
    (place.root / "canary" / "best.pt").write_bytes(b"theirs")
    (place.root / "versions" / "000002").write_bytes(b"theirs too")


def harm(root: Path) -> None:
    """Damages what can be healed without loss."""
    for snapshot in (root / "journal").glob("snapshots/*"):
        snapshot.write_bytes(b"torn")
    (root / "routes.json").write_bytes(b"torn")
    if (root / "current").is_symlink():
        (root / "current").unlink()
    artifact = max((root / "artifacts").iterdir())
    artifact.chmod(0o755)


def _harmed(place: Place) -> None:
    _promoted(place)
    harm(place.root)


def _stale(place: Place) -> None:
    """What killed writers left."""
    _canary(place)
    (place.root / ".tmp" / "0123").write_bytes(b"half an ev")
    for parent in ("artifacts", "views", "golden/hurricane"):
        tree = place.root / parent / ".tmp-0123"
        (tree / "training").mkdir(parents=True)
        (tree / "training" / "results.csv").write_bytes(b"epoch")
        (tree / "training").chmod(0o555)
        (tree / "version.json").symlink_to("../../nowhere")
    (place.root / ".tmp-4567").symlink_to("views/x")


TEMPLATES: Mapping[str, Callable[[Place], None]] = {
    "new": _new,
    "canary": _canary,
    "second": _second,
    "promoted": _promoted,
    "moved": _moved,
    "foreign": _foreign,
    "harmed": _harmed,
    "stale": _stale,
}


# -- operations -------------------------------------------------------------------------------------------


def _say_version(store: Store, version: Version, say: Say) -> None:
    say("version", version, store.state().versions[version].digest)


def _open(store: Store, place: Place, say: Say) -> None:
    store = opened(place)
    version = store.publish(place.inputs / "first", note="base", actor="test", initial=True)
    _say_version(store, version, say)


def _publish(store: Store, place: Place, say: Say, *, draft: str) -> None:
    version = store.publish(place.inputs / draft, note=draft, actor="test")
    _say_version(store, version, say)


def _append(store: Store, place: Place, say: Say) -> None:
    for share in (0.2, 0.3):
        event = store.append(ShareChanged(rollout=1, share=share), actor="test", reason="more")
        say("event", event.seq, event.id)


def _start(store: Store, place: Place, say: Say) -> None:
    event = commands.start(store, Version(3), policy=Policy(), actor="test", reason="better")
    say("event", event.seq, event.id)


def _decide(store: Store, place: Place, say: Say, *, which: str) -> None:
    decisions = {
        "promote": lambda: commands.promote(store, actor="test", reason="now", confirm=True),
        "roll back": lambda: commands.rollback(store, actor="test", reason="bad"),
        "undo": lambda: commands.undo(store, actor="test", reason="back"),
        "pause": lambda: commands.pause(store, actor="test", reason="wait"),
        "resume": lambda: commands.resume(store, actor="test", reason="go on"),
    }
    for decision in which.split(", "):
        event = decisions[decision]()
        say("event", event.seq, event.id)


def _views(store: Store, place: Place, say: Say) -> None:
    store.refresh_views()
    say("views")


def _freeze(store: Store, place: Place, say: Say) -> None:
    for k in (2, 3):
        before = store.frozen(1, k - 1)
        assert before is not None
        frozen = frozen_slice(1, k, before.digest, time=time.time())
        if store.freeze(frozen):
            say("frozen", 1, k, frozen.digest)


def _freeze_first(store: Store, place: Place, say: Say) -> None:
    frozen = frozen_slice(2, 0, "")
    if store.state().rollouts == 2 and store.freeze(frozen):
        say("frozen", 2, 0, frozen.digest)


def _golden(store: Store, place: Place, say: Say, *, name: str, folder: str) -> None:
    say("golden", name, store.add_golden(name, place.inputs / folder, actor="test"))


def _report(store: Store, place: Place, say: Say) -> None:
    store.put_observation(1, "infer-0-ab", 2, some_slice())
    store.put_observation(1, "infer-1-cd", 0, some_slice())
    store.put_replica(Replica(replica="infer-0-ab", time=2.0, seq=5))
    store.put_routes(Routes(seq=5))
    store.remove_replica("infer-0-ab")


def _forget(store: Store, place: Place, say: Say) -> None:
    store.forget_observations(keep=None, before=time.time() + LATER)


def _sweep(store: Store, place: Place, say: Say) -> None:
    opened(place, later=LATER)


def _snapshot(store: Store, place: Place, say: Say) -> None:
    store.snapshot()


def _collect(store: Store, place: Place, say: Say) -> None:
    retention.collect(store, keep=1, dry_run=False, actor="test")
    say("removed", 3)


def _take(store: Store, place: Place, say: Say) -> None:
    taken = store.incoming.take(Arm.CANARY)
    if taken is not None:
        store.incoming.refuse(taken)


def _repair(store: Store, place: Place, say: Say) -> None:
    list(store.check(repair=True))


def _copy(store: Store, place: Place, say: Say) -> None:
    if store.copy_to(copied(place)).left_out:
        raise OSError("something could not be read")  # the command says so and ends with 1
    say("copied")


class Operation(NamedTuple):
    template: str
    run: Callable[[Store, Place, Say], None]


OPERATIONS: Mapping[str, Operation] = {
    "open and first version": Operation("new", _open),
    "publish": Operation("canary", functools.partial(_publish, draft="fourth")),
    "publish what exists": Operation("canary", functools.partial(_publish, draft="second")),
    "append": Operation("canary", _append),
    "start, superseding": Operation("canary", _start),
    "promote": Operation("canary", functools.partial(_decide, which="promote")),
    "roll back": Operation("canary", functools.partial(_decide, which="roll back")),
    "undo": Operation("promoted", functools.partial(_decide, which="undo")),
    "pause, resume": Operation("canary", functools.partial(_decide, which="pause, resume")),
    "swap links": Operation("moved", _views),
    "set foreign files aside": Operation("foreign", _views),
    "freeze evidence": Operation("canary", _freeze),
    "freeze a first slice": Operation("second", _freeze_first),
    "add a golden set": Operation("canary", functools.partial(_golden, name="flood", folder="more-golden")),
    "add a golden set again": Operation(
        "canary", functools.partial(_golden, name="hurricane", folder="golden")
    ),
    "report": Operation("canary", _report),
    "snapshot": Operation("promoted", _snapshot),
    "forget observations": Operation("canary", _forget),
    "sweep": Operation("stale", _sweep),
    "collect versions": Operation("promoted", _collect),
    "take a foreign folder": Operation("foreign", _take),
    "repair": Operation("harmed", _repair),
    "copy": Operation("promoted", _copy),
}


# -- places -----------------------------------------------------------------------------------------------


class Templates:
    """Each made once, copied for each trial."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, name: str) -> Place:
        place = Place(self._folder / f"template-{name}")
        if not place.folder.exists():
            TEMPLATES[name](place)
        return place

    def copy(self, name: str, to: str = "trial") -> Place:
        """A fresh copy at a place of its own, in which an earlier one is replaced."""
        target = self._folder / to
        remove(target)
        shutil.copytree(self.get(name).folder, target, symlinks=True)
        return Place(target)


def remove(folder: Path) -> None:
    for path, _, _ in os.walk(folder):
        Path(path).chmod(0o755)
    shutil.rmtree(folder, ignore_errors=True)


def is_temporary(path: Path) -> bool:
    return any(part.startswith(".tmp-") for part in path.parts) or path.parent.name == ".tmp"


def temporaries(root: Path) -> set[str]:
    """What no finished or failed operation may leave."""
    return {str(path) for path in root.rglob("*") if is_temporary(path.relative_to(root))}
