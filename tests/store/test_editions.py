"""Editions of golden sets and policies: what the journal knows of them, and that a lost one is missed."""

import shutil
from pathlib import Path

import msgspec
import pytest

from serinus.artifact.files import sha256_bytes
from serinus.core.enums import Named
from serinus.core.errors import Corrupt
from serinus.rollout.events import EditionSaved
from serinus.rollout.policy import Policy
from serinus.rollout.state import Edition
from serinus.store import Store
from serinus.store.checking import Kind, Severity
from serinus.store.sealed import seal
from tests.store.test_checking import event, flip, only, remove
from tests.store.test_golden import write_set
from tests.store.whole import findings, notable, open_store

NEWEST = ["golden/storm/0000000002.json", "policies/short/0000000002.json"]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = open_store(tmp_path / "models")
    for name in ("one", "two"):
        made.add_golden("storm", write_set(tmp_path / name, dataset=name), actor="alice")
    for window in (60.0, 90.0):
        made.put_policy(Policy(name="short", window_seconds=window), actor="bob", reason="impatient")
    return made


@pytest.fixture
def backup(store: Store, tmp_path: Path) -> Store:
    copy = open_store(tmp_path / "backup")
    store.copy_to(copy)
    return copy


def look(store: Store, name: str) -> object:
    """Reads what the edition's name means."""
    return store.golden_sets() if name.startswith("golden") else store.policy("short")


def test_an_event_names_each_edition(store: Store) -> None:
    events = list(store.events())
    assert [one.body for one in events] == [
        EditionSaved(
            what=Named(what),
            name=name,
            edition=edition,
            sha256=sha256_bytes((store.root / what / name / f"{edition:010d}.json").read_bytes()),
        )
        for what, name, edition in [
            ("golden", "storm", 1),
            ("golden", "storm", 2),
            ("policies", "short", 1),
            ("policies", "short", 2),
        ]
    ]
    assert [(one.actor, one.reason) for one in events[2:]] == [("bob", "impatient")] * 2
    assert {key: known.number for key, known in open_store(store.root).state().editions.items()} == {
        "golden/storm": 2,
        "policies/short": 2,
    }


@pytest.mark.parametrize("key", NEWEST)
@pytest.mark.parametrize("damage", ["file", "name", "everything"])
def test_a_lost_newest_edition_is_missed_and_comes_back(
    store: Store, backup: Store, key: str, damage: str
) -> None:
    path, folder = store.root / key, key.partition("/")[0]
    meant = look(backup, key)
    if damage == "file":
        remove(path)
    else:
        lost = path.parent if damage == "name" else store.root / folder
        for one in (lost, *lost.rglob("*")):
            if one.is_dir():
                one.chmod(0o755)
        shutil.rmtree(lost)
    with pytest.raises(Corrupt, match=f"{path} is missing") as caught:
        look(open_store(store.root), key)
    assert "--from BACKUP" in (caught.value.remedy or "")
    found = [one for one in findings(store) if one.severity is Severity.ERROR]
    first = path if damage == "file" else path.with_name("0000000001.json")
    assert (Kind.MISSING, str(first)) in {(one.kind, one.name) for one in found}
    assert [one.name for one in findings(store, repair=True) if one.repaired] == []

    assert notable(findings(store, repair=True, other=backup)) == [] == findings(store)
    if folder == "policies":
        assert look(store, key) == meant
    else:
        assert [one.digest for one in store.golden_sets(verify=True)] == [
            one.digest for one in backup.golden_sets()
        ]


@pytest.mark.parametrize("key", NEWEST)
def test_another_edition_in_its_place_is_not_believed(store: Store, backup: Store, key: str) -> None:
    """Well sealed, with the right number."""
    path = store.root / key
    older = path.with_name("0000000001.json").read_bytes()
    document = msgspec.json.decode(older)
    del document["check"]
    path.unlink()
    path.write_bytes(
        seal(msgspec.json.encode(document | {"edition": 2} if "edition" in document else document))
    )
    with pytest.raises(Corrupt, match=f"{path} is not what was saved"):
        look(open_store(store.root), key)
    assert only(findings(store)).kind is Kind.CHANGED
    remove(backup.root / key)
    shutil.copy(path, backup.root / key)
    findings(store, repair=True, other=backup)
    assert only(findings(store)).kind is Kind.CHANGED, "nor from the other store"


@pytest.mark.parametrize("key", NEWEST)
def test_without_a_backup_the_next_edition_counts(store: Store, key: str, tmp_path: Path) -> None:
    remove(store.root / key)
    if key.startswith("golden"):
        digest = store.add_golden("storm", tmp_path / "one", actor="alice")
        assert [one.digest for one in store.golden_sets()] == [digest]
        known = store.state().editions["golden/storm"]
    else:
        assert store.put_policy(Policy(name="short"), actor="bob", reason="again").edition == 3
        known = store.state().editions["policies/short"]
    assert known.number == 3 and not (store.root / key).exists(), "no number is given twice"
    assert only(findings(store)).name == str(store.root / key)


@pytest.mark.parametrize("what", ["golden", "policy"])
def test_nothing_is_saved_where_the_journal_lost_its_end(store: Store, tmp_path: Path, what: str) -> None:
    store.snapshot()
    remove(event(store, 4))
    fresh = open_store(store.root)
    before = sorted(store.root.glob("*/*/*.json"))
    with pytest.raises(Corrupt, match="the newest part is lost"):
        if what == "golden":
            fresh.add_golden("flood", tmp_path / "one", actor="alice")
        else:
            fresh.put_policy(Policy(name="other"), actor="bob", reason="")
    assert sorted(path for path in store.root.glob("*/*/*.json") if path.name != "golden.json") == before


def test_editions_that_no_event_names_count_and_are_said(store: Store, tmp_path: Path) -> None:
    """As older versions of Serinus made them, or a writer that was killed before its event."""
    shutil.rmtree(store.root / "journal")
    old = open_store(store.root)
    assert old.state().editions == {}
    assert [one.name for one in old.golden_sets(verify=True)] == ["storm"]
    assert old.policy("short") == store.policy("short")
    for repair in (False, True):  # which appends nothing: a backup must stay the beginning of its source
        found = findings(old, repair=repair)
        assert [(one.severity, one.kind, one.name, one.repaired) for one in found] == [
            (Severity.INFO, Kind.UNRECORDED, str(store.root / key), False) for key in NEWEST
        ]
    old.put_policy(Policy(name="short"), actor="bob", reason="again")
    old.add_golden("storm", tmp_path / "one", actor="alice")
    assert findings(old) == []


def test_the_later_of_two_that_were_saved_at_once_counts(store: Store) -> None:
    """Their events may come in the other order."""
    late = EditionSaved(what=Named.POLICY, name="short", edition=1, sha256=sha256_bytes(b"x"))
    before = store.state().editions["policies/short"]
    store.append(late, actor="bob", reason="late")
    assert store.state().editions["policies/short"] == before != Edition(number=1, sha256=late.sha256)


def test_a_damaged_newest_edition_is_named(store: Store) -> None:
    for key in NEWEST:
        flip(store.root / key)
        with pytest.raises(Corrupt, match=str(store.root / key)):
            look(store, key)
        flip(store.root / key)
