"""The table of docs/store.md, held against a store that has been through everything.

Each file is of a kind that it knows, each kind is there, and a changed byte in each file is found as it says.
"""

import re
import shutil
import time
from pathlib import Path

import pytest

from serinus.store import Store
from serinus.store.checking import Severity
from serinus.store.sealed import seal
from serinus.store.unfinished import MARK
from tests.store.drafts import new_id
from tests.store.test_checking import every_file, flip
from tests.store.whole import fill, findings, open_store

DOCUMENT = Path(__file__).parents[2] / "docs" / "store.md"
_ROW = re.compile(r"^\| `([^`]+)` \| [^|]+ \| (error|warning|not looked at) \| [^|]+ \|$", re.MULTILINE)
_PARTS = {
    "<n>": r"\d{10}",
    "<sha256>": "[0-9a-f]{64}",
    "<number>": r"\d+",
    "<name>": "[^/]+",
    "**": ".+",
}
KINDS: dict[str, str] = dict(_ROW.findall(DOCUMENT.read_text()))
"""What the table says of damage, by kind of file."""
_SEAL = -1.0
"""In the name of the member that holds a document's seal."""
REMEMBERED = "last-state-<name>.json"
"""Beside a bucket only, so it has a test of its own."""


def kind_of(name: str) -> str | None:
    """The first row that fits a path relative to the store."""
    for kind in KINDS:
        pattern = re.escape(kind)
        for part, expression in _PARTS.items():
            pattern = pattern.replace(re.escape(part), expression)
        if re.fullmatch(pattern, name):
            return kind
    return None


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("kinds")
    store = fill(open_store(folder / "models"), folder / "drafts")
    for name in (".up.lock", "incoming/somebody/best.pt", "lost+found/1/journal/0000000001.json"):
        path = store.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"theirs")
    return store


def files(root: Path) -> list[str]:
    """Everything but what is being written."""
    found = (path.relative_to(root) for path in every_file(root))
    return [path.as_posix() for path in found if not any(part.startswith(".tmp") for part in path.parts)]


def strangers(root: Path) -> list[str]:
    """Files below MODEL_DIR that the table does not know."""
    return [name for name in files(root) if kind_of(name) is None]


def test_every_file_is_of_a_kind_and_every_kind_is_there(whole: Store) -> None:
    assert strangers(whole.root) == [], "the table lacks them"
    there = set(map(kind_of, files(whole.root)))
    assert KINDS.keys() - there == {MARK, REMEMBERED}, "nothing makes such a file here"


def _at(path: Path, part: float) -> int:
    size = path.stat().st_size
    return max(0, size - 74) if part == _SEAL else int(part * (size - 1))


@pytest.mark.parametrize(
    "kind", [kind for kind, harm in KINDS.items() if harm != "not looked at" and kind != REMEMBERED]
)
def test_a_changed_byte_in_every_file_of_a_kind_is_found(whole: Store, tmp_path: Path, kind: str) -> None:
    """All files of the kind at once, at several places of each in turn."""
    shutil.copytree(whole.root, tmp_path / "models", symlinks=True)
    root = tmp_path / "models"
    if kind == MARK:
        (root / MARK).write_bytes(seal(b'{"source":"here","seq":3,"time":1.0}'))
    paths = [path for path in every_file(root) if kind_of(path.relative_to(root).as_posix()) == kind]
    assert paths
    for part in (0, 0.5, 1, _SEAL):
        for path in paths:
            flip(path, _at(path, part))
        found = findings(Store.look(root, clock=time.time, new_id=new_id))
        roles = {str(root / role): (root / role).resolve() for role in ("current", "canary")}
        named = {one.name for one in found if one.severity is not Severity.INFO}
        if kind != "views/<name>/version.json":
            worst = Severity.ERROR if KINDS[kind] == "error" else Severity.WARNING
            assert {one.severity for one in found if one.name in map(str, paths)} == {worst}
            assert set(map(str, paths)) <= named
        else:
            assert {str(link) for link, view in roles.items() if view / "version.json" in paths} <= named
        for path in paths:
            flip(path, _at(path, part))
    assert kind == MARK or findings(Store.look(root, clock=time.time, new_id=new_id)) == []


def test_what_is_remembered_beside_a_bucket(whole: Store, url: str, tmp_path: Path) -> None:
    bucket = open_store(tmp_path / "near", url)
    whole.copy_to(bucket)
    bucket.refresh_views()
    bucket.remember(bucket.state())
    (path,) = (tmp_path / "near").glob("last-state-*")
    assert kind_of(path.name) == REMEMBERED
    assert findings(bucket) == []
    flip(path)
    assert bucket.last_known() is None
    (found,) = findings(bucket, repair=True)
    assert (found.name, found.severity, found.repaired) == (str(path), Severity.WARNING, True)
    assert findings(bucket) == []
