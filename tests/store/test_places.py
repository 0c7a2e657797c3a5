"""A store's whole life, told the same way on a disk and in a bucket."""

import errno
import io
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from serinus.core.enums import Arm, ReasonCode, VersionState
from serinus.core.errors import Conflict, Corrupt, Misconfigured, NotFound
from serinus.core.ids import Version
from serinus.rollout.events import Promoted, RolledBack
from serinus.store import Address, Replica, Routes, Store
from serinus.store.local import Disk
from tests.store.drafts import (
    Ticks,
    frozen_slice,
    names,
    new_id,
    some_slice,
    start_canary,
    write_draft,
    write_set,
)
from tests.store.places import open_store
from tests.store.proxy import Proxy


def test_versions_are_published_once_and_read_by_all(
    one: Store, other: Store, draft: Path, tmp_path: Path
) -> None:
    assert one.publish(draft, note="base", actor="test", initial=True) == 1
    assert other.publish(draft, note="base", actor="test", initial=True) == 1
    assert other.publish(write_draft(tmp_path / "two", b"second"), note="second", actor="test") == 2
    assert one.publish(draft, note="base", actor="test") == 3
    for store in (one, other):
        state = store.state()
        assert (state.current, state.seq, len(state.versions)) == (1, 3, 3)
        first, second, again = (state.versions[Version(n)].digest for n in (1, 2, 3))
        assert again == first != second, "the same content is shared"
        store.verify(second)
        assert (store.artifact(second) / "model.onnx").read_bytes() == b"second"
        assert store.manifest(second).note == "second"
        assert [event.seq for event in store.events()] == [1, 2, 3]
        assert [event.seq for event in store.newest_events()] == [3, 2, 1]
        with pytest.raises(NotFound):
            store.artifact(type(first)("0" * 64))


def test_who_decides_on_an_old_state_is_refused(
    one: Store, other: Store, draft: Path, tmp_path: Path
) -> None:
    one.publish(draft, note="base", actor="test", initial=True)
    one.publish(write_draft(tmp_path / "two", b"second"), note="", actor="test")
    seq = other.state().seq
    rollout = start_canary(one, Version(2))
    promoted = Promoted(rollout=rollout, version=Version(2), code=ReasonCode.MANUAL, override=True)
    with pytest.raises(Conflict):
        other.append(promoted, actor="late", reason="", expect=seq)
    event = other.append(promoted, actor="in time", reason="", expect=other.state().seq)
    assert one.state().current == 2
    assert one.state().head == other.state().head
    assert next(one.newest_events()).id == event.id


def test_a_new_reader_starts_from_a_snapshot(place: str, one: Store, other: Store, draft: Path) -> None:
    one.publish(draft, note="base", actor="test", initial=True)
    snapshot = one.snapshot()
    assert other.state() == snapshot == one.state()


def test_evidence_has_one_slice_of_each_number(one: Store, other: Store) -> None:
    first = frozen_slice(1, 0, "")
    assert one.freeze(first)
    assert other.freeze(first), "that is what lies there"
    assert not other.freeze(frozen_slice(1, 0, "", successes=4))
    assert other.freeze(frozen_slice(1, 1, first.digest))
    with pytest.raises(Conflict):
        one.freeze(frozen_slice(1, 2, first.digest))
    last = one.last_frozen(1)
    assert last is not None and last.k == 1
    assert one.frozen(1, 0) == other.frozen(1, 0) == first
    assert one.last_frozen(2) is None


def test_observations_arrive_in_order_and_are_forgotten(one: Store, other: Store, clock: Ticks) -> None:
    for n in range(3):
        one.put_observation(1, "infer-a", n, some_slice(n))
        one.put_observation(1, "infer-b", n, some_slice(n))
    assert [(who, n) for who, n, _ in other.new_observations(1, {"infer-a": 1, "infer-b": 2})] == [
        ("infer-a", 2)
    ]
    assert [n for who, n, _ in other.new_observations(1, {}) if who == "infer-b"] == [0, 1, 2]
    other.forget_observations(keep=1, before=float("inf"))
    assert len(one.new_observations(1, {})) == 6
    other.forget_observations(keep=None, before=float("inf"))
    assert one.new_observations(1, {}) == []


def test_heartbeats_and_the_hint(one: Store, other: Store) -> None:
    assert one.routes() is None and one.replicas() == []
    one.put_replica(Replica(replica="infer-a", time=1.0, seq=1))
    one.put_replica(Replica(replica="infer-a", time=2.0, seq=2))
    other.put_replica(Replica(replica="infer-b", time=5.0, seq=2))
    assert [(each.replica, each.time) for each in one.replicas()] == [("infer-a", 2.0), ("infer-b", 5.0)]
    assert [each.replica for each in one.replicas(newer_than=2.0)] == ["infer-b"]
    other.remove_replica("infer-a")
    assert [each.replica for each in one.replicas()] == ["infer-b"]
    one.put_routes(Routes(seq=7))
    assert other.routes() == Routes(seq=7)


def test_golden_sets(one: Store, other: Store, tmp_path: Path) -> None:
    digest = one.add_golden("storms", write_set(tmp_path / "set"), actor="alice")
    (found,) = other.golden_sets(verify=True)
    assert (found.name, found.digest, len(found.pairs)) == ("storms", digest, 2)
    assert (found.path / found.pairs[0].post).read_bytes() == b"ds-000000000001 post 0"


def test_removed_versions_go_and_their_history_stays(
    one: Store, other: Store, draft: Path, tmp_path: Path
) -> None:
    one.publish(draft, note="base", actor="test", initial=True)
    one.publish(write_draft(tmp_path / "two", b"second"), note="second", actor="test")
    digest = one.state().versions[Version(2)].digest
    rollout = start_canary(one, Version(2))
    ended = RolledBack(rollout=rollout, version=Version(2), code=ReasonCode.MANUAL)
    one.append(ended, actor="test", reason="")
    other.artifact(digest)
    one.remove_versions((Version(2),), actor="test", reason="old")
    assert list(one.collect()) == [digest]
    assert one.state().versions[Version(2)].state is VersionState.REMOVED
    with pytest.raises(NotFound):
        one.artifact(digest)
    assert one.manifest(digest).note == "second"


def test_views_show_what_is_here(place: str, one: Store, other: Store, draft: Path, tmp_path: Path) -> None:
    one.publish(draft, note="base", actor="test", initial=True)
    one.publish(write_draft(tmp_path / "two", b"second"), note="second", actor="test")
    start_canary(one, Version(2))
    one.refresh_views()
    assert names(one.root / "versions") == ["000001", "000002"]
    assert (one.root / Arm.CANARY / "best.pt").read_bytes() == b"weights of second"
    other.refresh_views()
    if place:  # nothing was fetched there yet, and no link may dangle
        assert names(other.root / "versions") == []
        assert not (other.root / Arm.CURRENT).is_symlink()
    for record in other.state().versions.values():
        other.artifact(record.digest)
    other.refresh_views()
    assert names(other.root / "versions") == ["000001", "000002"]
    for role, weights in ((Arm.CURRENT, b"weights of graph"), (Arm.CANARY, b"weights of second")):
        assert (other.root / role / "best.pt").read_bytes() == weights
        assert (other.root / role / "version.json").read_bytes() == (
            one.root / role / "version.json"
        ).read_bytes()


# -- copies, where the store lies in a bucket ----------------------------------------------------------------


def test_the_old_current_stays_in_view_until_the_new_one_is_here(
    url: str, root: Path, draft: Path, tmp_path: Path
) -> None:
    one, other = open_store(root, url), open_store(tmp_path / "elsewhere", url)
    one.publish(draft, note="base", actor="test", initial=True)
    other.artifact(other.state().versions[Version(1)].digest)
    other.refresh_views()
    one.publish(write_draft(tmp_path / "two", b"second"), note="second", actor="test")
    rollout = start_canary(one, Version(2))
    other.refresh_views()
    assert not (other.root / "canary").is_symlink()
    one.append(
        Promoted(rollout=rollout, version=Version(2), code=ReasonCode.MANUAL, override=True),
        actor="test",
        reason="",
    )
    other.refresh_views()
    assert (other.root / "current" / "best.pt").read_bytes() == b"weights of graph"
    other.artifact(other.state().versions[Version(2)].digest)
    other.refresh_views()
    assert (other.root / "current" / "best.pt").read_bytes() == b"weights of second"


@pytest.mark.parametrize("name", ["model.onnx", "manifest.json", "training/results.csv"])
def test_a_damaged_copy_is_fetched_anew(url: str, root: Path, draft: Path, tmp_path: Path, name: str) -> None:
    one, other = open_store(root, url), open_store(tmp_path / "elsewhere", url)
    one.publish(draft, note="base", actor="test", initial=True)
    digest = one.state().versions[Version(1)].digest
    path = other.artifact(digest) / name
    right = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(bytes([right[0] ^ 1]) + right[1:])
    other.verify(digest)
    assert (other.artifact(digest) / name).read_bytes() == right
    assert open_store(other.root, url).manifest(digest) == one.manifest(digest)


def test_a_damaged_copy_of_a_golden_set_is_fetched_anew(url: str, root: Path, tmp_path: Path) -> None:
    one, other = open_store(root, url), open_store(tmp_path / "elsewhere", url)
    one.add_golden("storms", write_set(tmp_path / "set"), actor="alice")
    (found,) = other.golden_sets()
    picture = found.path / found.pairs[0].pre
    picture.chmod(0o644)
    picture.write_bytes(b"another")
    (found,) = other.golden_sets(verify=True)
    assert (found.path / found.pairs[0].pre).read_bytes() == b"ds-000000000001 pre 0"


def test_damage_in_the_bucket_is_named_and_never_kept(
    url: str, root: Path, draft: Path, tmp_path: Path
) -> None:
    one, other = open_store(root, url), open_store(tmp_path / "elsewhere", url)
    one.publish(draft, note="base", actor="test", initial=True)
    digest = one.state().versions[Version(1)].digest
    one.backend.replace(f"artifacts/{digest}/model.onnx", b"grapH", durable=True)
    with pytest.raises(Corrupt, match=f"^{url}/artifacts/{digest}/model.onnx is not what was published"):
        other.artifact(digest)
    assert names(other.root / "artifacts") == []
    assert (one.artifact(digest) / "model.onnx").read_bytes() == b"graph", "the copy is as it was"


def test_copies_stay_within_their_limit(url: str, root: Path, tmp_path: Path, clock: Ticks) -> None:
    one = open_store(root, url, clock=clock)
    for n in range(6):
        draft = write_draft(tmp_path / f"draft-{n}", bytes([n]) * 100_000)
        one.publish(draft, note="", actor="test", initial=n == 0)
    rollout = start_canary(one, Version(2))
    one.append(
        Promoted(rollout=rollout, version=Version(2), code=ReasonCode.MANUAL, override=True),
        actor="test",
        reason="",
    )
    start_canary(one, Version(3))
    digests = [one.state().versions[Version(n)].digest for n in range(1, 7)]
    other = open_store(tmp_path / "elsewhere", url, clock=clock, cache_bytes=900_000)
    for digest in digests:
        clock.now += 60
        other.artifact(digest)
    other.trim_copies()
    assert len(names(other.root / "artifacts")) == 6, "who asked lately may still be reading"
    clock.now += 3600
    other.artifact(digests[4])
    other.trim_copies()
    left = set(names(other.root / "artifacts"))
    assert left == {digests[n] for n in (0, 1, 2, 4)}, "previous, current, canary, and the last used"
    assert (other.artifact(digests[3]) / "model.onnx").stat().st_size == 100_000, "fetched anew when needed"


class FullDisk(Disk):
    """A volume on which so many bytes of transfers find room."""

    room = 0

    def open_to_append(self, path: Path) -> BinaryIO:
        return Full(super().open_to_append(path), self)


class Full(io.BufferedIOBase):
    def __init__(self, file: BinaryIO, disk: FullDisk) -> None:
        self._file, self._disk = file, disk

    def tell(self) -> int:
        return self._file.tell()

    def write(self, data: Any) -> int:
        self._disk.room -= len(data)
        if self._disk.room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._file.write(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def test_a_full_volume_keeps_nothing_half(url: str, root: Path, draft: Path, tmp_path: Path) -> None:
    one = open_store(root, url)
    one.publish(draft, note="base", actor="test", initial=True)
    digest = one.state().versions[Version(1)].digest
    disk = FullDisk(tmp_path / "elsewhere", new_id)
    disk.room = 20
    other = open_store(tmp_path / "elsewhere", url, disk=disk)
    with pytest.raises(Misconfigured, match=r"Could not keep a copy in .*elsewhere. The volume is full"):
        other.verify(digest)
    assert names(other.root / "artifacts") == []
    disk.room = 10**9
    other.verify(digest)


def test_two_processes_on_one_folder_fetch_once(url: str, root: Path, tmp_path: Path, proxy: Proxy) -> None:
    one = open_store(root, url)
    one.publish(write_draft(tmp_path / "large", os.urandom(3_000_000)), note="", actor="test", initial=True)
    digest = one.state().versions[Version(1)].digest
    script = (
        "import sys; from pathlib import Path; from tests.store.places import open_store\n"
        "store = open_store(Path(sys.argv[1]), sys.argv[2])\n"
        "sys.stdout.write('ready\\n'); sys.stdout.flush(); sys.stdin.readline()\n"
        "store.verify(sys.argv[3]); sys.stdout.write('verified')\n"
    )
    proxy.passed.clear()
    children = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path / "shared"), url, digest],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    try:
        for child in children:
            assert child.stdout is not None and child.stdout.readline() == "ready\n"
        said = [child.communicate("go\n", timeout=60) for child in children]
    finally:
        for child in children:
            child.kill()
            child.wait()
    assert [out for out, _ in said] == ["verified"] * 3, said
    assert sum(each.down for each in proxy.passed if "/model.onnx" in each.path) == 3_000_000
    assert names(tmp_path / "shared" / "artifacts") == [digest]


def test_who_only_looks_fetches_what_it_needs(url: str, root: Path, tmp_path: Path) -> None:
    """On a machine where nothing was opened before."""
    store = open_store(root, url)
    store.add_golden("storm", write_set(tmp_path / "golden"), actor="test")
    bucket = Address(url, patience=10.0, allow_http=True)
    fresh = Store.look(tmp_path / "fresh", clock=time.time, new_id=new_id, bucket=bucket, must_exist=False)
    assert [found.name for found in fresh.golden_sets()] == ["storm"]
