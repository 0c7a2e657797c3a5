"""Folders in `incoming/` become versions or refusals, each once, whatever is killed on the way."""

import contextlib
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from serinus.bootstrap.edge import new_id
from serinus.control.history import history
from serinus.control.importing import Importer
from serinus.core.enums import Arm, ImportRefusal, VersionState
from serinus.core.ids import Version
from serinus.engine.limits import Limits
from serinus.rollout.events import Body, Event, ImportRejected, Published
from serinus.store import Store
from serinus.store.incoming import Incoming
from serinus.training import weights
from serinus.training.network import Architecture, CompactNet
from tests import foreign, models
from tests.control.world import World

LIMITS = Limits(seconds=60, memory_mb=2048, trial_seconds=30, trial_memory_mb=1024)


class Turned:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def opened(root: Path) -> Store:
    return Store.open(root, clock=time.time, new_id=new_id)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    found = opened(tmp_path / "models")
    found.publish(models.healthy(tmp_path / "base"), note="base", actor="test", initial=True)
    return found


def importer(store: Store, monotonic: Callable[[], float] = time.monotonic) -> Importer:
    return Importer(store, LIMITS, size=64, monotonic=monotonic)


def arrive(store: Store, write: Callable[[Path], Path]) -> str:
    write(store.root / "canary")
    name = store.incoming.take(Arm.CANARY)
    assert name is not None
    return name


def work(one: Importer) -> None:
    """One import, to its end."""
    one.turn()
    until = time.monotonic() + 90
    while one.working:
        assert time.monotonic() < until
        time.sleep(0.01)


def bodies(store: Store, kind: type[Body]) -> list[Body]:
    return [event.body for event in store.events() if isinstance(event.body, kind)]


def rejected(store: Store) -> list[str]:
    return sorted(os.listdir(store.root / "incoming" / "rejected"))  # noqa: PTH208


def test_a_folder_becomes_the_next_version(store: Store) -> None:
    name = arrive(store, foreign.graph)
    work(importer(store))
    state = store.state()
    record = state.versions[Version(2)]
    assert (record.state, record.source) == (VersionState.PUBLISHED, name)
    assert record.note == "version 7 of another trainer, 2024-01-15T10:30:00"
    manifest = store.manifest(record.digest)
    assert manifest.metrics["map50"] == 0.84
    assert manifest.lineage.config["timestamp"] == "2024-01-15T10:30:00"
    assert store.incoming.waiting() == []
    last = history(store)[-1]
    assert (last.actor, last.what) == ("import", "version 2: imported from elsewhere")


def test_a_refusal_is_in_the_history_and_the_files_are_kept(store: Store) -> None:
    name = arrive(store, lambda folder: foreign.checkpoint(folder, {"model": foreign.Attack(folder / "x")}))
    work(importer(store))
    row = history(store)[-1]
    assert row.what == "a model from elsewhere was not imported (foreign_classes)"
    assert row.version is None and row.rollout is None
    assert "posix.system" in row.why and "export" in row.why and f"incoming/rejected/{name}" in row.why
    assert bodies(store, ImportRejected) == [ImportRejected(source=name, code=ImportRefusal.FOREIGN_CLASSES)]
    assert rejected(store) == [name]
    assert (store.root / "incoming" / "rejected" / name / "best.pt").exists()
    assert store.state().next_version == 2


def test_the_oldest_first_and_a_bad_one_does_not_stop_a_good_one(store: Store) -> None:
    def empty(folder: Path) -> Path:
        folder.mkdir()
        return folder

    arrive(store, empty)
    arrive(store, foreign.graph)
    one = importer(store)
    work(one)
    work(one)
    assert [type(event.body) for event in store.events()][-2:] == [ImportRejected, Published]
    assert store.incoming.waiting() == []


def test_a_file_in_place_of_a_folder_is_refused(store: Store) -> None:
    (store.root / "incoming" / "odd").write_bytes(b"a file")
    work(importer(store))
    assert rejected(store) == ["odd"]


def test_what_says_nothing_about_the_model_waits_and_is_told_once(
    store: Store, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrive(store, foreign.graph)
    clock = Turned()
    one = importer(store, clock)
    executable = sys.executable
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            work(one)
            clock.now += 3600
    assert len([line for line in caplog.messages if "waits" in line]) == 1
    assert len(store.incoming.waiting()) == 1
    monkeypatch.setattr(sys, "executable", executable)
    work(one)
    assert store.state().next_version == 3


def test_it_is_not_tried_again_at_every_turn(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    arrive(store, foreign.graph)
    clock = Turned()
    one = importer(store, clock)
    executable = sys.executable
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    work(one)
    monkeypatch.setattr(sys, "executable", executable)
    clock.now += 1
    one.turn()
    assert not one.working and len(store.incoming.waiting()) == 1


def test_two_importers_make_one_version(store: Store) -> None:
    arrive(store, foreign.graph)
    both = [importer(opened(store.root)) for _ in range(2)]
    for one in both:
        one.turn()
    while any(one.working for one in both):
        time.sleep(0.01)
    for one in both:
        work(one)
    assert len(bodies(store, Published)) == 2, "the base and one import"
    assert bodies(store, ImportRejected) == []
    assert store.incoming.waiting() == []


@pytest.mark.parametrize("place", ["canary", "current", "into the view"])
def test_a_controller_notices_imports_and_rolls_it_out(tmp_path: Path, place: str) -> None:
    world = World(tmp_path)
    world.controllers = [world.controller(import_settle_seconds=5.0, import_size=64)]
    world.tick()
    root = world.store.root
    if place == "into the view":
        place = f"views/{(root / 'current').resolve().name}"
        (root / place).chmod(0o755)
        for path in foreign.graph(tmp_path / "theirs").iterdir():
            path.rename(root / place / path.name)
    else:
        (root / place).unlink(missing_ok=True)
        foreign.graph(root / place)
    for _ in range(4):
        world.step()
        assert world.store.incoming.foreign(place) is not None, "it must come to rest first"
    world.step(seconds=2)
    assert (root / "current").is_symlink(), "our own view is back at once"
    until = time.monotonic() + 60
    while world.state.next_version == 2:
        assert time.monotonic() < until, world.story()
        world.tick()
    world.verify()
    assert world.rollout.version == 2
    world.tick()
    assert (root / "canary").is_symlink()
    for controller in world.controllers:
        controller.close()


class Killed(BaseException):
    """The process is gone."""


class DyingStore(Store):
    """Dies right before or right after what it is told to."""

    def __init__(self, root: Path, dies: str) -> None:
        super().__init__(root, clock=time.time, new_id=new_id)
        self.dies = dies
        self.incoming = DyingIncoming(self)

    def die(self, at: str) -> None:
        if at == self.dies:
            raise Killed

    def publish(
        self, draft: Path, *, note: str, actor: str, initial: bool = False, source: str = ""
    ) -> Version:
        self.die("before the event")
        version = super().publish(draft, note=note, actor=actor, initial=initial, source=source)
        self.die("after the event")
        return version

    def append(self, body: Body, *, actor: str, reason: str, expect: int | None = None) -> Event:
        self.die("before the event")
        event = super().append(body, actor=actor, reason=reason, expect=expect)
        self.die("after the event")
        return event


class DyingIncoming(Incoming):
    def __init__(self, store: DyingStore) -> None:
        super().__init__(store.root, store._disk, new_id)
        self.store = store

    def discard(self, name: str) -> None:
        if self.store.dies == "half-removed":
            (self.path(name) / "version.json").unlink()
            raise Killed
        super().discard(name)
        self.store.die("at the end")

    def refuse(self, name: str) -> None:
        if self.store.dies == "half-removed":
            raise Killed
        super().refuse(name)
        self.store.die("at the end")


@pytest.mark.parametrize("dies", ["before the event", "after the event", "half-removed", "at the end"])
@pytest.mark.parametrize("good", [True, False])
def test_killed_between_any_two_steps_it_is_imported_once(store: Store, dies: str, good: bool) -> None:
    def bad(folder: Path) -> Path:
        (foreign.graph(folder) / "best.onnx").write_bytes(b"no graph")
        return folder

    name = arrive(store, foreign.graph if good else bad)
    mortal = importer(DyingStore(store.root, dies))
    with pytest.raises(Killed):
        mortal._work(name)
    again = importer(opened(store.root))
    work(again)
    work(again)
    assert len(bodies(store, Published)) == (2 if good else 1)
    assert len(bodies(store, ImportRejected)) == (0 if good else 1)
    assert store.incoming.waiting() == []
    assert (store.root / "incoming" / "rejected" / name).exists() != good


def kill_the_child(one: Importer) -> bool:
    """Begins an import and kills its child once it reads; whether it came to that."""
    one.turn()
    killed = False
    until = time.monotonic() + 60
    while one.working:
        assert time.monotonic() < until
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if not killed and (Path(child.cwd()) / "started").exists():
                    child.kill()
                    killed = True
    return killed


def test_a_child_that_is_killed_is_begun_again_but_not_for_ever(store: Store) -> None:
    name = arrive(store, lambda folder: foreign.describe(slow_to_load(folder)))
    clock = Turned()
    one = importer(store, clock)
    for times in (1, 2, 3):
        assert kill_the_child(one)
        assert store.incoming.waiting() == ([name] if times < 3 else [])
        clock.now += 3600
    (body,) = bodies(store, ImportRejected)
    assert body == ImportRejected(source=name, code=ImportRefusal.LIMITS)
    assert rejected(store) == [name]


def slow_to_load(folder: Path) -> Path:
    """A network that takes seconds to export."""
    folder.mkdir()
    wide = Architecture(classes=("a",), widths=(64, 256, 512, 512))
    weights.save(CompactNet(wide), folder)
    return folder


CONTROLLER = """
import sys, time
from pathlib import Path
from serinus.bootstrap.edge import new_id
from serinus.control.importing import Importer
from serinus.engine.limits import Limits
from serinus.store import Store
store = Store.open(Path(sys.argv[1]), clock=time.time, new_id=new_id)
one = Importer(store, Limits(), size=64)
one.turn()
print("begun", flush=True)
while True:
    time.sleep(0.01)
    one.turn()
"""


def test_a_controller_killed_in_the_middle_is_taken_up_again(store: Store) -> None:
    name = arrive(store, foreign.compact)
    process = subprocess.Popen(
        [sys.executable, "-c", CONTROLLER, str(store.root)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == "begun\n"
        parent = psutil.Process(process.pid)
        until = time.monotonic() + 60
        while not (children := parent.children(recursive=True)):
            assert time.monotonic() < until
            time.sleep(0.005)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive, "the child dies with its parent"
    assert store.incoming.waiting() == [name]
    work(importer(opened(store.root)))
    assert store.state().versions[Version(2)].source == name
    assert store.incoming.waiting() == []


def test_closed_in_the_middle_it_leaves_the_folder(store: Store) -> None:
    arrive(store, foreign.compact)
    one = importer(store)
    one.turn()
    one.close()
    assert not one.working
    assert len(store.incoming.waiting()) == 1
    assert store.state().next_version == 2


def test_what_was_refused_may_come_again_under_another_name(store: Store) -> None:
    def bad(folder: Path) -> Path:
        (foreign.graph(folder) / "best.onnx").write_bytes(b"no graph")
        return folder

    name = arrive(store, bad)
    work(importer(store))
    shutil.copytree(store.root / "incoming" / "rejected" / name, store.root / "canary")
    foreign.graph(store.root / "canary")
    assert store.incoming.take(Arm.CANARY) not in (None, name)
    work(importer(store))
    assert store.state().next_version == 3
