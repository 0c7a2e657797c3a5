"""Folders from elsewhere: seen, taken whole, kept or removed."""

import os
from pathlib import Path

import pytest

from serinus.core.enums import Arm
from serinus.store import Store
from serinus.store.incoming import KEPT, Incoming
from serinus.store.local import Disk
from tests.store.drafts import names, new_id


def written(folder: Path, *files: str) -> Path:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


def test_our_own_links_are_not_foreign(store: Store, draft: Path) -> None:
    assert store.incoming.foreign(Arm.CURRENT) is None
    store.publish(draft, note="", actor="a", initial=True)
    store.refresh_views()
    assert (store.root / "current").is_dir()
    assert store.incoming.foreign(Arm.CURRENT) is None


@pytest.mark.parametrize(
    ("files", "missing"),
    [
        ((), "version.json"),
        (("best.pt",), "version.json"),
        (("version.json",), "best.pt (or an .onnx)"),
        (("version.json", "sub/model.onnx"), "best.pt (or an .onnx)"),
        (("version.json", "best.pt"), ""),
        (("version.json", "any.onnx"), ""),
    ],
)
def test_what_a_complete_folder_holds(store: Store, files: tuple[str, ...], missing: str) -> None:
    folder = store.root / "canary"
    folder.mkdir()
    written(folder, *files)
    contents = store.incoming.foreign(Arm.CANARY)
    assert contents is not None and contents.missing == missing


def test_any_change_shows(store: Store) -> None:
    folder = written(store.root / "canary", "best.pt", "version.json", "sub/log")
    seen = [store.incoming.foreign(Arm.CANARY)]
    with (folder / "sub" / "log").open("ab") as file:
        file.write(b"more")
    seen.append(store.incoming.foreign(Arm.CANARY))
    os.utime(folder / "best.pt", ns=(1, 1))
    seen.append(store.incoming.foreign(Arm.CANARY))
    (folder / "link").symlink_to("/nowhere")
    seen.append(store.incoming.foreign(Arm.CANARY))
    assert len(set(seen)) == 4
    assert store.incoming.foreign(Arm.CANARY) == seen[-1]


def test_taken_whole_and_gone_from_its_place(store: Store) -> None:
    folder = written(store.root / "canary", "best.pt", "version.json")
    name = store.incoming.take(Arm.CANARY)
    assert name is not None and store.incoming.waiting() == [name]
    assert not folder.exists()
    assert names(store.incoming.path(name)) == ["best.pt", "version.json"]
    assert store.incoming.take(Arm.CANARY) is None


def test_the_oldest_is_first_and_what_is_not_waiting_is_not_listed(store: Store) -> None:
    incoming = store.root / "incoming"
    for age, name in ((3, "b"), (1, "c"), (2, "a")):
        written(incoming / name, "best.pt")
        os.utime(incoming / name, (1000 - age, 1000 - age))
    written(incoming / "rejected" / "z", "best.pt")
    written(incoming / ".tmp-1", "best.pt")
    assert store.incoming.waiting() == ["b", "a", "c"]


def test_a_refused_folder_is_kept_whole_up_to_a_limit(store: Store) -> None:
    for number in range(KEPT + 3):
        written(store.root / "incoming" / f"n{number}", "best.pt")
        store.incoming.refuse(f"n{number}")
        os.utime(store.root / "incoming" / "rejected" / f"n{number}", (number, number))
    assert store.incoming.waiting() == []
    kept = names(store.root / "incoming" / "rejected")
    assert sorted(kept) == sorted(f"n{number}" for number in range(3, KEPT + 3))
    assert (store.root / "incoming" / "rejected" / "n5" / "best.pt").read_bytes() == b"best.pt"


def test_two_refusals_of_one_name_lose_neither(store: Store) -> None:
    for _ in range(2):
        written(store.root / "incoming" / "n", "best.pt")
        store.incoming.refuse("n")
    store.incoming.refuse("n")
    assert len(names(store.root / "incoming" / "rejected")) == 2


def test_discarded_with_its_read_only_folders_and_links_not_followed(store: Store, tmp_path: Path) -> None:
    outside = written(tmp_path / "outside", "mine")
    folder = written(store.root / "incoming" / "n", "sub/best.pt")
    (folder / "link").symlink_to(outside)
    (folder / "sub").chmod(0o555)
    store.incoming.discard("n")
    assert store.incoming.waiting() == []
    (store.root / "incoming" / "m").symlink_to(outside)
    store.incoming.discard("m")
    assert store.incoming.waiting() == []
    assert (outside / "mine").read_bytes() == b"mine"


def test_a_link_that_came_in_the_folders_place_goes_back(store: Store, draft: Path) -> None:
    """Two controllers: the other one takes the folder and makes the view just before this one's rename."""
    store.publish(draft, note="", actor="a", initial=True)
    folder = written(store.root / "current", "best.pt", "version.json")
    taken: list[str | None] = []

    class Overtaken(Disk):
        def rename(self, source: Path, target: Path) -> None:
            if source == folder and not taken:
                taken.append(store.incoming.take(Arm.CURRENT))
                store.refresh_views()
            super().rename(source, target)

    late = Incoming(store.root, Overtaken(store.root, new_id), new_id)
    assert late.take(Arm.CURRENT) is None
    assert taken[0] is not None and store.incoming.waiting() == taken
    assert (store.root / "current").is_symlink() and (store.root / "current" / "model.onnx").is_file()
    assert names(store.root / "incoming") == taken
    assert late.take(Arm.CURRENT) is None and (store.root / "current").is_symlink()


def test_a_newer_link_is_not_replaced_by_the_carried_one(store: Store, draft: Path) -> None:
    """The view is made anew while the carried link lies in incoming/."""
    store.publish(draft, note="", actor="a", initial=True)
    written(store.root / "current", "best.pt", "version.json")

    class Overtaken(Disk):
        def rename(self, source: Path, target: Path) -> None:
            store.incoming.take(Arm.CURRENT)
            store.refresh_views()
            super().rename(source, target)
            (store.root / "current").symlink_to("views/newer")

    assert Incoming(store.root, Overtaken(store.root, new_id), new_id).take(Arm.CURRENT) is None
    assert str((store.root / "current").readlink()) == "views/newer"
    assert len(names(store.root / "incoming")) == 1


def test_a_link_of_ours_that_a_kill_left_here_waits_for_no_import(store: Store) -> None:
    (store.root / "incoming" / "x").symlink_to("views/0000000001-current")
    assert store.incoming.waiting() == []
