import json
from pathlib import Path

import msgspec
import pytest

from serinus.artifact.files import sha256_bytes
from serinus.core.errors import Conflict, Corrupt, InvalidInput
from serinus.store import Store
from serinus.store.local import Disk
from serinus.store.sealed import seal, unseal
from tests.store.drafts import Ticks, frozen_slice, names, new_id, some_slice


def other(store: Store) -> Store:
    return Store(store.root, clock=Ticks(), new_id=new_id)


def freeze(store: Store, count: int, rollout: int = 1) -> None:
    prev = ""
    for k in range(count):
        frozen = frozen_slice(rollout, k, prev)
        assert store.freeze(frozen)
        prev = frozen.digest


def test_slices_chain_and_come_back_equal(store: Store) -> None:
    assert store.last_frozen(1) is None
    assert store.frozen(1, 0) is None
    freeze(store, 3)
    slices = [store.frozen(1, k) for k in range(3)]
    assert slices[1] is not None and slices[2] is not None
    assert slices[2].prev == slices[1].digest
    assert store.last_frozen(1) == slices[2] == other(store).last_frozen(1)
    assert store.frozen(1, 3) is None
    assert store.last_frozen(2) is None


def test_of_two_controllers_one_freezes_and_both_go_on_from_it(store: Store) -> None:
    freeze(store, 1)
    last = store.last_frozen(1)
    assert last is not None
    rival = other(store)
    assert rival.freeze(frozen_slice(1, 1, last.digest, time=2.0, successes=5))
    assert not store.freeze(frozen_slice(1, 1, last.digest, time=3.0, successes=4))
    assert store.last_frozen(1) == rival.last_frozen(1)
    found = store.frozen(1, 1)
    assert found is not None and found.time == 2.0


def test_a_last_slice_that_is_remembered_is_followed(store: Store) -> None:
    freeze(store, 2)
    watcher = other(store)
    last = watcher.last_frozen(1)
    assert last is not None and last.k == 1
    for k in (2, 3):
        frozen = frozen_slice(1, k, last.digest)
        assert store.freeze(frozen)
        last = frozen
    assert watcher.last_frozen(1) == last
    freeze(store, 1, rollout=2)
    assert watcher.last_frozen(2) == store.frozen(2, 0)
    assert watcher.last_frozen(1) == last


@pytest.mark.parametrize(("k", "prev"), [(0, "ab" * 32), (1, ""), (1, "ab" * 32), (5, "")])
def test_what_does_not_follow_is_refused(store: Store, k: int, prev: str) -> None:
    if k < 5:
        freeze(store, 1)
    with pytest.raises(Conflict, match=f"Slice {k} of rollout 1 does not follow"):
        store.freeze(frozen_slice(1, k, prev))


def test_a_newest_slice_that_was_lost_behind_its_reader_is_said(store: Store) -> None:
    """Not taken for another controller's win, which would be tried again for ever without a word."""
    first = frozen_slice(1, 0, "")
    assert store.freeze(first) and store.last_frozen(1) == first
    path = store.root / "evidence" / "1" / "0000000000.json"
    path.unlink()
    with pytest.raises(Corrupt, match=f"{path} is missing: this process has read it"):
        store.freeze(frozen_slice(1, 1, first.digest))
    fresh = Store(store.root, clock=Ticks(), new_id=new_id)
    assert fresh.last_frozen(1) is None and fresh.freeze(first)
    assert store.freeze(frozen_slice(1, 1, first.digest))


def test_numbers_that_json_cannot_hold_are_refused(store: Store) -> None:
    frozen = msgspec.structs.replace(frozen_slice(1, 0, ""), clock=float("nan"))
    with pytest.raises(InvalidInput, match="not finite"):
        store.freeze(frozen)
    assert store.last_frozen(1) is None


def test_a_flipped_byte_is_found_and_named(store: Store) -> None:
    freeze(store, 2)
    path = store.root / "evidence" / "1" / "0000000001.json"
    good = path.read_bytes()
    for position in range(0, len(good), 97):
        bad = bytearray(good)
        bad[position] ^= 4
        path.write_bytes(bad)
        with pytest.raises(Corrupt, match=str(path)):
            other(store).last_frozen(1)
    path.write_bytes(good)
    assert other(store).last_frozen(1) == store.frozen(1, 1)


def test_a_slice_in_another_place_is_refused(store: Store) -> None:
    freeze(store, 2)
    folder = store.root / "evidence" / "1"
    (folder / "0000000002.json").write_bytes((folder / "0000000001.json").read_bytes())
    with pytest.raises(Corrupt, match="holds slice 1 of rollout 1"):
        store.last_frozen(1)


def test_a_chain_that_was_changed_behind_a_reader_is_refused(store: Store, tmp_path: Path) -> None:
    freeze(store, 1)
    assert store.last_frozen(1) is not None
    forged = Store.open(tmp_path / "forged", clock=Ticks(), new_id=new_id)
    first = frozen_slice(1, 0, "", successes=9)
    forged.freeze(first)
    forged.freeze(frozen_slice(1, 1, first.digest))
    name = "evidence/1/0000000001.json"
    (store.root / name).write_bytes((forged.root / name).read_bytes())
    with pytest.raises(Corrupt, match="does not follow slice 0"):
        store.last_frozen(1)


def test_new_observations_per_replica(store: Store) -> None:
    for n in range(3):
        store.put_observation(1, "infer-0-ab", n, some_slice(n + 1))
    store.put_observation(1, "infer-1-cd", 7, some_slice(7, failures=2))
    store.put_observation(2, "infer-0-ab", 3, some_slice())
    assert store.new_observations(1, {}) == [
        ("infer-0-ab", 0, some_slice(1)),
        ("infer-0-ab", 1, some_slice(2)),
        ("infer-0-ab", 2, some_slice(3)),
        ("infer-1-cd", 7, some_slice(7, failures=2)),
    ]
    seen = {"infer-0-ab": 1, "infer-1-cd": 7, "gone-ef": 3}
    assert store.new_observations(1, seen) == [("infer-0-ab", 2, some_slice(3))]
    assert store.new_observations(3, {}) == []


class LaggingDisk(Disk):
    """A listing that runs while slices 2 and 3 appear: it misses the older and shows the newer one."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, new_id)
        self.lag = True

    def names(self, folder: Path) -> list[str]:
        found = super().names(folder)
        if folder.name == "infer-0-ab" and self.lag:
            self.lag = False
            return [name for name in found if name not in ("0000000002.json", "0000000004.json")]
        return found


def test_no_observation_is_lost_to_a_listing_that_lags(store: Store) -> None:
    for n in (0, 2, 3, 4):  # a power cut took 1
        store.put_observation(1, "infer-0-ab", n, some_slice(n + 1))
    lagging = Store(store.root, clock=Ticks(), new_id=new_id, disk=LaggingDisk(store.root))
    assert [n for _, n, _ in lagging.new_observations(1, {"infer-0-ab": 0})] == [2, 3]
    assert [n for _, n, _ in lagging.new_observations(1, {"infer-0-ab": 3})] == [4]


class NoListing(Disk):
    """Slices are not listed."""

    def names(self, folder: Path) -> list[str]:
        assert folder.name != "infer-0-ab"
        return super().names(folder)


def test_slices_in_a_row_are_found_by_their_names(store: Store) -> None:
    """A listing of all slices each second would cost more with every one of them."""
    for n in range(4):
        store.put_observation(1, "infer-0-ab", n, some_slice(n + 1))
    reader = Store(store.root, clock=Ticks(), new_id=new_id, disk=NoListing(store.root, new_id))
    assert [n for _, n, _ in reader.new_observations(1, {"infer-0-ab": 0})] == [1, 2, 3]
    with pytest.raises(AssertionError):
        reader.new_observations(1, {"infer-0-ab": 3})


def test_a_torn_observation_is_skipped_and_said(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    for n in range(3):
        store.put_observation(1, "infer-0-ab", n, some_slice())
    torn = store.root / "observations" / "1" / "infer-0-ab" / "0000000001.json"
    torn.write_bytes(b"")
    assert [n for _, n, _ in store.new_observations(1, {})] == [0, 2]
    assert str(torn) in caplog.text


@pytest.mark.parametrize("replica", ["", "../x", "a/b", ".hidden", "a b", "x" * 300, "a\n"])
def test_a_replica_name_is_no_path(store: Store, replica: str) -> None:
    with pytest.raises(InvalidInput, match="cannot name a replica"):
        store.put_observation(1, replica, 0, some_slice())
    with pytest.raises(InvalidInput, match="cannot name a replica"):
        store.remove_replica(replica)
    assert names(store.root / "observations") == []


def test_the_chain_holds_when_another_version_wrote_fewer_fields(store: Store) -> None:
    """A file is known by its bytes, not by how this version would write it."""
    store.freeze(frozen_slice(1, 0, ""))
    path = store.root / "evidence" / "1" / "0000000000.json"
    document = json.loads(unseal(path.read_bytes(), "old"))
    del document["ready"], document["tripped"]
    path.chmod(0o644)
    path.write_bytes(seal(json.dumps(document).encode()))
    old = sha256_bytes(path.read_bytes())
    fresh = Store(store.root, clock=Ticks(), new_id=new_id)
    first = fresh.last_frozen(1)
    assert first is not None and first.digest == old
    assert fresh.freeze(frozen_slice(1, 1, first.digest))
    again = Store(store.root, clock=Ticks(), new_id=new_id).last_frozen(1)
    assert again is not None and (again.k, again.prev) == (1, old)
