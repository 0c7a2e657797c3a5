"""When a folder from elsewhere is taken; the clock is turned by hand, the files are real."""

import logging
import os
from pathlib import Path

import pytest

from serinus.bootstrap.edge import new_id
from serinus.control.arrivals import Arrivals
from serinus.store import Store
from tests.store.drafts import write_draft

SETTLE, GIVE_UP = 10.0, 100.0


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "models", clock=lambda: 0.0, new_id=new_id)


@pytest.fixture
def arrivals(store: Store) -> Arrivals:
    return Arrivals(store, settle_seconds=SETTLE, give_up_seconds=GIVE_UP)


def put(folder: Path, name: str, data: bytes = b"x") -> None:
    folder.mkdir(exist_ok=True)
    with (folder / name).open("ab") as file:
        file.write(data)


def test_a_complete_folder_is_taken_when_it_rests(store: Store, arrivals: Arrivals) -> None:
    put(store.root / "canary", "best.pt")
    put(store.root / "canary", "version.json")
    assert arrivals.turn(5.0) == ()
    assert arrivals.turn(5.0 + SETTLE - 0.1) == ()
    (name,) = arrivals.turn(5.0 + SETTLE)
    assert store.incoming.waiting() == [name]
    assert arrivals.turn(1000.0) == ()


def test_each_change_starts_the_wait_anew(store: Store, arrivals: Arrivals) -> None:
    put(store.root / "canary", "version.json")
    put(store.root / "canary", "best.pt")
    now = 0.0
    for _ in range(5):
        assert arrivals.turn(now) == ()
        now += SETTLE - 1
        put(store.root / "canary", "best.pt", b"more")
    assert arrivals.turn(now) == ()
    os.utime(store.root / "canary" / "best.pt", ns=(1, 1))  # as large as before, written again
    assert arrivals.turn(now + SETTLE) == ()
    assert len(arrivals.turn(now + 2 * SETTLE)) == 1


@pytest.mark.parametrize("first", ["best.pt", "version.json"])
def test_an_incomplete_folder_waits_and_is_told_about_once(
    store: Store, arrivals: Arrivals, caplog: pytest.LogCaptureFixture, first: str
) -> None:
    put(store.root / "current", first)
    with caplog.at_level(logging.WARNING):
        for second in range(int(GIVE_UP)):
            assert arrivals.turn(float(second)) == ()
    (line,) = caplog.messages
    assert line.startswith("current/ was written by somebody else and waits")
    put(store.root / "current", "version.json" if first == "best.pt" else "best.pt")
    assert arrivals.turn(GIVE_UP) == ()
    assert len(arrivals.turn(GIVE_UP + SETTLE)) == 1


def test_an_incomplete_folder_that_nobody_touches_is_taken_in_the_end(
    store: Store, arrivals: Arrivals
) -> None:
    put(store.root / "canary", "best.pt")
    assert arrivals.turn(0.0) == ()
    put(store.root / "canary", "best.pt")
    assert arrivals.turn(GIVE_UP - 1) == ()
    assert arrivals.turn(2 * GIVE_UP - 2) == ()
    assert len(arrivals.turn(2 * GIVE_UP)) == 1
    assert not (store.root / "canary").exists()


def test_both_places_are_watched_each_by_itself(store: Store, arrivals: Arrivals) -> None:
    for place in ("current", "canary"):
        put(store.root / place, "model.onnx")
    put(store.root / "canary", "version.json")
    assert arrivals.turn(0.0) == ()
    assert len(arrivals.turn(SETTLE)) == 1
    assert (store.root / "current").is_dir()


def test_a_folder_that_goes_away_and_comes_back_waits_anew(store: Store, arrivals: Arrivals) -> None:
    folder = store.root / "canary"
    for name in ("best.pt", "version.json"):
        put(folder, name)
        os.utime(folder / name, ns=(1, 1))
    assert arrivals.turn(0.0) == ()
    folder.rename(store.root / "aside")
    assert arrivals.turn(1.0) == ()
    (store.root / "aside").rename(folder)
    assert arrivals.turn(SETTLE) == ()
    assert len(arrivals.turn(2 * SETTLE)) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may move everything")
def test_a_folder_that_may_not_be_moved_is_told_about_once(
    store: Store, arrivals: Arrivals, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("best.pt", "version.json"):
        put(store.root / "canary", name)
    (store.root / "canary").chmod(0o555)
    with caplog.at_level(logging.WARNING):
        for second in range(30):
            assert arrivals.turn(float(second)) == ()
    (line,) = caplog.messages
    assert "cannot be moved" in line
    (store.root / "canary").chmod(0o755)
    assert len(arrivals.turn(31.0)) == 1


def test_what_is_written_through_the_link_of_a_view_is_told_about_once_and_taken(
    store: Store, arrivals: Arrivals, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store.publish(write_draft(tmp_path / "draft"), note="", actor="a", initial=True)
    store.refresh_views()
    link = store.root / "current"
    link.resolve().chmod(0o755)
    (link / "best.pt").unlink()
    put(link.resolve(), "best.pt")
    with caplog.at_level(logging.INFO, logger="serinus.control.arrivals"):
        for second in range(5):
            store.refresh_views()
            assert arrivals.turn(float(second)) == ()
        (link / "version.json").unlink()
        put(link.resolve(), "version.json", b"{}")
        assert arrivals.turn(5.0) == ()
        (name,) = arrivals.turn(5.0 + SETTLE)
    waits, taken = caplog.messages
    assert waits.startswith(f"views/{link.readlink().name}/ was written into, through a link of ours")
    assert "version.json is missing" in waits and taken.endswith("it is imported")
    assert store.incoming.waiting() == [name]
    store.refresh_views()
    assert (link / "best.pt").read_bytes() == b"weights of graph"
