"""Kept answers, ground truth and their pictures: a changed byte is found, named and never used."""

import shutil
from pathlib import Path

import msgspec
import pytest

from serinus.artifact.files import sha256_bytes
from serinus.core.errors import Corrupt
from serinus.store import Store
from serinus.store.checking import Kind, Severity
from serinus.store.pictures import Pair
from serinus.store.predictions import Feedback
from tests.store.test_checking import digest_of, flip, only, overwrite, remove
from tests.store.whole import PAIR, fill, findings, judged, notable, open_store


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("judged")
    return fill(open_store(folder / "models"), folder / "drafts").root


@pytest.fixture
def whole(pristine: Path, tmp_path: Path) -> Store:
    shutil.copytree(pristine, tmp_path / "models", symlinks=True)
    return open_store(tmp_path / "models")


@pytest.fixture
def backup(pristine: Path, tmp_path: Path) -> Store:
    shutil.copytree(pristine, tmp_path / "backup", symlinks=True)
    return open_store(tmp_path / "backup")


def pictures(store: Store, folder: str = "feedback/pairs") -> Path:
    (path,) = (store.root / folder).glob("*.pictures")
    return path


def truth(store: Store, request_id: str) -> Feedback:
    found = store.feedback.of(digest_of(store, 2))
    return next(one for one in found if one.answered.request_id == request_id)


def truth_file(store: Store, request_id: str) -> Path:
    return store.root / "feedback" / digest_of(store, 2) / f"{sha256_bytes(request_id.encode())}.json"


def downgrade(store: Store) -> Path:
    """Lets answers and ground truth lie as older versions wrote them; gives the pictures of the latter."""
    new = pictures(store)
    old = new.with_name(f"{sha256_bytes(b'r-2')}.pair")
    new.rename(old)
    store.feedback.put(judged(store, "r-2"), None)
    assert b'"pictures":true' in truth_file(store, "r-2").read_bytes()
    kept = store.root / "predictions" / "infer-0-ab"
    pictures(store, "predictions/infer-0-ab").rename(kept / f"{sha256_bytes(b'r-3')}.pair")
    (kept / "0000000000.json").write_bytes(msgspec.json.encode([judged(store, "r-3").answered]))
    return old


# -- every byte ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["changed", "cut", "another's", "missing"])
def test_damaged_pictures_are_named_never_used_and_come_back(
    whole: Store, backup: Store, damage: str
) -> None:
    path = pictures(whole)
    good = path.read_bytes()
    if damage == "changed":
        flip(path, 40)
    elif damage == "cut":
        overwrite(path, good[:-1])
    elif damage == "another's":
        overwrite(path, msgspec.msgpack.encode(Pair(pre=b"another", post=b"pair")))
    else:
        remove(path)
    with pytest.raises(Corrupt, match=path.name) as raised:
        whole.feedback.pair(truth(whole, "r-2").answered)
    assert "--from" in raised.value.remedy
    found = only(findings(whole))
    assert (found.name, found.severity) == (str(path), Severity.ERROR)
    assert found.kind is (Kind.MISSING if damage == "missing" else Kind.CHANGED)
    assert only(findings(whole, repair=True)).name == str(path), "nothing to heal from"
    assert notable(findings(whole, repair=True, other=backup)) == [] == findings(whole)
    assert path.read_bytes() == good
    assert whole.feedback.pair(truth(whole, "r-2").answered) == PAIR


def test_damage_in_the_backup_is_not_restored(whole: Store, backup: Store) -> None:
    flip(pictures(whole))
    flip(pictures(backup))
    found = only(findings(whole, repair=True, other=backup))
    assert (found.kind, found.repaired) == (Kind.CHANGED, False)


def test_ground_truth_in_the_place_of_another_is_found(whole: Store, backup: Store) -> None:
    one, two = truth_file(whole, "r-1"), truth_file(whole, "r-2")
    overwrite(one, two.read_bytes())
    with pytest.raises(Corrupt, match=one.name):
        whole.feedback.of(digest_of(whole, 2))
    assert only(findings(whole)).name == str(one)
    assert notable(findings(whole, repair=True, other=backup)) == [] == findings(whole)


def test_pictures_that_come_again_replace_damaged_ones(whole: Store) -> None:
    flip(pictures(whole))
    whole.feedback.put(judged(whole, "r-4"), PAIR)
    assert findings(whole) == []


def test_damaged_answers_count_as_not_kept(whole: Store) -> None:
    flip(pictures(whole, "predictions/infer-0-ab"), 40)
    known = whole.predictions.find("r-3")
    assert known is not None and known[1] is None
    flip(whole.root / "predictions" / "infer-0-ab" / "0000000000.json", 40)
    assert whole.predictions.find("r-3") is None
    found = notable(findings(whole))
    assert {one.kind for one in found} == {Kind.TORN}
    assert {one.name for one in found} == {
        str(path) for path in (whole.root / "predictions" / "infer-0-ab").iterdir()
    }
    assert notable(findings(whole, repair=True)) == [] == findings(whole)


def test_pictures_that_were_not_kept_are_not_promised(whole: Store) -> None:
    whole.feedback.put(judged(whole, "r-5"), None)
    assert not truth(whole, "r-5").answered.pictures
    assert findings(whole) == []


def test_what_does_not_belong_here_is_named(whole: Store) -> None:
    strays = [
        whole.root / "feedback" / "notes.txt",
        whole.root / "feedback" / "pairs" / "notes.txt",
        whole.root / "predictions" / "infer-0-ab" / "notes.txt",
    ]
    for path in strays:
        path.write_text("mine")
    assert {one.name for one in notable(findings(whole))} == set(map(str, strays))
    assert notable(findings(whole, repair=True)) == [] == findings(whole)


# -- files of older versions ---------------------------------------------------------------------------------


def test_files_without_a_hash_are_read_and_said(whole: Store) -> None:
    downgrade(whole)
    assert whole.feedback.pair(truth(whole, "r-2").answered) == PAIR
    known = whole.predictions.find("r-3")
    assert known is not None and known[1] == PAIR
    found = findings(whole)
    assert {(one.kind, one.severity) for one in found} == {(Kind.UNSEALED, Severity.INFO)}
    assert {one.name for one in found} == {
        str(whole.root / "feedback" / "pairs"),
        str(whole.root / "predictions" / "infer-0-ab"),
    }
    assert [one.words.split()[0] for one in found] == ["1", "2"]


def test_a_file_without_a_hash_that_cannot_be_read_is_named(
    whole: Store, backup: Store, tmp_path: Path
) -> None:
    path = downgrade(whole)
    downgrade(backup)
    flip(path, 0)
    with pytest.raises(Corrupt, match=path.name):
        whole.feedback.pair(truth(whole, "r-2").answered)
    assert only(findings(whole)).name == str(path)
    assert notable(findings(whole, repair=True, other=backup)) == []
    assert whole.feedback.pair(truth(whole, "r-2").answered) == PAIR


def test_an_older_answer_is_judged_with_its_pictures_named(whole: Store) -> None:
    downgrade(whole)
    known = whole.predictions.find("r-3")
    assert known is not None
    whole.feedback.put(msgspec.structs.replace(judged(whole, "r-3"), answered=known[0]), known[1])
    assert truth(whole, "r-3").answered.pictures_sha256
    assert whole.feedback.pair(truth(whole, "r-3").answered) == PAIR


# -- copies --------------------------------------------------------------------------------------------------


def test_a_copy_never_replaces_good_pictures_with_bad(whole: Store, tmp_path: Path) -> None:
    target = open_store(tmp_path / "copy")
    assert whole.copy_to(target).left_out == ()
    good = pictures(target).read_bytes()
    overwrite(pictures(whole), good[:-7])
    whole.copy_to(target)
    assert pictures(target).read_bytes() == good
    fresh = open_store(tmp_path / "fresh")
    copied = whole.copy_to(fresh)
    assert [str(pictures(whole)) in words for words in copied.left_out] == [True]
    assert not list((fresh.root / "feedback" / "pairs").glob("*"))
    fresh.refresh_views()
    assert only(findings(fresh)).kind is Kind.MISSING, "ground truth names them"
    overwrite(pictures(whole), good)
    assert whole.copy_to(fresh).left_out == ()
    assert findings(fresh) == []


def test_pictures_without_a_hash_that_differ_are_a_conflict(whole: Store, tmp_path: Path) -> None:
    path = downgrade(whole)
    target = open_store(tmp_path / "copy")
    whole.copy_to(target)
    there = target.root / path.relative_to(whole.root)
    good = there.read_bytes()
    assert good == path.read_bytes()
    for other in (good[:-1] + b"x", msgspec.msgpack.encode(Pair(pre=b"", post=b"another"))):
        overwrite(path, other)
        copied = whole.copy_to(target)
        assert there.read_bytes() == good
        assert [str(there) in words and str(path) in words for words in copied.conflicts] == [True]


def test_newer_ground_truth_is_not_replaced_by_older(whole: Store, tmp_path: Path) -> None:
    target = open_store(tmp_path / "copy")
    whole.copy_to(target)
    target.feedback.put(judged(target, "r-2", time=9.0), None)
    file = truth_file(target, "r-2")
    newer = file.read_bytes()
    copied = whole.copy_to(target)
    assert file.read_bytes() == newer
    assert [str(file) in words for words in copied.conflicts] == [True]
    whole.feedback.put(judged(whole, "r-2", time=10.0, x=3.0), None)
    assert whole.copy_to(target).conflicts == ()
    assert truth(target, "r-2") == truth(whole, "r-2")


def test_damaged_ground_truth_is_neither_sent_nor_hidden(whole: Store, tmp_path: Path) -> None:
    target = open_store(tmp_path / "copy")
    whole.copy_to(target)
    good = truth_file(target, "r-2").read_bytes()
    flip(truth_file(whole, "r-2"), 30)
    copied = whole.copy_to(target)
    assert [str(truth_file(whole, "r-2")) in words for words in copied.left_out] == [True]
    assert truth_file(target, "r-2").read_bytes() == good
    overwrite(truth_file(whole, "r-2"), good)
    flip(truth_file(target, "r-2"), 30)
    copied = whole.copy_to(target)
    assert (copied.left_out, copied.conflicts) == ((), ())
    target.refresh_views()
    assert only(findings(target)).name == str(truth_file(target, "r-2"))
    assert notable(findings(target, repair=True, other=whole)) == [] == findings(target)
