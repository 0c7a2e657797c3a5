"""`serinus store check` on a real folder that was damaged in every way that has a name."""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serinus.artifact.files import sha256_bytes
from serinus.core.errors import Cancelled, Corrupt, NotFound
from serinus.core.ids import Digest, Version
from serinus.rollout.events import ShareChanged
from serinus.rollout.policy import Policy
from serinus.store import Store
from serinus.store.checking import Finding, Kind, Severity
from serinus.store.journal import decode
from serinus.store.publish import Artifacts
from serinus.store.sealed import seal
from tests.store.drafts import frozen_slice, new_id, write_draft
from tests.store.whole import fill, findings, notable, open_store, publish


@pytest.fixture
def tmp_path(memory: Path) -> Path:
    return memory


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    return fill(open_store(folder / "models"), folder / "drafts").root


@pytest.fixture
def whole(pristine: Path, tmp_path: Path) -> Store:
    """A copy of it, links and rights and all, that a test may damage."""
    shutil.copytree(pristine, tmp_path / "models", symlinks=True)
    return open_store(tmp_path / "models")


@pytest.fixture
def backup(pristine: Path, tmp_path: Path) -> Store:
    shutil.copytree(pristine, tmp_path / "backup", symlinks=True)
    return open_store(tmp_path / "backup")


def overwrite(path: Path, data: bytes) -> None:
    """Whatever the rights are; they stay as they were."""
    mode = path.stat().st_mode
    path.chmod(0o644)
    path.write_bytes(data)
    path.chmod(mode)


def flip(path: Path, at: int = 5) -> None:
    data = bytearray(path.read_bytes())
    data[at % len(data)] ^= 0x01
    overwrite(path, bytes(data))


def remove(path: Path) -> None:
    mode = path.parent.stat().st_mode
    path.parent.chmod(0o755)
    path.unlink()
    path.parent.chmod(mode)


def digest_of(store: Store, version: int) -> Digest:
    return store.state().versions[Version(version)].digest


def event(store: Store, seq: int) -> Path:
    return store.root / "journal" / f"{seq:010d}.json"


def only(found: list[Finding]) -> Finding:
    (one,) = notable(found)
    return one


def test_a_store_that_is_whole_has_no_finding(whole: Store) -> None:
    assert findings(whole) == []


def test_an_empty_store_has_no_finding(store: Store) -> None:
    assert findings(store) == []


# -- the journal ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seq", [1, 5, -1], ids=["first", "middle", "last"])
@pytest.mark.parametrize("damage", [flip, remove], ids=["changed", "missing"])
def test_a_damaged_event_is_named_and_comes_back_from_a_backup(
    whole: Store, backup: Store, seq: int, damage: Callable[[Path], None]
) -> None:
    end = backup.state().seq
    path = event(whole, seq if seq > 0 else end)
    good = path.read_bytes()
    damage(path)
    errors = [one for one in findings(whole) if one.severity is Severity.ERROR]
    assert [one.name for one in errors] == [str(path)]
    assert not errors[0].repairable and "--from" in errors[0].remedy
    assert not any(one.repaired for one in findings(whole, repair=True) if one.name == str(path))

    assert notable(findings(whole, repair=True, other=backup)) == []
    assert path.read_bytes() == good
    assert notable(findings(whole)) == []
    assert open_store(whole.root).state() == backup.state()
    if damage is flip:
        kept = [path for path in (whole.root / "lost+found").rglob("*.json") if path.name == f"{path.name}"]
        assert any(sha256_bytes(one.read_bytes()) != sha256_bytes(good) for one in kept), (
            "nothing is destroyed"
        )


def test_everything_behind_a_damaged_event_is_still_read(whole: Store) -> None:
    flip(event(whole, 3))
    flip(event(whole, 9))
    remove(event(whole, 11))
    named = [one.name for one in findings(whole) if one.severity is Severity.ERROR]
    assert named == [str(event(whole, n)) for n in (3, 9, 11)]


def test_a_foreign_event_with_a_good_seal_does_not_follow(whole: Store, backup: Store) -> None:
    path = event(whole, 6)
    document = json.loads(path.read_bytes())
    del document["check"]
    document["reason"] = "rewritten by somebody who knows how to seal"
    overwrite(path, seal(json.dumps(document).encode()))
    one = next(one for one in findings(whole) if one.severity is Severity.ERROR)
    assert (one.kind, one.name) == (Kind.CHAIN, str(event(whole, 7)))
    findings(whole, repair=True, other=backup)
    assert notable(findings(whole)) == [], "the genuine one is back, the other one is set aside"
    assert open_store(whole.root).state() == backup.state()


def test_an_event_that_cannot_follow_its_state(whole: Store) -> None:
    state = whole.state()
    path = event(whole, state.seq)
    document = json.loads(path.read_bytes())
    del document["check"]
    document["body"] = {"kind": "verified", "rollout": 99, "share": 0.5}
    overwrite(path, seal(json.dumps(document).encode()))
    found = next(one for one in findings(whole) if one.severity is Severity.ERROR)
    assert (found.kind, found.name) == (Kind.CHAIN, str(path))


def test_strays_are_moved_never_destroyed(whole: Store) -> None:
    strays = ["journal/notes.txt", "journal/42.json", "evidence/1/x.json", "golden/storm/readme", "removed/x"]
    for name in strays:
        (whole.root / name).write_text(name)
    found = notable(findings(whole))
    assert sorted(one.name for one in found) == sorted(str(whole.root / name) for name in strays)
    assert {one.kind for one in found} == {Kind.EXTRA}
    assert notable(findings(whole, repair=True)) == []
    (aside,) = (whole.root / "lost+found").iterdir()
    assert sorted(str(p.relative_to(aside)) for p in aside.rglob("*") if p.is_file()) == sorted(strays)
    assert findings(whole) == []


FAR = "9999999999.json"


@pytest.mark.parametrize(
    ("folder", "words"),
    [
        ("journal", "Events {} to 9999999998 are missing"),
        ("evidence/1", "Slices {} to 9999999998 are missing of rollout 1"),
        ("golden/storm", "Editions {} to 9999999998 are missing"),
        ("policies/short", "Editions {} to 9999999998 are missing"),
    ],
)
def test_a_far_number_is_no_long_way(whole: Store, backup: Store, folder: str, words: str) -> None:
    """One file of a name that somebody made up; what lies before it is one finding."""
    numbers = [int(path.stem) for path in (whole.root / folder).glob("0*.json")]
    (whole.root / folder / FAR).write_bytes(b"somebody's")
    for options in ({}, {"repair": True, "other": backup}):
        found = [one for one in findings(open_store(whole.root), **options) if one.severity is Severity.ERROR]
        assert {one.name for one in found} == {
            str(whole.root / folder / f"{max(numbers) + 1:010d}.json"),
            str(whole.root / folder / FAR),
        }
        assert words.format(max(numbers) + 1) in found[0].words


def test_readers_of_a_far_number_end(whole: Store) -> None:
    for folder in ("journal", "evidence/1", "golden/storm", "policies/short"):
        (whole.root / folder / FAR).write_bytes(b"somebody's")
    store = open_store(whole.root)
    assert len(list(store.events())) == len(list(store.newest_events())) == store.state().seq
    for read in (
        lambda: store.policy("short"),
        lambda: store.policy_history("short"),
        store.golden_sets,
        lambda: store.last_frozen(1),
    ):
        with pytest.raises(Corrupt, match=f"{FAR}|0000000003.json"):
            read()
    for save in (
        lambda: store.put_policy(Policy(name="short"), actor="alice", reason="x"),
        lambda: store.append(ShareChanged(rollout=4, share=0.1), actor="alice", reason="x"),
    ):
        with pytest.raises(Corrupt, match=f"{FAR}"):
            save()


def test_runs_of_missing_numbers_are_folded(whole: Store) -> None:
    """What lies between two runs is read all the same."""
    for seq in (3, 4, 5, 9, 11, 12):
        remove(event(whole, seq))
    said = [one.words for one in findings(whole) if one.severity is Severity.ERROR]
    assert said == [
        f"{which} missing; later ones are there."
        for which in ("Events 3 to 5 are", "Event 9 is", "Events 11 to 12 are")
    ]


def test_a_run_comes_back_from_a_backup(whole: Store, backup: Store) -> None:
    """Also behind an event that is damaged beyond repair: the one that follows names them."""
    for seq in (3, 4, 5, 11, 12):
        remove(event(whole, seq))
    flip(event(whole, 10))
    remove(event(backup, 10))
    findings(whole, repair=True, other=backup)
    left = [one.name for one in findings(whole) if "/journal/" in one.name]
    assert left == [str(event(whole, 10))]


# -- snapshots -----------------------------------------------------------------------------------------------


def test_a_snapshot_that_lies_is_not_believed(whole: Store) -> None:
    """It has a good seal and names an event that is there; only the full replay tells."""
    path = max((whole.root / "journal" / "snapshots").iterdir())
    document = json.loads(path.read_bytes())
    del document["check"]
    document["state"]["current"] = 1
    overwrite(path, seal(json.dumps(document).encode()))
    assert open_store(whole.root).state().current == 1, "a start believes it, therefore the check"
    found = only(findings(whole))
    assert (found.kind, found.name, found.severity) == (Kind.SNAPSHOT, str(path), Severity.WARNING)
    assert notable(findings(whole, repair=True)) == []
    assert path.exists() and open_store(whole.root).state().current == 2
    assert findings(whole) == []


def test_a_damaged_snapshot_is_made_anew(whole: Store) -> None:
    path = max((whole.root / "journal" / "snapshots").iterdir())
    flip(path)
    assert only(findings(whole)).name == str(path)
    assert notable(findings(whole, repair=True)) == [] == findings(whole)


# -- artifacts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["model.onnx", "manifest.json", "training/results.csv"])
@pytest.mark.parametrize("damage", [flip, remove], ids=["changed", "missing"])
def test_a_damaged_artifact_is_named_and_comes_back_from_a_backup(
    whole: Store, backup: Store, name: str, damage: Callable[[Path], None]
) -> None:
    digest = digest_of(whole, 2)
    path = whole.root / "artifacts" / digest / name
    good = path.read_bytes()
    damage(path)
    found = only(findings(whole))
    assert (found.severity, found.name) == (Severity.ERROR, str(path))
    assert notable(findings(whole, repair=True, other=backup)) == []
    assert path.read_bytes() == good and path.stat().st_mode & 0o777 == 0o444
    assert path.parent.stat().st_mode & 0o777 == 0o555
    open_store(whole.root).verify(digest)
    assert findings(whole) == []


def test_another_artifact_with_the_same_file_is_as_good_as_a_backup(whole: Store) -> None:
    path = whole.root / "artifacts" / digest_of(whole, 2) / "training" / "results.csv"
    flip(path)
    found = only(findings(whole))
    assert found.repairable
    assert notable(findings(whole, repair=True)) == [] == findings(whole)


def test_a_twin_that_is_damaged_alike_is_no_donor(whole: Store) -> None:
    paths = list((whole.root / "artifacts").glob("*/training/results.csv"))
    for path in paths:
        overwrite(path, b"nonsense")
    found = notable(findings(whole, repair=True))
    assert sorted(one.name for one in found) == sorted(map(str, paths))
    assert all(path.read_bytes() == b"nonsense" for path in paths), "left as it was"


def test_a_whole_artifact_comes_back(whole: Store, backup: Store) -> None:
    path = whole.root / "artifacts" / digest_of(whole, 1)
    shutil.move(path, whole.root.parent / "elsewhere")
    assert only(findings(whole)).name == str(path)
    assert only(findings(whole)).kind is Kind.MISSING
    assert notable(findings(whole, repair=True, other=backup)) == [] == findings(whole)


def test_what_does_not_belong_into_an_artifact(whole: Store) -> None:
    folder = whole.root / "artifacts" / digest_of(whole, 2)
    folder.chmod(0o755)
    (folder / "notes.txt").write_text("mine")
    (folder / "link").symlink_to("/etc/passwd")
    found = notable(findings(whole))
    assert {one.name for one in found} >= {str(folder / "link")}
    assert notable(findings(whole, repair=True)) == []
    whole.verify(digest_of(whole, 2))
    assert findings(whole) == []


def test_what_no_version_has(whole: Store, tmp_path: Path) -> None:
    source = write_draft(tmp_path / "orphan", b"orphan")
    artifacts = Artifacts(whole.backend)
    digest, _ = artifacts.add(source, note="", now=1.0, state=whole.state())
    (found,) = findings(whole)
    assert (found.kind, found.severity) == (Kind.ORPHAN, Severity.INFO), "it may be on its way"
    age(whole.root / "artifacts" / digest, 48)
    (found,) = findings(whole, repair=True)
    assert (found.kind, found.severity, found.repaired) == (Kind.ORPHAN, Severity.WARNING, False)
    assert whole.root.joinpath("artifacts", digest).is_dir() and "versions gc" in found.remedy
    whole.collect()
    assert findings(whole) == []


def age(path: Path, hours: float) -> None:
    then = time.time() - hours * 3600
    for one in (path, *path.rglob("*")):
        os.utime(one, (then, then), follow_symlinks=False)


def test_an_artifact_that_was_to_go(whole: Store) -> None:
    whole.remove_versions((Version(4),), actor="alice", reason="old")
    whole.refresh_views()
    (found,) = findings(whole)
    assert (found.kind, found.severity) == (Kind.REMOVED, Severity.INFO)
    whole.collect()
    assert findings(whole) == []


@pytest.mark.parametrize("damage", [flip, remove], ids=["changed", "missing"])
def test_the_manifest_of_a_removed_version(
    whole: Store, backup: Store, damage: Callable[[Path], None]
) -> None:
    path = whole.root / "removed" / f"{digest_of(whole, 3)}.json"
    damage(path)
    assert only(findings(whole)).name == str(path)
    assert notable(findings(whole, repair=True, other=backup)) == [] == findings(whole)


def test_rights_are_put_back(whole: Store) -> None:
    path = whole.root / "artifacts" / digest_of(whole, 2) / "model.onnx"
    path.chmod(0o644)
    found = only(findings(whole))
    assert (found.kind, found.name, found.severity) == (Kind.MODE, str(path), Severity.WARNING)
    assert notable(findings(whole, repair=True)) == [] == findings(whole)
    assert path.stat().st_mode & 0o777 == 0o444


# -- evidence, golden sets -----------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [0, 2, 3], ids=["first", "middle", "last"])
@pytest.mark.parametrize("damage", [flip, remove], ids=["changed", "missing"])
def test_damaged_evidence(whole: Store, backup: Store, k: int, damage: Callable[[Path], None]) -> None:
    path = whole.root / "evidence" / "1" / f"{k:010d}.json"
    damage(path)
    found = only(findings(whole))
    lost = damage is remove and k == 3
    assert found.name == (str(path.parent) if lost else str(path))
    findings(whole, repair=True, other=backup)
    assert findings(whole) == []


def test_the_newest_evidence_is_taken_only_from_the_same_chain(whole: Store, tmp_path: Path) -> None:
    folder = whole.root / "evidence" / "1"
    other = open_store(tmp_path / "other")
    first = frozen_slice(1, 0, "")
    assert other.freeze(first)
    for path in folder.iterdir():
        remove(path)
    findings(whole, repair=True, other=other)
    assert not list(folder.iterdir()), "another history's slices do not lead to the one that is cited"
    assert only(findings(whole)).kind is Kind.LOST


def test_evidence_that_an_event_names_by_number(whole: Store) -> None:
    remove(whole.root / "evidence" / "2" / "0000000002.json")
    named = {one.name for one in findings(whole) if one.severity is Severity.ERROR}
    assert str(whole.root / "evidence" / "2" / "0000000002.json") in named


def golden_files(store: Store) -> list[Path]:
    return sorted(path for path in (store.root / "golden").rglob("*") if path.is_file())


def test_every_golden_file_comes_back(whole: Store, backup: Store) -> None:
    for path in golden_files(whole):
        for damage in (flip, remove):
            good = path.read_bytes()
            damage(path)
            found = notable(findings(whole))
            assert found and all(str(path) == one.name for one in found if one.severity is Severity.ERROR), (
                path
            )
            findings(whole, repair=True, other=backup)
            assert path.read_bytes() == good
            assert findings(whole) == [], path


def test_damaged_feedback_comes_back(whole: Store, backup: Store) -> None:
    path, _ = (whole.root / "feedback").rglob("*.json")
    flip(path, 30)
    assert only(findings(whole)).name == str(path)
    assert notable(findings(whole, repair=True, other=backup)) == [] == findings(whole)


# -- what passes, what is generated --------------------------------------------------------------------------


def test_what_passes_is_set_aside(whole: Store) -> None:
    paths = [
        whole.root / "routes.json",
        whole.root / "replicas" / "infer-0-ab.json",
        whole.root / "observations" / "4" / "infer-0-ab" / "0000000001.json",
    ]
    for path in paths:
        flip(path, 20)
    found = notable(findings(whole))
    assert {one.name for one in found} == set(map(str, paths))
    assert {one.kind for one in found} == {Kind.TORN}
    assert {one.severity for one in found} == {Severity.WARNING}
    assert notable(findings(whole, repair=True)) == [] == findings(whole)
    assert whole.routes() is None


def test_a_hint_that_contradicts_the_journal(whole: Store) -> None:
    routes = whole.routes()
    assert routes is not None
    whole.put_routes(msgspec.structs.replace(routes, current=None))
    assert only(findings(whole)).kind is Kind.HINT
    assert notable(findings(whole, repair=True)) == [] == findings(whole)


def test_leftovers_go_when_they_are_old(whole: Store) -> None:
    paths = [whole.root / ".tmp" / "abc", whole.root / "artifacts" / ".tmp-abc", whole.root / ".tmp-link"]
    paths[0].write_text("half")
    (paths[1] / "training").mkdir(parents=True)
    paths[2].symlink_to("nowhere")
    assert findings(whole) == [], "somebody may be writing them"
    for path in paths:
        age(path, 2)
    found = notable(findings(whole))
    assert {one.name for one in found} == set(map(str, paths))
    assert notable(findings(whole, repair=True)) == [] == findings(whole)
    assert not any(path.exists() or path.is_symlink() for path in paths)


def views(root: Path) -> Iterator[tuple[str, Callable[[], None], Path]]:
    current = root / (root / "current").readlink()
    yield "no link", (root / "current").unlink, root / "current"
    yield "no folder", lambda: shutil.rmtree(unlock(current)), root / "current"
    yield "other card", lambda: flip(unlock(current) / "version.json"), root / "current"
    yield "no canary", (root / "canary").unlink, root / "canary"
    yield "version", (root / "versions" / "000002").unlink, root / "versions" / "000002"
    removed = root / "versions" / "000003"
    yield "removed version", lambda: removed.symlink_to("../artifacts/x"), removed
    other = root / "versions" / "000001"

    def elsewhere() -> None:
        other.unlink()
        other.symlink_to("../artifacts/nowhere")

    yield "elsewhere", elsewhere, other


def unlock(folder: Path) -> Path:
    folder.chmod(0o755)
    return folder


def test_views_are_made_again(whole: Store) -> None:
    cases = [name for name, _, _ in views(whole.root)]
    for case in cases:
        _, damage, path = next(found for found in views(whole.root) if found[0] == case)
        damage()
        found = only(findings(whole))
        assert (found.kind, found.name, found.severity) == (Kind.VIEW, str(path), Severity.WARNING), case
        assert notable(findings(whole, repair=True)) == [], case
        assert findings(whole) == [], case


def test_an_old_view_is_harmless_and_said(whole: Store, tmp_path: Path) -> None:
    old = whole.root / (whole.root / "current").readlink()
    publish(whole, tmp_path, "sixth")
    whole.append(ShareChanged(rollout=4, share=0.25), actor="test", reason="more")
    whole.refresh_views()
    assert findings(whole) == []
    flip(unlock(old) / "version.json")
    (found,) = findings(whole)
    assert (found.kind, found.severity, found.name) == (Kind.VIEW, Severity.INFO, str(old))
    findings(whole, repair=True)
    assert findings(whole) == [] and not old.exists()


# -- as a whole ----------------------------------------------------------------------------------------------


def every_file(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink())


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(data=st.data())
def test_a_flipped_bit_in_any_file_is_found_and_the_file_is_named(whole: Store, data: st.DataObject) -> None:
    nothing = (".tmp", ".reserve")  # passing, and room that holds nothing
    files = [path for path in every_file(whole.root) if not set(nothing) & set(path.parts)]
    path = data.draw(st.sampled_from(files))
    good = path.read_bytes()
    at = data.draw(st.integers(0, len(good) - 1))
    bit = data.draw(st.integers(0, 7))
    changed = bytearray(good)
    changed[at] ^= 1 << bit
    overwrite(path, bytes(changed))
    try:
        found = findings(Store.look(whole.root, clock=time.time, new_id=new_id))
        roles = [whole.root / role for role in ("current", "canary")]
        names = {str(path), *(str(role) for role in roles if path.parent.samefile(role))}
        assert names & {one.name for one in found}, (path, at, bit, found)
        if path.is_relative_to(whole.root / "artifacts"):
            digest = Digest(path.relative_to(whole.root / "artifacts").parts[0])
            with pytest.raises(Corrupt, match=path.name):
                open_store(whole.root).verify(digest)
    finally:
        overwrite(path, good)


def test_a_check_changes_nothing(whole: Store) -> None:
    flip(event(whole, 5))
    flip(whole.root / "artifacts" / digest_of(whole, 2) / "model.onnx")
    (whole.root / "current").unlink()

    def picture() -> dict[str, tuple[int, int]]:
        return {str(path): (path.lstat().st_mtime_ns, path.lstat().st_size) for path in whole.root.rglob("*")}

    before = picture()
    assert notable(findings(Store.look(whole.root, clock=time.time, new_id=new_id)))
    assert picture() == before


def test_a_check_can_be_cancelled(whole: Store) -> None:
    def step(_what: str, _size: int) -> None:
        raise Cancelled("enough")

    with pytest.raises(Cancelled):
        list(whole.check(step=step))


def test_where_no_store_is(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no store"):
        Store.look(tmp_path / "nothing", clock=time.time, new_id=new_id)
    assert not (tmp_path / "nothing").exists()


def test_what_is_read_is_told(whole: Store) -> None:
    told: dict[str, int] = {}

    def step(what: str, size: int) -> None:
        told[what] = size

    list(whole.check(step=step))
    assert decode(event(whole, 1).read_bytes(), "").event.seq == 1
    assert told["journal/0000000001.json"] == event(whole, 1).stat().st_size
    model = f"artifacts/{digest_of(whole, 2)}/model.onnx"
    assert told[model] == (whole.root / model).stat().st_size
