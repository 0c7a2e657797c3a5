"""The gallery in a folder and in a bucket: ranking, limits, marks, damage, copies."""

import time
from pathlib import Path

import msgspec
import pytest

from serinus.core.errors import Corrupt, NotFound
from serinus.evidence.pairs import PairCounts
from serinus.store import GalleryFile, Mark, Store
from serinus.store.checking import Kind
from serinus.store.gallery import Limits, pair_sha256, rank_of
from tests.store.drafts import new_id
from tests.store.test_checking import flip
from tests.store.whole import disagreement, fill, findings, notable, open_store

LIMITS = Limits(items=3, bytes=1_000_000)


def put(
    store: Store, name: str, f1: float, boxes: int = 1, *, size: int = 1000, picture: str | None = None
) -> None:
    files = {kind: f"{kind} of {name}".encode() + bytes(size) for kind in GalleryFile}
    item = disagreement(name, f1, boxes)
    item = msgspec.structs.replace(item, pair_sha256=pair_of(name if picture is None else picture))
    store.gallery.put(item, files, LIMITS)


def pair_of(picture: str) -> str:
    return pair_sha256(b"before", picture.encode())


def names(store: Store) -> list[str]:
    found = [store.gallery.get(1, name) for name in store.gallery.ids(1)]
    return [item.answered.request_id for item in found if item is not None]


def test_the_worst_stay_whoever_writes(one: Store, other: Store) -> None:
    put(one, "mild", 0.9)
    put(other, "bad", 0.4)
    put(one, "worse", 0.1)
    put(other, "large", 0.4, 5)
    assert names(one) == names(other) == ["worse", "large", "bad"]
    assert not one.gallery.wants(1, rank_of(0.4, 2), pair_of("new"), LIMITS)
    assert one.gallery.wants(1, rank_of(0.2, 2), pair_of("new"), LIMITS)
    assert one.gallery.wants(2, rank_of(0.9, 2), pair_of("new"), LIMITS)
    assert len(one.backend.files("gallery/1")) == 3 * 5, "what went left no file"
    (worst, *_) = one.gallery.ids(1)
    for kind in GalleryFile:
        data = other.gallery.file(1, worst, kind)
        assert data is not None and data.startswith(f"{kind} of worse".encode())


def test_a_picture_that_is_sent_again_and_again_is_there_once(one: Store, other: Store) -> None:
    put(one, "another", 0.9)
    for number, f1 in enumerate((0.5, 0.3, 0.3, 0.7, 0.3)):
        put((one, other)[number % 2], f"again-{number}", f1, size=1000 * number, picture="resent")
    assert len(names(one)) == 2 and names(one) == names(other)
    assert names(one)[0] in ("again-1", "again-2", "again-4") and names(one)[1] == "another"
    assert len(one.backend.files("gallery/1")) == 2 * 5, "what went left no file"
    assert not one.gallery.wants(1, rank_of(0.3, 2), pair_of("resent"), LIMITS)
    put(one, "mild", 0.95)
    assert one.gallery.wants(1, rank_of(0.3, 3), pair_of("resent"), LIMITS), "it takes its own place"
    assert not one.gallery.wants(1, rank_of(0.3, 1), pair_of("resent"), LIMITS)


def test_what_two_replicas_kept_of_a_picture_at_once_is_listed_once(one: Store, other: Store) -> None:
    put(one, "mild", 0.6, picture="resent")
    kept = {key: one.backend.read(key) for key in (f"gallery/1/{n}" for n in one.backend.names("gallery/1"))}
    put(other, "worse", 0.2, picture="resent")
    for key, data in kept.items():
        assert data is not None
        one.backend.replace(key, data, durable=False)  # as one that looked before the other had written
    assert names(one) == names(other) == ["worse"]


def test_a_dismissed_picture_stays_dismissed_when_a_worse_answer_takes_its_place(one: Store) -> None:
    put(one, "mild", 0.6, picture="clouds")
    (name,) = one.gallery.ids(1)
    said = Mark(dismissed=True, actor="alice", time=2.0)
    one.gallery.mark(1, name, said)
    put(one, "worse", 0.2, picture="clouds")
    (name,) = one.gallery.ids(1)
    assert names(one) == ["worse"] and one.gallery.mark_of(1, name) == said


def test_bytes_are_limited_too(one: Store) -> None:
    for name, f1 in (("a", 0.1), ("b", 0.2), ("c", 0.3)):
        put(one, name, f1, size=100_000)
    assert names(one) == ["a", "b"]


def test_what_a_person_says_stays(one: Store) -> None:
    put(one, "a", 0.1)
    (name,) = one.gallery.ids(1)
    assert one.gallery.mark_of(1, name) is None
    for dismissed in (True, False):
        said = Mark(dismissed=dismissed, actor="alice", time=2.0)
        one.gallery.mark(1, name, said)
        assert one.gallery.mark_of(1, name) == said
    for wrong in ("../../journal/0000000001", name.replace("0100", "0101"), ""):
        assert one.gallery.get(1, wrong) is None
        with pytest.raises(NotFound):
            one.gallery.mark(1, wrong, said)


def test_it_is_forgotten_with_age(one: Store) -> None:
    put(one, "a", 0.1)
    one.gallery.forget(keep=1, before=float("inf"))
    one.gallery.forget(keep=None, before=time.time() - 3600)
    assert names(one) == ["a"]
    one.gallery.forget(keep=None, before=float("inf"))
    assert one.backend.files("gallery") == {}


def test_pairs_are_reported_and_forgotten_like_slices(one: Store) -> None:
    for n in range(2):
        one.put_pairs(1, "infer-a", n, PairCounts(f1={20: n + 1}))
    assert one.new_pairs(1, {"infer-a": 0}) == [("infer-a", 1, PairCounts(f1={20: 2}))]
    assert one.new_observations(1, {}) == []
    one.forget_observations(keep=None, before=float("inf"))
    assert one.new_pairs(1, {}) == []


def test_a_changed_byte_is_named_and_healed(tmp_path: Path) -> None:
    store = fill(open_store(tmp_path / "models"), tmp_path / "drafts")
    put(store, "a", 0.1)
    put(store, "b", 0.2)
    for name in store.gallery.ids(1):
        store.gallery.mark(1, name, Mark(dismissed=True, actor="alice", time=2.0))
    store.put_pairs(1, "infer-0-ab", 0, PairCounts(f1={20: 1}))
    copy = open_store(tmp_path / "copy")
    assert store.copy_to(copy).left_out == ()
    copy.refresh_views()
    assert copy.backend.files("gallery") == store.backend.files("gallery")
    assert notable(findings(store)) == notable(findings(copy)) == []
    assert store.copy_to(copy).bytes < 2000, "what is there is not sent again"

    first, second = store.gallery.ids(1)
    folder = store.root / "gallery" / "1"
    for damaged in (f"{first}.current", f"{second}.json", f"{second}.mark"):
        data = (folder / damaged).read_bytes()
        (folder / damaged).unlink()
        (folder / damaged).write_bytes(data[:5] + bytes([data[5] ^ 1]) + data[6:])
    (folder / "stranger").write_bytes(b"?")
    with pytest.raises(Corrupt):
        store.gallery.file(1, first, GalleryFile.CURRENT)
    with pytest.raises(Corrupt):
        store.gallery.get(1, second)
    found = {(Path(finding.name).name, finding.kind) for finding in notable(findings(store))}
    assert found == {
        (f"{first}.current", Kind.CHANGED),
        (f"{second}.json", Kind.CHANGED),
        (f"{second}.mark", Kind.CHANGED),
        ("stranger", Kind.EXTRA),
    }
    assert notable(findings(store, repair=True, other=copy)) == []
    assert names(store) == ["a", "b"] and store.gallery.file(1, first, GalleryFile.CURRENT)

    (folder / f"{first}.canary").unlink()
    assert notable(findings(store, repair=True)) == [], "without a copy it is put aside"
    assert names(store) == ["b"]


def test_a_copy_leaves_out_damage_and_replaces_no_later_word(tmp_path: Path) -> None:
    store = fill(open_store(tmp_path / "models"), tmp_path / "drafts")
    put(store, "a", 0.1)
    put(store, "b", 0.2)
    first, second = store.gallery.ids(1)
    folder = store.root / "gallery" / "1"
    for path in (folder / f"{first}.current", folder / f"{second}.json"):
        flip(path)
    (folder / f"{first}.canary").unlink()
    copy = open_store(tmp_path / "copy")
    for _ in range(2):
        left_out = store.copy_to(copy).left_out
        assert [
            any(name in words for words in left_out)
            for name in (f"{first}.current", f"{first}.canary", f"{second}.json")
        ] == [True] * 3
        assert copy.gallery.ids(1) == [first]
        assert not {f"1/{first}.current", f"1/{first}.canary"} & copy.backend.files("gallery").keys()
        assert not any(second in name for name in copy.backend.files("gallery"))
    flip(folder / f"{first}.current")
    store.copy_to(copy)
    assert copy.gallery.file(1, first, GalleryFile.CURRENT), "it goes once it is whole again"

    for place, time_ in ((store, 1.0), (copy, 2.0)):
        place.gallery.mark(1, first, Mark(dismissed=True, actor="alice", time=time_))
    said = copy.gallery.mark_of(1, first)
    (words,) = store.copy_to(copy).conflicts
    assert f"{first}.mark" in words and copy.gallery.mark_of(1, first) == said
    store.gallery.mark(1, first, Mark(dismissed=False, actor="bob", time=3.0))
    assert store.copy_to(copy).conflicts == ()
    assert copy.gallery.mark_of(1, first) == store.gallery.mark_of(1, first)
    flip(copy.root / "gallery" / "1" / f"{first}.mark")
    damaged = (copy.root / "gallery" / "1" / f"{first}.mark").read_bytes()
    store.copy_to(copy)
    assert (copy.root / "gallery" / "1" / f"{first}.mark").read_bytes() == damaged, "the check names it"


def test_a_new_id_is_no_path(one: Store) -> None:
    """Request ids come from clients."""
    put(one, "../../../" + new_id(), 0.1)
    (name,) = one.gallery.ids(1)
    assert "/" not in name and "." not in name
