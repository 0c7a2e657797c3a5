import errno
import json
import os
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serinus.core.enums import ReasonCode
from serinus.core.errors import Conflict, Corrupt, InvalidInput, Misconfigured
from serinus.core.ids import Digest, Version
from serinus.rollout.events import (
    Body,
    Event,
    Held,
    Paused,
    Promoted,
    Published,
    Resumed,
    RolloutStarted,
    ShareChanged,
    Verified,
)
from serinus.rollout.policy import Policy
from serinus.rollout.state import State
from serinus.store import Store
from serinus.store.journal import encode
from serinus.store.local import Disk
from tests.store.drafts import Ticks, names, new_id, start_canary

DIGEST = Digest("ab" * 32)


@pytest.fixture
def tmp_path(memory: Path) -> Path:
    return memory


def published(store: Store, *, note: str = "", initial: bool = False) -> Event:
    body = Published(version=store.state().next_version, digest=DIGEST, note=note, initial=initial)
    return store.append(body, actor="publisher", reason="test")


def with_canary(store: Store) -> int:
    published(store, initial=True)
    return start_canary(store, published_version(published(store)))


def published_version(event: Event) -> Version:
    assert isinstance(event.body, Published)
    return event.body.version


def file(store: Store, seq: int) -> Path:
    return store.root / "journal" / f"{seq:010d}.json"


def reader(store: Store) -> Store:
    """Another process's view: the same files, nothing remembered."""
    return Store(store.root, clock=Ticks(), new_id=new_id)


def test_an_event_is_a_file_that_names_its_predecessor(store: Store, clock: Ticks) -> None:
    first, second = published(store, initial=True), published(store, note="größer")
    assert (first.seq, first.prev, second.seq) == (1, "", 2)
    assert second.time == clock.now
    document = json.loads(file(store, 2).read_text())
    assert document["body"] == {
        "kind": "published",
        "version": 2,
        "digest": DIGEST,
        "content": "",
        "note": "größer",
        "initial": False,
        "source": "",
    }
    assert document["prev"] == second.prev != ""
    assert list(reader(store).events()) == [first, second]
    assert list(reader(store).events(after=1)) == [second]
    assert list(reader(store).events(after=2)) == []


def test_every_reader_folds_to_the_same_state(store: Store) -> None:
    other = reader(store)
    assert other.state() == State()
    with_canary(store)
    assert other.state() == store.state() == reader(store).state()
    assert other.state() is other.state(), "nothing new, nothing folded"


def test_expect_refuses_what_was_decided_on_an_older_state(store: Store) -> None:
    rollout = with_canary(store)
    seen = store.state().seq
    reader(store).append(Paused(rollout=rollout), actor="alice", reason="wait", expect=seen)
    with pytest.raises(Conflict, match=f"has moved on: event {seen + 1} is the last"):
        store.append(
            Promoted(rollout=rollout, version=Version(2), code=ReasonCode.MANUAL),
            actor="controller",
            reason="good",
            expect=seen,
        )
    assert store.state().seq == seen + 1


def test_an_illegal_event_is_never_written(store: Store) -> None:
    published(store, initial=True)
    with pytest.raises(Conflict, match="no rollout is active"):
        store.append(Paused(rollout=1), actor="alice", reason="wait")
    assert names(store.root / "journal") == ["0000000001.json"]
    assert names(store.root / ".tmp") == []


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_an_event_that_could_not_be_read_back_is_never_written(store: Store, number: float) -> None:
    rollout = with_canary(store)
    before = store.state()
    body = Held(rollout=rollout, code=ReasonCode.INSUFFICIENT, numbers={"e_abs": number})
    with pytest.raises(InvalidInput, match="finite"):
        store.append(body, actor="controller", reason="held")
    with pytest.raises(InvalidInput, match="Unicode"):
        store.append(Paused(rollout=rollout), actor="\udcff", reason="from a bad argv")
    assert reader(store).state() == before


class ForgetfulDisk(Disk):
    """Links, then loses the answer, as a network volume that retries does."""

    def __init__(self, root: Path, error: int) -> None:
        super().__init__(root, new_id)
        self.error = error
        self.lost = 0

    def link(self, source: Path, target: Path) -> None:
        super().link(source, target)
        self.lost += 1
        raise OSError(self.error, os.strerror(self.error))


@pytest.mark.parametrize("error", [errno.EEXIST, errno.EIO, errno.ESTALE])
def test_a_lost_answer_makes_no_second_event(root: Path, clock: Ticks, error: int) -> None:
    Store.open(root, clock=clock, new_id=new_id)
    disk = ForgetfulDisk(root, error)
    store = Store(root, clock=clock, new_id=new_id, disk=disk)
    events = [published(store, initial=True), published(store), published(store)]
    assert disk.lost == 3
    assert [event.seq for event in events] == [1, 2, 3]
    assert list(reader(store).events()) == events
    assert names(root / ".tmp") == []


class RivalDisk(Disk):
    """Somebody else is always a moment faster, `times` times."""

    def __init__(self, root: Path, rival: Store, times: int) -> None:
        super().__init__(root, new_id)
        self.rival = rival
        self.times = times

    def link(self, source: Path, target: Path) -> None:
        if self.times > 0:
            self.times -= 1
            self.rival.append(ShareChanged(rollout=1, share=0.25), actor="rival", reason="faster")
        super().link(source, target)


def test_a_lost_race_is_tried_again_on_the_new_state(store: Store, root: Path, clock: Ticks) -> None:
    rollout = with_canary(store)
    seq = store.state().seq
    loser = Store(root, clock=clock, new_id=new_id, disk=RivalDisk(root, store, times=3))
    event = loser.append(Paused(rollout=rollout), actor="alice", reason="wait")
    assert event.seq == seq + 4
    assert [e.actor for e in reader(store).events(after=seq)] == ["rival"] * 3 + ["alice"]


def test_a_lost_race_is_a_conflict_where_a_state_was_expected(store: Store, root: Path, clock: Ticks) -> None:
    rollout = with_canary(store)
    seq = store.state().seq
    loser = Store(root, clock=clock, new_id=new_id, disk=RivalDisk(root, store, times=1))
    with pytest.raises(Conflict, match="has moved on"):
        loser.append(Paused(rollout=rollout), actor="alice", reason="wait", expect=seq)
    assert [e.actor for e in reader(store).events(after=seq)] == ["rival"]


def test_a_retry_is_validated_against_the_new_state(store: Store, root: Path, clock: Ticks) -> None:
    rollout = with_canary(store)

    class PausingDisk(RivalDisk):
        def link(self, source: Path, target: Path) -> None:
            if self.times > 0:
                self.times -= 1
                self.rival.append(Paused(rollout=rollout), actor="rival", reason="faster")
            Disk.link(self, source, target)

    loser = Store(root, clock=clock, new_id=new_id, disk=PausingDisk(root, store, times=1))
    with pytest.raises(Conflict, match="is paused"):
        loser.append(Paused(rollout=rollout), actor="alice", reason="wait")


class FullDisk(Disk):
    def link(self, source: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_volume_is_said_in_words(root: Path, clock: Ticks) -> None:
    Store.open(root, clock=clock, new_id=new_id)
    store = Store(root, clock=clock, new_id=new_id, disk=FullDisk(root, new_id))
    with pytest.raises(Misconfigured, match=r"Could not append to the journal .* The volume is full"):
        published(store)
    assert names(root / "journal") == names(root / ".tmp") == []


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seq=st.integers(1, 4), where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_is_found_and_its_file_named(store: Store, seq: int, where: float, bit: int) -> None:
    if store.state().seq == 0:
        with_canary(store)
    path = file(store, seq)
    good = path.read_bytes()
    bad = bytearray(good)
    bad[int(where * len(bad))] ^= 1 << bit
    path.write_bytes(bad)
    try:
        for read in (lambda: reader(store).state(), lambda: list(reader(store).events())):
            with pytest.raises(Corrupt, match=str(path)):
                read()
    finally:
        path.write_bytes(good)
    assert reader(store).state() == store.state()


@pytest.mark.parametrize("content", [b"", b"{}", b"garbage", b"\xff" * 200])
def test_a_torn_file_is_found_and_named(store: Store, content: bytes) -> None:
    with_canary(store)
    file(store, 2).write_bytes(content)
    with pytest.raises(Corrupt, match=str(file(store, 2))):
        reader(store).state()


def test_a_gap_is_refused_by_readers_and_writers(store: Store) -> None:
    with_canary(store)
    file(store, 3).unlink()
    fresh = reader(store)
    for _ in range(2):
        with pytest.raises(Corrupt, match=f"{file(store, 3)} is missing, {file(store, 4)} is there"):
            fresh.state()
    with pytest.raises(Corrupt, match="is missing"):
        published(fresh)
    with pytest.raises(Corrupt, match="is missing"):
        list(store.events())
    assert not file(store, 3).exists()


def test_a_gap_that_opens_beyond_a_running_reader_is_not_filled(store: Store) -> None:
    with_canary(store)
    running = reader(store)
    assert running.state().seq == 4
    file(store, 4).rename(file(store, 6))
    with pytest.raises(Corrupt, match=f"{file(store, 5)} is missing"):
        published(running)
    assert not file(store, 5).exists()


def test_a_changed_past_breaks_the_chain(store: Store, tmp_path: Path) -> None:
    with_canary(store)
    forged = Store.open(tmp_path / "other", clock=Ticks(), new_id=new_id)
    with_canary(forged)
    file(store, 2).write_bytes(file(forged, 2).read_bytes())
    with pytest.raises(Corrupt, match=f"{file(store, 2)} does not follow"):
        reader(store).state()
    with pytest.raises(Corrupt, match=f"{file(store, 2)} does not follow"):
        list(store.events(after=1))


def test_a_file_under_another_number_is_refused(store: Store) -> None:
    with_canary(store)
    file(store, 5).write_bytes(file(store, 4).read_bytes())
    with pytest.raises(Corrupt, match=f"{file(store, 5)} holds event 4"):
        store.state()


def test_an_event_that_cannot_follow_is_refused(store: Store, root: Path, clock: Ticks) -> None:
    """A valid file in the chain, made by a program with other rules."""
    published(store, initial=True)
    state = store.state()
    event = Event(
        seq=2, id="0" * 32, prev=state.head, time=1.0, actor="x", reason="x", body=Paused(rollout=7)
    )
    file(store, 2).write_bytes(encode(event).data)
    with pytest.raises(Corrupt, match=f"{file(store, 2)} holds an event that cannot follow"):
        store.state()


def test_threads_share_one_store(store: Store) -> None:
    rollout = with_canary(store)
    before = store.state().seq
    seen: list[int] = []
    failures: list[BaseException] = []

    def work(name: int) -> None:
        try:
            for n in range(5):
                store.append(ShareChanged(rollout=rollout, share=0.5), actor=f"thread {name}", reason=str(n))
                seen.append(store.state().seq)
        except BaseException as error:  # noqa: BLE001 - handed to the main thread
            failures.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    events = list(reader(store).events(after=before))
    assert len(events) == 30
    for name in range(6):
        mine = [event.reason for event in events if event.actor == f"thread {name}"]
        assert mine == ["0", "1", "2", "3", "4"]
    assert store.state().seq == before + 30 == max(seen)


STEPS = st.sampled_from(["pause", "resume", "share", "publish", "start", "promote", "read"])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(st.integers(0, 2), STEPS), max_size=25))
def test_any_interleaving_folds_to_the_same_state(tmp_path: Path, steps: list[tuple[int, str]]) -> None:
    root = tmp_path / new_id()
    writers = [Store.open(root, clock=Ticks(), new_id=new_id) for _ in range(3)]
    published(writers[0], initial=True)
    seen = [0, 0, 0]
    written = [1]
    for who, what in steps:
        if what == "read":
            seen[who] = writers[who].state().seq
            continue
        try:
            event = writers[who].append(
                _body(writers[who].state(), what),
                actor=str(who),
                reason=what,
                expect=None if what != "share" else seen[who],
            )
            written.append(event.seq)
        except Conflict:
            pass
    final = reader(writers[0]).state()
    assert written == list(range(1, final.seq + 1)), (
        "what was refused left nothing, what was accepted is there"
    )
    assert all(writer.state() == final for writer in writers)
    assert sorted(final.versions) == list(range(1, len(final.versions) + 1))


def _body(state: State, what: str) -> Body:
    number = state.rollouts
    newest = max(state.versions)
    bodies: dict[str, Body] = {
        "publish": Published(version=state.next_version, digest=DIGEST),
        "start": RolloutStarted(rollout=number + 1, version=newest, policy=Policy()),
        "pause": Paused(rollout=number),
        "resume": Resumed(rollout=number),
        "share": ShareChanged(rollout=number, share=0.3),
        "promote": Promoted(rollout=number, version=newest, code=ReasonCode.MANUAL),
    }
    if what == "start" and state.rollout is not None:
        return Verified(rollout=number, share=0.5)
    return bodies[what]
