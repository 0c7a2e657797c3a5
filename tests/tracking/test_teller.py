"""The thread that has outcomes told: when it tells, when it tries again, when it gives up."""

import threading
from pathlib import Path

from serinus.core.enums import ReasonCode
from serinus.core.ids import Version
from serinus.rollout.events import Rejected
from serinus.store import Store
from serinus.tracking.teller import Teller
from tests import models
from tests.tracking.test_outcomes import happen, publish, rollout


class Far:
    """Somebody who is told, and answers as it is set; with a clock that is turned by hand."""

    def __init__(self) -> None:
        self.trouble = ""
        self.told = 0
        self.now = 0.0

    def __call__(self) -> str:
        self.told += 1
        return self.trouble

    def clock(self) -> float:
        return self.now


def started(store: Store, tmp_path: Path) -> tuple[Teller, Far]:
    store.publish(models.healthy(tmp_path / "base"), note="", actor="first start", initial=True)
    far = Far()
    return Teller(store, far, backoff=(5.0, 10.0), monotonic=far.clock), far


def rejected(store: Store, tmp_path: Path, number: int, actor: str = "alice via mlflow import") -> Version:
    version = publish(store, tmp_path, number + 1, actor)
    happen(store, rollout(number, version), Rejected(rollout=number, code=ReasonCode.VERIFY_FAILED))
    return version


def test_nothing_is_called_while_nothing_imported_has_an_outcome(store: Store, tmp_path: Path) -> None:
    teller, far = started(store, tmp_path)
    teller.turn()
    rejected(store, tmp_path, 1, actor="bob via cli")
    publish(store, tmp_path, 9)
    teller.turn()
    assert far.told == 0


def test_an_outcome_is_told_once_and_again_after_a_restart(store: Store, tmp_path: Path) -> None:
    teller, far = started(store, tmp_path)
    rejected(store, tmp_path, 1)
    for _ in range(3):
        teller.turn()
    assert far.told == 1
    rejected(store, tmp_path, 2)
    teller.turn()
    assert far.told == 2
    again = Teller(store, far, monotonic=far.clock)
    again.turn()
    assert far.told == 3, "after a restart it asks what was told: the tags say"


def test_trouble_is_tried_again_later_and_later_then_left(store: Store, tmp_path: Path) -> None:
    teller, far = started(store, tmp_path)
    rejected(store, tmp_path, 1)
    far.trouble = "the server is down"
    calls = []
    for far.now in range(60):
        teller.turn()
        calls.append(far.told)
    assert [calls.index(n) for n in (1, 2, 3)] == [0, 5, 15]
    assert far.told == 3, "bounded"
    far.trouble = ""
    rejected(store, tmp_path, 2)
    teller.turn()
    assert far.told == 4, "the next outcome tries again"


def test_a_store_that_is_away_is_outlived(store: Store, tmp_path: Path) -> None:
    _, far = started(store, tmp_path)
    rejected(store, tmp_path, 1)
    journal = store.root / "journal"
    first = journal / "0000000001.json"
    kept = first.read_bytes()
    damaged = Teller(Store(store.root, clock=far.clock, new_id=lambda: "0" * 32), far, monotonic=far.clock)
    first.write_bytes(b"damage")
    damaged.turn()
    assert far.told == 0
    first.write_bytes(kept)
    damaged.turn()
    assert far.told == 1


def test_it_ends_when_it_is_told_to(store: Store, tmp_path: Path) -> None:
    teller, _ = started(store, tmp_path)
    stop = threading.Event()
    thread = threading.Thread(target=teller.run, args=(stop,))
    thread.start()
    stop.set()
    thread.join(30)
    assert not thread.is_alive()
