import json
import threading
from pathlib import Path
from typing import Any

import pytest

from serinus.core.enums import Arm, ReasonCode
from serinus.core.ids import Version
from serinus.rollout.events import Promoted, RolledBack, ShareChanged
from serinus.store import Store
from serinus.store.local import Disk
from tests.store.drafts import Ticks, names, new_id, start_canary, write_draft


@pytest.fixture
def base(store: Store, draft: Path) -> Version:
    return store.publish(draft, note="base", actor="up", initial=True)


@pytest.fixture
def second(store: Store, tmp_path: Path) -> Version:
    return store.publish(write_draft(tmp_path / "second", b"second"), note="more data", actor="train")


def read(store: Store, role: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((store.root / role / "version.json").read_text())
    return document


def snapshot(root: Path) -> dict[str, str]:
    """Every name people see, and what it says."""
    seen = {}
    for path in sorted(root.rglob("*")):
        if path.relative_to(root).parts[0] in ("versions", "views", "current", "canary"):
            seen[str(path.relative_to(root))] = (
                f"-> {path.readlink()}" if path.is_symlink() else path.read_text() if path.is_file() else "/"
            )
    return seen


def test_an_empty_store_has_no_views(store: Store) -> None:
    store.refresh_views()
    assert not (store.root / "current").is_symlink()
    assert not (store.root / "canary").is_symlink()


def test_current_alone(store: Store, base: Version) -> None:
    store.refresh_views()
    digest = store.state().versions[base].digest
    assert (store.root / "versions" / "000001").readlink() == Path(f"../artifacts/{digest}")
    assert str((store.root / "current").readlink()).startswith("views/0000000001-current")
    assert (store.root / "current" / "best.pt").read_bytes() == b"weights of graph"
    assert (store.root / "current" / "model.onnx").read_bytes() == b"graph"
    assert not (store.root / "canary").is_symlink()
    assert read(store, "current") == {
        "version": 1,
        "timestamp": "2024-01-15T10:30:00",
        "canary_start_time": None,
        "traffic_weight": 1.0,
        "metrics": {"train_epochs": 10, "final_map": 0.84, "final_precision": 0.79, "final_recall": 0.83},
        "sha256": digest,
        "role": "current",
        "state": "current",
        "note": "base",
    }


def test_a_rollout_from_canary_to_promotion(
    store: Store, clock: Ticks, base: Version, second: Version
) -> None:
    clock.now += 90
    rollout = start_canary(store, second)
    store.refresh_views()
    canary = read(store, "canary")
    assert (canary["version"], canary["traffic_weight"], canary["role"]) == (2, 0.5, "canary")
    assert canary["timestamp"] == "2024-01-15T10:30:00"
    assert canary["canary_start_time"] == "2024-01-15T10:31:30"
    assert (store.root / "canary" / "model.onnx").read_bytes() == b"second"
    assert read(store, "current")["traffic_weight"] == 0.5

    store.append(ShareChanged(rollout=rollout, share=0.25), actor="c", reason="less")
    store.refresh_views()
    assert (read(store, "canary")["traffic_weight"], read(store, "current")["traffic_weight"]) == (0.25, 0.75)

    clock.now += 180
    promoted = Promoted(rollout=rollout, version=second, code=ReasonCode.EVIDENCE_GOOD)
    store.append(promoted, actor="c", reason="good")
    store.refresh_views()
    assert not (store.root / "canary").is_symlink()
    current = read(store, "current")
    assert (current["version"], current["traffic_weight"], current["role"]) == (2, 1.0, "current")
    assert current["canary_start_time"] == "2024-01-15T10:31:30"


def test_a_rollback_removes_the_canary_only(store: Store, base: Version, second: Version) -> None:
    rollout = start_canary(store, second)
    store.refresh_views()
    rolled_back = RolledBack(rollout=rollout, version=second, code=ReasonCode.ERRORS)
    store.append(rolled_back, actor="c", reason="bad")
    store.refresh_views()
    assert not (store.root / "canary").is_symlink()
    assert read(store, "current")["version"] == 1
    assert names(store.root / "versions") == ["000001", "000002"]


def test_a_second_call_changes_nothing(store: Store, base: Version, second: Version) -> None:
    start_canary(store, second)
    store.refresh_views()
    inodes = {role: (store.root / role).lstat().st_ino for role in ("current", "canary")}
    before = snapshot(store.root)
    store.refresh_views()
    Store(store.root, clock=Ticks(), new_id=new_id).refresh_views()
    assert snapshot(store.root) == before
    assert inodes == {role: (store.root / role).lstat().st_ino for role in ("current", "canary")}


@pytest.mark.parametrize(
    "damage", ["no link", "wrong link", "dangling link", "changed card", "missing file", "extra", "versions"]
)
def test_what_is_missing_or_wrong_is_healed(
    store: Store, base: Version, second: Version, damage: str
) -> None:
    start_canary(store, second)
    store.refresh_views()
    before = {role: read(store, role) for role in ("current", "canary")}
    link = store.root / "canary"
    view = store.root / link.readlink()
    view.chmod(0o755)
    if damage == "no link":
        link.unlink()
    elif damage == "wrong link":
        link.unlink()
        link.symlink_to((store.root / "current").readlink())
    elif damage == "dangling link":
        link.unlink()
        link.symlink_to("views/9999999999-canary")
    elif damage == "changed card":
        (view / "version.json").chmod(0o644)
        (view / "version.json").write_text("{}")
    elif damage == "missing file":
        (view / "best.pt").unlink()
    elif damage == "extra":
        (view / "notes.txt").write_text("mine")
    else:
        (store.root / "versions" / "000001").unlink()
        (store.root / "versions" / "000002").unlink()
        (store.root / "versions" / "000002").symlink_to("nowhere")
        (store.root / "versions" / "000009").symlink_to("nowhere")
    store.refresh_views()
    assert {role: read(store, role) for role in ("current", "canary")} == before
    assert set(names(store.root / "canary")) == {
        "best.pt",
        "best.json",
        "model.onnx",
        "manifest.json",
        "version.json",
    }
    assert (store.root / "canary" / "best.pt").read_bytes() == b"weights of second"
    assert names(store.root / "versions") == ["000001", "000002"]
    assert (store.root / "versions" / "000002" / "model.onnx").read_bytes() == b"second"


@pytest.mark.parametrize("rollout", [True, False])
def test_a_folder_in_the_place_of_a_version_is_moved_away_whole(
    store: Store, base: Version, second: Version, rollout: bool
) -> None:
    foreign = store.root / "versions" / "000001"
    foreign.mkdir(parents=True)
    (foreign / "best.pt").write_bytes(b"their weights")
    if rollout:
        start_canary(store, second)
    store.refresh_views()
    (moved,) = names(store.root / "incoming")
    assert (store.root / "incoming" / moved / "best.pt").read_bytes() == b"their weights"
    assert (store.root / "versions" / "000001").is_symlink()


@pytest.mark.parametrize("place", ["canary", "current"])
@pytest.mark.parametrize("rollout", [True, False])
def test_a_view_is_held_back_while_somebody_elses_folder_lies_there(
    store: Store, base: Version, second: Version, place: Arm, rollout: bool
) -> None:
    foreign = store.root / place
    foreign.mkdir()
    with (foreign / "best.pt").open("wb") as trainer:
        trainer.write(b"their ")
        if rollout:
            start_canary(store, second)
        store.refresh_views()
        assert not foreign.is_symlink()
        trainer.write(b"weights")
    assert (foreign / "best.pt").read_bytes() == b"their weights"
    assert names(store.root / "incoming") == []

    taken = store.incoming.take(Arm(place))
    assert taken is not None
    store.refresh_views()
    assert (store.root / "incoming" / taken / "best.pt").read_bytes() == b"their weights"
    assert read(store, "current")["version"] == 1
    assert (store.root / "canary").is_symlink() == rollout


def test_a_foreign_file_is_moved_away_too(store: Store, base: Version) -> None:
    (store.root / "canary").write_bytes(b"a file")
    store.refresh_views()
    (moved,) = names(store.root / "incoming")
    assert (store.root / "incoming" / moved).read_bytes() == b"a file"
    assert not (store.root / "canary").exists()


def test_only_the_last_views_are_kept(store: Store, base: Version, second: Version) -> None:
    rollout = start_canary(store, second)
    for step in range(1, 9):
        store.append(ShareChanged(rollout=rollout, share=step / 10), actor="c", reason="step")
        store.refresh_views()
    kept = names(store.root / "views")
    assert len(kept) == 6
    assert str((store.root / "canary").readlink()) == f"views/{max(n for n in kept if n.endswith('canary'))}"
    assert read(store, "canary")["traffic_weight"] == 0.8


def test_a_version_without_weights_or_metrics(store: Store, draft: Path) -> None:
    (draft / "best.pt").unlink()
    (draft / "metrics.json").unlink()
    store.publish(draft, note="", actor="a", initial=True)
    store.refresh_views()
    assert names(store.root / "current") == ["best.json", "manifest.json", "model.onnx", "version.json"]
    assert set(read(store, "current")["metrics"].values()) == {None}


class SlowDisk(Disk):
    """Just before a link is swapped, somebody else moves the rollout on and writes the views for it."""

    def __init__(self, root: Path, rival: Store) -> None:
        super().__init__(root, new_id)
        self.rival: Store | None = rival

    def point(self, link: Path, target: str) -> None:
        if link.name == "canary" and self.rival is not None:
            rival, self.rival = self.rival, None
            rival.append(ShareChanged(rollout=1, share=0.1), actor="rival", reason="faster")
            rival.refresh_views()
        super().point(link, target)


def test_a_slow_caller_does_not_leave_an_older_view(store: Store, base: Version, second: Version) -> None:
    start_canary(store, second)
    slow = Store(store.root, clock=Ticks(), new_id=new_id, disk=SlowDisk(store.root, store))
    slow.refresh_views()
    assert read(store, "canary")["traffic_weight"] == 0.1
    assert read(store, "current")["traffic_weight"] == 0.9


def test_many_callers_at_once_end_with_the_newest_state(store: Store, base: Version, second: Version) -> None:
    rollout = start_canary(store, second)
    failures: list[BaseException] = []
    done = threading.Event()

    def refresh() -> None:
        mine = Store(store.root, clock=Ticks(), new_id=new_id)
        try:
            while not done.is_set():
                mine.refresh_views()
            mine.refresh_views()
        except BaseException as error:  # noqa: BLE001 - handed to the main thread
            failures.append(error)

    threads = [threading.Thread(target=refresh) for _ in range(4)]
    for thread in threads:
        thread.start()
    for step in range(30):
        store.append(ShareChanged(rollout=rollout, share=(step % 9 + 1) / 10), actor="c", reason="step")
        card = json.loads((store.root / "current" / "version.json").read_text()) if step > 20 else None
        assert card is None or card["version"] == 1
    done.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert store.state().rollout is not None
    assert read(store, "canary")["traffic_weight"] == 0.3
    assert read(store, "current")["traffic_weight"] == 0.7
    assert not [name for name in names(store.root) + names(store.root / "views") if name.startswith(".tmp-")]


CARD = b'{"metrics": {"final_map": 0.9}, "version": 7}'


def write_into(folder: Path, data: bytes, *files: str) -> None:
    """As a container of another user or root does with `mv`: whatever lies there is replaced."""
    view = folder.resolve()
    view.chmod(0o755)
    for name in files:
        (view / ".theirs").write_bytes(CARD if name == "version.json" else data)
        (view / ".theirs").rename(view / name)


@pytest.mark.parametrize("model", ["best.pt", "theirs.onnx"])
def test_a_model_that_is_written_through_the_link_is_carried_out_whole(
    store: Store, base: Version, second: Version, model: str
) -> None:
    start_canary(store, second)
    store.refresh_views()
    view = f"views/{(store.root / 'canary').resolve().name}"
    assert store.incoming.places() == {}
    write_into(store.root / "canary", b"their weights", model)
    store.refresh_views()
    assert (store.root / "canary").resolve().name == Path(view).name, "its trainer writes on there"
    assert store.incoming.places()[view].missing == "version.json"
    write_into(store.root / "canary", b"", "version.json")
    contents = store.incoming.foreign(view)
    assert contents is not None and not contents.missing
    assert [name for name, _, _ in contents.entries] == sorted([model, "version.json"])

    taken = store.incoming.take(view)
    assert taken is not None and store.incoming.waiting() == [taken]
    assert names(store.incoming.path(taken)) == sorted([model, "version.json"])
    assert (store.incoming.path(taken) / model).read_bytes() == b"their weights"
    assert (store.incoming.path(taken) / "version.json").read_bytes() == CARD
    assert store.incoming.take(view) is None and store.incoming.places() == {}
    store.refresh_views()
    assert read(store, "canary")["version"] == 2
    assert (store.root / "canary" / "best.pt").read_bytes() == b"weights of second"
    assert [found for found in store.check() if found.kind == "view"] == []


@pytest.mark.parametrize(
    "files", [("best.pt",), ("best.pt", "version.json"), ("version.json",), ("notes.txt",)]
)
def test_what_was_written_into_a_view_outlasts_every_later_one_and_a_repair(
    store: Store, base: Version, second: Version, files: tuple[str, ...]
) -> None:
    rollout = start_canary(store, second)
    store.refresh_views()
    view = (store.root / "canary").resolve()
    write_into(view, b"theirs", *files)
    for step in range(1, 9):
        store.append(ShareChanged(rollout=rollout, share=step / 10), actor="c", reason="step")
        if step == 4 and files != (
            "notes.txt",
        ):  # somebody makes the link anew: the view is an old one by now
            (store.root / "canary").unlink()
        store.refresh_views()
    assert read(store, "canary")["traffic_weight"] == 0.8
    said = [found for found in store.check(repair=True) if found.name == str(view)]
    assert [found.severity for found in said] == ["warning"] and files[0] in said[0].words
    for name in files:
        assert (view / name).read_bytes() == (CARD if name == "version.json" else b"theirs")


def test_a_view_is_healed_at_once_where_no_model_can_be_on_its_way(
    store: Store, base: Version, second: Version
) -> None:
    """A torn version.json, or one that was edited by hand, is ours."""
    start_canary(store, second)
    store.refresh_views()
    for data in (b"", b'{"version": 2, "times', (store.root / "canary" / "version.json").read_bytes() + b" "):
        view = (store.root / "canary").resolve()
        view.chmod(0o755)
        (view / "version.json").chmod(0o644)
        (view / "version.json").write_bytes(data)
        assert store.incoming.places() == {}
        store.refresh_views()
        assert read(store, "canary")["version"] == 2 and (store.root / "canary").resolve() != view


def test_a_kill_after_the_view_was_moved_leaves_a_folder_that_can_be_imported(
    store: Store, base: Version, second: Version
) -> None:
    start_canary(store, second)
    store.refresh_views()
    view = (store.root / "canary").resolve()
    write_into(view, b"theirs", "best.pt", "version.json")
    view.rename(store.root / "incoming" / "1-view")
    assert store.incoming.waiting() == ["1-view"]
    assert names(store.incoming.path("1-view")) == ["best.pt", "version.json"]


def test_two_processes_take_it_once(store: Store, base: Version, second: Version) -> None:
    """The other one takes the strays and makes the same view again just before this one's rename."""
    start_canary(store, second)
    store.refresh_views()
    view = (store.root / "canary").resolve()
    write_into(view, b"theirs", "best.pt", "version.json")
    place, taken = f"views/{view.name}", list[str | None]()

    class Overtaken(Disk):
        def rename(self, source: Path, target: Path) -> None:
            if source.name == view.name and not taken:
                taken.append(store.incoming.take(place))
                store.refresh_views()
            super().rename(source, target)

    late = Store(store.root, clock=Ticks(), new_id=new_id, disk=Overtaken(store.root, new_id))
    assert late.incoming.take(place) is None
    assert store.incoming.waiting() == taken and names(store.root / "incoming") == taken
    store.refresh_views()
    assert read(store, "canary")["version"] == 2


def test_a_folder_that_was_moved_onto_the_link_and_so_into_the_view(
    store: Store, base: Version, second: Version, tmp_path: Path
) -> None:
    """What `mv trained canary` does while `canary` is our link."""
    start_canary(store, second)
    store.refresh_views()
    theirs = tmp_path / "trained"
    theirs.mkdir()
    write_into(theirs, b"theirs", "best.pt", "version.json")
    view = (store.root / "canary").resolve()
    view.chmod(0o755)
    theirs.rename(store.root / "canary" / "trained")
    store.refresh_views()
    ((place, contents),) = store.incoming.places().items()
    assert (place, contents.missing) == (f"views/{view.name}", "")
    taken = store.incoming.take(place)
    assert taken is not None and store.incoming.waiting() == [taken]
    assert names(store.incoming.path(taken)) == ["best.pt", "version.json"]
    store.refresh_views()
    assert store.incoming.places() == {} and (store.root / "canary").resolve() == view
    assert [found for found in store.check() if found.kind == "view"] == []
