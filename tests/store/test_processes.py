"""Real processes on one store: nobody loses an event or a number, and a kill leaves nothing half-done."""

import itertools
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from serinus.core.ids import Version
from serinus.rollout.events import Event, Published
from serinus.store import Store
from tests.store.drafts import new_id, start_canary, write_draft

REPOSITORY = Path(__file__).parents[2]

pytestmark = pytest.mark.processes


@pytest.fixture
def tmp_path(memory: Path) -> Path:
    return memory


def spawn(root: Path, draft: Path, name: str, count: int, work: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.store.child", str(root), str(draft), name, str(count), work],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def start(child: subprocess.Popen[str]) -> None:
    """Waits until the child is ready; `go` lets it work."""
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n", child.communicate(timeout=30)[1]


def go(child: subprocess.Popen[str]) -> None:
    assert child.stdin is not None
    child.stdin.write("go\n")
    child.stdin.flush()


def real_store(root: Path) -> Store:
    return Store.open(root, clock=time.time, new_id=new_id)


@pytest.fixture
def prepared(root: Path, draft: Path, tmp_path: Path) -> Store:
    """Version 1 is current, version 2 is a canary: four events."""
    store = real_store(root)
    store.publish(draft, note="base", actor="test", initial=True)
    store.publish(write_draft(tmp_path / "second", b"second"), note="second", actor="test")
    start_canary(store, Version(2))
    return store


def confirmed(lines: list[str], what: str) -> list[tuple[int, str]]:
    """Complete lines only: the last one of a killed child may be cut."""
    words = [line.split() for line in lines if line.endswith("\n")]
    return [(int(line[1]), line[2]) for line in words if line[0] == what]


def check(store: Store, said: dict[str, list[str]]) -> list[Event]:
    """The invariants of a store after anything: whole chain, whole artifacts, nothing confirmed is lost."""
    fresh = real_store(store.root)
    state, events = fresh.state(), list(fresh.events())
    assert [event.seq for event in events] == list(range(1, state.seq + 1))
    assert len({event.id for event in events}) == len(events)
    assert sorted(state.versions) == list(range(1, len(state.versions) + 1))
    for record in state.versions.values():
        fresh.verify(record.digest)
    for path in (store.root / "artifacts").iterdir():
        assert path.name.startswith(".tmp-") or (path / "manifest.json").is_file()
    for lines in said.values():
        for seq, identity in confirmed(lines, "appended"):
            assert events[seq - 1].id == identity
        for version, digest in confirmed(lines, "published"):
            assert state.versions[Version(version)].digest == digest
    return events


def test_eight_processes_lose_no_event_and_no_number(prepared: Store, draft: Path) -> None:
    each = 5
    children = [spawn(prepared.root, draft, f"p{n}", each, "both") for n in range(8)]
    try:
        for child in children:
            start(child)
        for child in children:
            go(child)
        said: dict[str, list[str]] = {}
        for n, child in enumerate(children):
            out, err = child.communicate(timeout=120)
            assert child.returncode == 0, err
            said[f"p{n}"] = out.splitlines(keepends=True)
    finally:
        for child in children:
            child.kill()
            child.wait()
    events = check(prepared, said)
    assert len(events) == 4 + 8 * each * 2
    for name in said:
        mine = [event for event in events if event.actor == name]
        assert len(mine) == each * 2
        assert [e.reason for e in mine if not isinstance(e.body, Published)] == [
            f"{name} {n}" for n in range(each)
        ]
    versions = [number for lines in said.values() for number, _ in confirmed(lines, "published")]
    assert sorted(versions) == list(range(3, 3 + 8 * each)), "each number was given exactly once"
    card = json.loads((prepared.root / "canary" / "version.json").read_text())
    rollout = prepared.state().rollout
    assert rollout is not None and card["traffic_weight"] == rollout.share


def test_first_starts_at_once_make_one_initial_version(root: Path, draft: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from serinus.store import Store\n"
        "from tests.store.drafts import new_id\n"
        "store = Store.open(Path(sys.argv[1]), clock=time.time, new_id=new_id)\n"
        "sys.stdout.write('ready\\n'); sys.stdout.flush(); sys.stdin.readline()\n"
        "sys.stdout.write(str(store.publish(Path(sys.argv[2]), note='base', actor='up', initial=True)))\n"
    )
    children = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(root), str(draft)],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    try:
        for child in children:
            start(child)
        for child in children:
            go(child)
        answers = [child.communicate(timeout=60) for child in children]
    finally:
        for child in children:
            child.kill()
            child.wait()
    assert [out for out, _ in answers] == ["1"] * 4, answers
    store = real_store(root)
    assert store.state().current == 1
    assert len(list(store.events())) == 1


@pytest.mark.parametrize("work", ["append", "publish", "both"])
def test_a_kill_at_any_moment_leaves_nothing_half_done(prepared: Store, draft: Path, work: str) -> None:
    said: dict[str, list[str]] = {}
    moments = itertools.product((0, 1, 3), (0.0, 0.002, 0.007))
    children = [spawn(prepared.root, draft, f"victim {work} {n}", 100_000, work) for n in range(2)]
    for n, (lines, delay) in enumerate(moments, start=2):
        children.append(spawn(prepared.root, draft, f"victim {work} {n}", 100_000, work))
        child = children.pop(0)
        start(child)
        go(child)
        assert child.stdout is not None
        said[str(n)] = [child.stdout.readline() for _ in range(lines)]
        time.sleep(delay)  # where in its work the kill falls; nothing is asserted about it
        child.kill()
        said[str(n)] += child.stdout.readlines()
        child.communicate()
        check(prepared, said)
    for child in children:
        child.kill()
        child.communicate()
    assert len([lines for lines in said.values() if lines]) >= 6, "work was killed, not waiting"
    before = prepared.state()
    assert prepared.publish(draft, note="after", actor="test") == before.next_version
    prepared.refresh_views()
    assert json.loads((prepared.root / "current" / "version.json").read_text())["version"] == 1
    assert json.loads((prepared.root / "canary" / "version.json").read_text())["version"] == 2
