"""Pipes, sockets and folders in the place of a document: named at once, by readers and by the check."""

import os
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from serinus.cli.app import run
from serinus.cli.exits import Exit
from serinus.core.errors import Corrupt
from serinus.core.ids import Version
from serinus.store import Routes, Store
from serinus.store.local import Disk
from tests.store.drafts import new_id, write_draft
from tests.store.test_checking import every_file
from tests.store.whole import fill, findings, open_store

pytestmark = pytest.mark.timeout(30)
Make = Callable[[Path], None]


def make_socket(path: Path) -> None:
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        with socket.socket(socket.AF_UNIX) as listening:  # the path alone may be too long for an address
            listening.bind(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)


ODD: dict[str, Make] = {"a pipe": os.mkfifo, "a folder": Path.mkdir, "a socket": make_socket}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("no-file")
    return fill(open_store(folder / "models"), folder / "drafts")


@pytest.fixture
def whole(filled: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    shutil.copytree(filled.root, tmp_path / "models", symlinks=True)
    monkeypatch.setenv("MODEL_DIR", str(tmp_path / "models"))
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    return looked_at(tmp_path / "models")


def looked_at(root: Path) -> Store:
    return Store.look(root, clock=time.time, new_id=new_id)


@pytest.mark.parametrize("kind", ODD)
def test_the_next_event(whole: Store, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = whole.root / "journal" / f"{whole.state().seq + 1:010d}.json"
    ODD[kind](path)
    with pytest.raises(Corrupt, match=f"{path.name} is {kind}, not a file.* Move it away"):
        looked_at(whole.root).state()
    assert run(["versions", "list"]) == Exit.FAILED
    said = "".join(capsys.readouterr().err.split())
    assert f"is{kind}".replace(" ", "") in said and "backup" in said
    assert (str(path), "changed") in [(one.name, one.kind) for one in findings(looked_at(whole.root))]


@pytest.mark.parametrize("kind", ODD)
def test_the_hint_and_a_heartbeat_are_skipped_as_other_damage_is(
    whole: Store, tmp_path: Path, kind: str
) -> None:
    heartbeat, hint = whole.root / "replicas" / "x.json", whole.root / "routes.json"
    ODD[kind](heartbeat)
    hint.unlink()
    ODD[kind](hint)
    store = open_store(whole.root)
    assert store.routes() is None and [one.replica for one in store.replicas()] == ["infer-0-ab"]
    assert store.unreadable_replicas() == [str(heartbeat)]
    assert store.publish(write_draft(tmp_path / "more", b"more"), note="", actor="train") == Version(6)
    assert run(["versions", "gc", "--dry-run"]) == Exit.DONE
    torn = {one.name: one.kind for one in findings(store, repair=True)}
    assert torn[str(heartbeat)] == torn[str(hint)] == "torn"
    assert not heartbeat.exists() and not hint.exists()
    store.put_routes(Routes(seq=store.state().seq))
    assert store.routes() is not None


def test_what_is_written_over_a_folder_says_so(whole: Store) -> None:
    (whole.root / "routes.json").unlink()
    (whole.root / "routes.json").mkdir()
    with pytest.raises(Corrupt, match="is a folder, not a file"):
        whole.put_routes(Routes(seq=1))


@pytest.mark.parametrize("documents", [True, False])
@pytest.mark.parametrize("kind", ODD)
def test_in_the_place_of_every_document_of_a_store(whole: Store, kind: str, documents: bool) -> None:
    """None of them keeps the check waiting or ends it early, and each is named.

    Documents, and then the pictures: a damaged document tells of none.
    """
    odd = []
    for path in every_file(whole.root):
        first = path.relative_to(whole.root).parts[0]
        if first in ("journal", "evidence", "artifacts", "views", ".reserve"):
            continue  # one damaged event would hide the rest; trees are listed before they are read
        if (path.suffix == ".json") != documents:
            continue
        path.parent.chmod(0o755)
        path.unlink()
        ODD[kind](path)
        odd.append(str(path))
    assert len(odd) > 5
    named = [one.name for one in findings(looked_at(whole.root))]
    missed = [path for path in odd if not any(path == name or path.startswith(f"{name}/") for name in named)]
    assert missed == []


@pytest.mark.parametrize(
    "place", ["artifacts", "journal", "replicas", "views/x", "views", ".reserve", "versions"]
)
def test_a_pipe_in_the_place_of_a_folder_keeps_nobody_waiting(whole: Store, place: str) -> None:
    path = whole.root / place
    if path.is_dir():
        path.rename(whole.root / "elsewhere")
    else:
        path.unlink(missing_ok=True)
    os.mkfifo(path)
    for command in (["store", "check"], ["versions", "list"], ["rollout", "status"], ["versions", "gc"]):
        assert run(command) in (Exit.DONE, Exit.FAILED, Exit.USAGE)


def test_a_link_to_a_file_is_read_as_ever(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"bytes")
    (tmp_path / "link").symlink_to("file")
    disk = Disk(tmp_path, new_id)
    assert disk.read(tmp_path / "link") == b"bytes"
    assert disk.read(tmp_path / "none") is None and disk.read(tmp_path / "file" / "below") is None
