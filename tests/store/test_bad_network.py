"""A store behind a bad network: what was lost, cut, throttled or damaged on the way changes nothing."""

import logging
import os
import threading
import time
from pathlib import Path

import pytest

from serinus.control import commands
from serinus.core.errors import Cancelled, Corrupt, Unavailable
from serinus.core.ids import Version
from serinus.rollout.events import ShareChanged
from serinus.store import Address, Replica, Store
from serinus.store.transfers import PART
from tests.store.drafts import frozen_slice, names, new_id, start_canary, write_draft
from tests.store.places import open_store
from tests.store.proxy import FINE, Fault, Proxy, Request, Rule
from tests.store.s3server import S3Server

MODEL = 4 * PART + 12_345


def first(count: int, method: str, part: str, fault: Fault) -> Rule:
    """The first `count` requests with this method and in whose path this is."""
    seen: list[int] = []

    def rule(request: Request) -> Fault:
        if request.method == method and part in request.path and len(seen) < count:
            seen.append(request.number)
            return fault
        return FINE

    return rule


def share(every: int, fault: Fault) -> Rule:
    """All requests but each `every`-th."""
    return lambda request: FINE if request.number % every == 0 else fault


@pytest.fixture
def store(root: Path, url: str, proxy: Proxy) -> Store:
    assert proxy.port
    return open_store(root, url)


@pytest.fixture
def direct(tmp_path: Path, url: str, proxy: Proxy, s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Another process, whose network is good."""
    with monkeypatch.context() as way:
        way.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{s3.port}")
        assert proxy.port != s3.port
        return open_store(tmp_path / "direct", url)


def test_many_replicas_are_heard_at_once(store: Store, proxy: Proxy) -> None:
    """One after the other, hundreds would take longer than the time between two looks."""
    for number in range(8):
        store.put_replica(Replica(replica=f"infer-{number}", time=float(number), seq=1))
        store.put_observation(1, f"infer-{number}", 0, ())
    together = threading.Barrier(4)

    def rule(request: Request) -> Fault:
        if request.method == "GET" and ("/replicas/infer" in request.path or "0000.json" in request.path):
            together.wait(30)  # one alone waits in vain
        return FINE

    proxy.rule = rule
    assert [one.replica for one in store.replicas()] == [f"infer-{number}" for number in range(8)]
    assert [one[0] for one in store.new_observations(1, {})] == [f"infer-{number}" for number in range(8)]


@pytest.fixture
def with_canary(store: Store, draft: Path, tmp_path: Path) -> Store:
    store.publish(draft, note="base", actor="test", initial=True)
    store.publish(write_draft(tmp_path / "second", b"second"), note="second", actor="test")
    start_canary(store, Version(2))
    return store


# -- lost answers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("times", [1, 3])
def test_a_lost_answer_makes_no_second_event(with_canary: Store, proxy: Proxy, times: int) -> None:
    proxy.rule = first(times, "PUT", "/journal/", Fault(lose_answer=True))
    event = with_canary.append(ShareChanged(rollout=1, share=0.25), actor="test", reason="lost")
    proxy.rule = lambda _: FINE
    assert event.seq == 5
    assert [each.reason for each in with_canary.events(4)] == ["lost"]


def test_a_lost_answer_makes_no_second_version(store: Store, proxy: Proxy, draft: Path) -> None:
    for part in ("/journal/", "/manifest.json", "/model.onnx"):
        proxy.rule = first(1, "PUT", part, Fault(lose_answer=True))
        draft.joinpath("model.onnx").write_bytes(part.encode())
        before = store.state().next_version
        assert store.publish(draft, note=part, actor="test") == before
    proxy.rule = lambda _: FINE
    assert len(store.state().versions) == len(list(store.events())) == 3
    for record in store.state().versions.values():
        store.verify(record.digest)


def test_a_lost_answer_makes_no_second_decision(with_canary: Store, proxy: Proxy) -> None:
    proxy.rule = first(2, "PUT", "/journal/", Fault(lose_answer=True))
    event = commands.promote(with_canary, actor="alice", reason="enough", confirm=True)
    proxy.rule = lambda _: FINE
    assert (event.seq, event.actor) == (5, "alice")
    assert with_canary.state().current == 2
    assert with_canary.state().seq == 5


def test_a_lost_answer_freezes_no_second_slice(with_canary: Store, proxy: Proxy) -> None:
    proxy.rule = first(1, "PUT", "/evidence/", Fault(lose_answer=True))
    one = frozen_slice(1, 0, "")
    assert with_canary.freeze(one)
    assert with_canary.last_frozen(1) == one


def test_a_rival_between_the_lost_put_and_its_repetition_wins_nothing(
    with_canary: Store, direct: Store, proxy: Proxy
) -> None:
    """The put arrived; the rival that reads on then comes after it."""
    rival: list[int] = []

    def rule(request: Request) -> Fault:
        if request.method != "PUT" or "/journal/" not in request.path:
            return FINE
        if not rival:
            rival.append(0)
            return Fault(lose_answer=True)
        if rival == [0]:  # the repetition is held up until the rival has written
            event = direct.append(ShareChanged(rollout=1, share=0.9), actor="rival", reason="second")
            rival.append(event.seq)
        return FINE

    proxy.rule = rule
    event = with_canary.append(ShareChanged(rollout=1, share=0.1), actor="test", reason="first")
    assert (event.seq, rival[1]) == (5, 6)
    assert [each.reason for each in direct.events(4)] == ["first", "second"]


# -- throttling, delay, absence ------------------------------------------------------------------------------


def test_throttling_only_slows(store: Store, proxy: Proxy, draft: Path) -> None:
    proxy.rule = share(2, Fault(slow_down=True))
    rollout = start_canary(store, store.publish(draft, note="first", actor="test"))
    store.put_observation(rollout, "infer-a", 0, frozen_slice(1, 0, "").slice)
    assert store.freeze(frozen_slice(rollout, 0, ""))
    assert len(store.new_observations(rollout, {})) == 1
    commands.rollback(store, actor="alice", reason="enough")
    proxy.rule = lambda _: FINE
    assert store.state().seq == 4
    assert sum(each.down == 0 for each in proxy.passed) >= len(proxy.passed) // 3


def test_a_slow_server_is_waited_for(store: Store, proxy: Proxy, draft: Path) -> None:
    proxy.rule = lambda _: Fault(delay=0.05)
    assert store.publish(draft, note="base", actor="test", initial=True) == 1


def test_who_is_away_is_waited_for_once(
    root: Path, url: str, proxy: Proxy, draft: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = open_store(root, url, patience=2.5)
    store.publish(draft, note="base", actor="test", initial=True)
    proxy.refuse()
    before = time.time()
    with pytest.raises(Unavailable, match="cannot be reached"):
        store.state()
    assert store.away_since is not None and before <= store.away_since <= time.time()
    asked: list[float] = []
    proxy.rule = lambda request: (asked.append(request.number), Fault(slow_down=True))[1]
    proxy.listen()
    with pytest.raises(Unavailable):
        store.state()
    assert len(asked) == 1, "no patience is left"
    proxy.rule = lambda _: FINE
    assert store.state().current == 1
    assert store.away_since is None
    assert [record.levelname for record in caplog.records if "is away" in record.message] == ["ERROR"]
    assert sum("answers again" in record.message for record in caplog.records) <= 1


def test_a_server_that_comes_back_in_time_is_not_away(
    root: Path, url: str, proxy: Proxy, draft: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    def told() -> bool:
        return any("asked again for up to 30 s" in record.getMessage() for record in caplog.records)

    def come_back() -> None:
        until = time.monotonic() + 25
        while not told() and time.monotonic() < until:
            time.sleep(0.05)
        proxy.listen()

    store = open_store(root, url, patience=30.0)
    proxy.refuse()
    back = threading.Thread(target=come_back)
    back.start()
    assert store.publish(draft, note="base", actor="test", initial=True) == 1
    back.join()
    assert store.away_since is None
    assert told()
    assert any("answers again" in record.message for record in caplog.records)


def test_who_hangs_counts_as_away(root: Path, url: str, proxy: Proxy) -> None:
    store = open_store(root, url, patience=1.0)
    proxy.rule = lambda _: Fault(hang=True)
    with pytest.raises(Unavailable):
        store.state()


def test_waiting_can_be_cancelled(root: Path, url: str, proxy: Proxy) -> None:
    def waiting(seconds: float) -> None:
        if seconds > 0.2:
            raise Cancelled("It is not wanted any more.")

    bucket = Address(url, patience=600.0, allow_http=True, waiting=waiting)
    store = Store.open(root, clock=time.time, new_id=new_id, bucket=bucket)
    proxy.refuse()
    with pytest.raises(Cancelled):
        store.state()


def test_a_start_without_the_server_knows_the_last_state(
    root: Path, url: str, proxy: Proxy, draft: Path
) -> None:
    store = open_store(root, url, patience=0.5)
    store.publish(draft, note="base", actor="test", initial=True)
    store.remember(store.state())
    proxy.refuse()
    with pytest.raises(Unavailable):
        open_store(root, url, patience=0.5)
    again = open_store(root, url, patience=0.5, may_be_away=True)
    known = again.last_known()
    assert known == store.last_known() and known is not None and known.current == 1
    digest = known.versions[Version(1)].digest
    again.verify(digest)
    assert again.manifest(digest).note == "base"
    assert (again.artifact(digest) / "model.onnx").read_bytes() == b"graph"
    (remembered,) = root.glob("last-state-*.json")
    remembered.write_bytes(b"torn")
    assert again.last_known() is None


# -- cut and damaged transfers -------------------------------------------------------------------------------


@pytest.fixture
def large(tmp_path: Path) -> Path:
    return write_draft(tmp_path / "large", os.urandom(MODEL))


def down(proxy: Proxy, part: str) -> int:
    return sum(each.down for each in proxy.passed if part in each.path and each.method == "GET")


def test_a_cut_download_goes_on_where_it_stopped(
    direct: Store, url: str, tmp_path: Path, proxy: Proxy, large: Path
) -> None:
    direct.publish(large, note="base", actor="test", initial=True)
    digest = direct.state().versions[Version(1)].digest
    reader = open_store(tmp_path / "reader", url, patience=0.5)
    beyond: list[int] = []

    def away_after_three_parts(request: Request) -> Fault:
        if "/model.onnx" not in request.path or request.start < 3 * PART:
            return FINE
        beyond.append(request.start)
        return Fault(cut_download=1_000_000) if len(beyond) == 1 else Fault(slow_down=True)

    proxy.rule = away_after_three_parts
    with pytest.raises(Unavailable):
        reader.artifact(digest)
    assert names(reader.root / "artifacts") == [f".tmp-{digest}"], "nothing that anybody would take"
    held = (reader.root / "artifacts" / f".tmp-{digest}" / "model.onnx").stat().st_size
    assert held == 3 * PART
    proxy.rule = lambda _: FINE
    before = down(proxy, "/model.onnx")
    reader.artifact(digest)
    assert down(proxy, "/model.onnx") - before == MODEL - held, "only what was lacking"
    reader.verify(digest)
    assert names(reader.root / "artifacts") == [digest]


def test_a_cut_within_a_part_costs_no_byte_twice(
    direct: Store, url: str, tmp_path: Path, proxy: Proxy, large: Path
) -> None:
    direct.publish(large, note="base", actor="test", initial=True)
    digest = direct.state().versions[Version(1)].digest
    reader = open_store(tmp_path / "reader", url)
    proxy.rule = first(3, "GET", "/model.onnx", Fault(cut_download=3_000_000))
    reader.artifact(digest)
    assert down(proxy, "/model.onnx") == MODEL
    reader.verify(digest)


def test_a_cut_upload_leaves_nothing_and_the_next_completes(
    root: Path, url: str, direct: Store, proxy: Proxy, large: Path
) -> None:
    store = open_store(root, url, patience=0.5)
    proxy.rule = first(10**6, "PUT", "/model.onnx", Fault(cut_upload=4_000_000))
    with pytest.raises(Unavailable, match=r"model\.onnx"):
        store.publish(large, note="base", actor="test")
    assert direct.state().seq == 0
    (digest,) = direct.backend.names("artifacts")
    assert not direct.backend.has_tree(f"artifacts/{digest}", index="manifest.json")
    proxy.rule = lambda _: FINE
    proxy.passed.clear()
    assert store.publish(large, note="base", actor="test") == 1
    assert direct.state().versions[Version(1)].digest == digest, "the same publication"
    assert direct.backend.names("artifacts") == [digest], "no orphan"
    assert not [each.path for each in proxy.passed if each.method == "PUT" and "/best.pt" in each.path]
    direct.verify(digest)


def test_a_cut_upload_is_waited_out(store: Store, direct: Store, proxy: Proxy, large: Path) -> None:
    proxy.rule = first(3, "PUT", "/model.onnx", Fault(cut_upload=4_000_000))
    assert store.publish(large, note="base", actor="test") == 1
    direct.verify(direct.state().versions[Version(1)].digest)


@pytest.mark.parametrize("cut", [0, 1, 100])
def test_a_document_whose_upload_was_cut_is_not_there_and_comes_again(
    store: Store, direct: Store, proxy: Proxy, draft: Path, cut: int
) -> None:
    """What was sent carries its hash: there are servers that keep an empty object otherwise."""
    proxy.rule = first(1, "PUT", "/journal/", Fault(cut_upload=cut))
    assert store.publish(draft, note="base", actor="test") == 1
    assert [event.seq for event in direct.events()] == [1]


@pytest.mark.parametrize("part", ["/model.onnx", "/manifest.json"])
def test_bytes_damaged_on_the_way_are_never_served(
    direct: Store, url: str, tmp_path: Path, proxy: Proxy, draft: Path, part: str
) -> None:
    direct.publish(draft, note="base", actor="test", initial=True)
    digest = direct.state().versions[Version(1)].digest
    reader = open_store(tmp_path / "reader", url)
    proxy.rule = first(10**6, "GET", part, Fault(flip=3))
    with pytest.raises(Corrupt, match=f"{url}/artifacts/{digest}{part} is not what was published"):
        reader.verify(digest)
    assert names(reader.root / "artifacts") == []
    proxy.rule = lambda _: FINE
    reader.verify(digest)


def test_a_damaged_event_is_named_and_not_believed(
    direct: Store, url: str, tmp_path: Path, proxy: Proxy, draft: Path
) -> None:
    direct.publish(draft, note="base", actor="test", initial=True)
    reader = open_store(tmp_path / "reader", url)
    proxy.rule = first(1, "GET", "/journal/", Fault(flip=40))
    with pytest.raises(Corrupt, match=f"{url}/journal/0000000001.json"):
        reader.state()
    assert reader.state() == direct.state()


def test_a_download_is_told(
    direct: Store, url: str, tmp_path: Path, draft: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    direct.publish(draft, note="base", actor="test", initial=True)
    digest = direct.state().versions[Version(1)].digest
    open_store(tmp_path / "reader", url).artifact(digest)
    told = [record.getMessage() for record in caplog.records if "Fetching" in record.getMessage()]
    assert told[0].startswith(f"Fetching {url}/artifacts/{digest}: 5 files")
    assert told[-1].endswith("(100 %)")
