"""`serinus store copy` between real folders and a real S3 server: the backup, and its restore as a drill."""

import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from serinus.control.history import history
from serinus.core.errors import Conflict, SerinusError
from serinus.core.ids import Version
from serinus.rollout.events import ShareChanged
from serinus.rollout.policy import Policy
from serinus.rollout.state import State
from serinus.rollout.transitions import apply
from serinus.store import Store
from serinus.store.checking import Finding, Kind, Severity
from serinus.store.copying import Copied
from serinus.store.journal import Journal
from serinus.store.unfinished import MARK
from tests.store.drafts import frozen_slice, names, new_id
from tests.store.test_checking import digest_of, flip
from tests.store.test_golden import write_set
from tests.store.whole import fill, findings, freeze, ground_truth, notable, open_store, pass_by, publish

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def tmp_path(memory: Path) -> Path:
    return memory


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    return fill(open_store(folder / "models"), folder / "drafts").root


@pytest.fixture
def whole(pristine: Path, tmp_path: Path) -> Store:
    shutil.copytree(pristine, tmp_path / "models", symlinks=True)
    return open_store(tmp_path / "models")


def verified(store: Store) -> list[Finding]:
    """What a check of a copy says; beside a bucket nothing of this machine is looked at."""
    return list(store.check(here=not store.remote))


def same(one: Store, other: Store) -> bool:
    """What people and decisions see of it."""
    sets = [(found.name, found.digest, found.pairs) for found in one.golden_sets(verify=True)]
    assert sets == [(found.name, found.digest, found.pairs) for found in other.golden_sets(verify=True)]
    for rollout in range(1, one.state().rollouts + 1):
        assert one.last_frozen(rollout) == other.last_frozen(rollout)
    for record in one.state().versions.values():
        assert one.manifest(record.digest) == other.manifest(record.digest)
    return one.state() == other.state() and history(one) == history(other)


def sizes(copied: Copied) -> tuple[int, int, int, int]:
    return copied.events, copied.artifacts, copied.golden, copied.documents


def test_the_drill_from_a_disk_into_a_bucket_and_back(whole: Store, url: str, tmp_path: Path) -> None:
    bucket = open_store(tmp_path / "near", url)
    sent = whole.copy_to(bucket)
    assert sizes(sent) == (whole.state().seq, 4, 3, 15) and sent.left_out == ()
    assert verified(bucket) == []
    assert not any((tmp_path / "near" / "artifacts").iterdir()), "nothing of it stays on this machine"
    assert same(bucket, whole)

    restored = open_store(tmp_path / "restored")
    bucket.copy_to(restored)
    restored.refresh_views()
    assert verified(restored) == []
    assert same(restored, whole)
    for record in restored.state().versions.values():
        if record.state != "removed":
            restored.verify(record.digest)
    assert (restored.root / "current" / "version.json").read_bytes() == (
        whole.root / "current" / "version.json"
    ).read_bytes()

    restored.append(ShareChanged(rollout=4, share=0.1), actor="test", reason="life goes on")
    assert publish(restored, tmp_path / "more", "sixth") == Version(6)
    freeze(restored, 4, 2)
    restored.refresh_views()
    assert verified(restored) == []


def test_a_second_copy_sends_what_is_new(whole: Store, tmp_path: Path) -> None:
    backup = open_store(tmp_path / "backup")
    whole.copy_to(backup)
    assert sizes(whole.copy_to(backup)) == (0, 0, 0, 0)
    publish(whole, tmp_path / "more", "sixth")
    freeze(whole, 4, 3)
    whole.feedback.put(ground_truth(whole, 2.0), None)
    whole.remove_versions((Version(4),), actor="alice", reason="old")
    whole.collect()
    assert sizes(Copied.would_be(whole.lacking(backup))) == (2, 1, 0, 4)
    assert sizes(whole.copy_to(backup)) == (2, 1, 0, 4)
    assert ground_truth(whole, 2.0) in backup.feedback.of(digest_of(whole, 2)), "newer ground truth"
    assert backup.feedback.of(digest_of(whole, 2)) == whole.feedback.of(digest_of(whole, 2))
    backup.refresh_views()
    assert [(one.kind, one.severity) for one in verified(backup)] == [(Kind.REMOVED, Severity.INFO)]
    assert same(backup, whole)
    backup.collect()
    assert verified(backup) == [] and same(backup, whole)


def picture(root: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.lstat().st_mtime_ns, path.lstat().st_size) for path in (root, *root.rglob("*"))}


def test_nothing_is_written_to_the_source(whole: Store, tmp_path: Path) -> None:
    before = picture(whole.root)
    source = Store.look(whole.root, clock=time.time, new_id=new_id)
    source.copy_to(open_store(tmp_path / "backup"))
    assert picture(whole.root) == before


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Where another user may look; pytest's own folders are closed to them."""
    with tempfile.TemporaryDirectory(prefix="serinus-test-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)
        for path in Path(folder).rglob("*"):
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o755)


def test_a_source_that_nobody_may_write_is_copied(whole: Store, open_folder: Path) -> None:
    """By a user without rights, in a process of its own."""
    source, target = open_folder / "source", open_folder / "theirs"
    shutil.copytree(whole.root, source, symlinks=True)
    for path in (source, *source.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o555 if path.is_dir() else 0o444)
    target.mkdir()
    target.chmod(0o777)
    script = (
        "import os, sys, time; from pathlib import Path; from serinus.store import Store\n"
        "if os.getuid() == 0: os.setuid(65534)\n"
        "from uuid import uuid4; new = lambda: uuid4().hex\n"
        "s = Store.look(Path(sys.argv[1]), clock=time.time, new_id=new)\n"
        "t = Store.open(Path(sys.argv[2]) / 'copy', clock=time.time, new_id=new)\n"
        "print(s.copy_to(t).events, [f.words for f in t.check()])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(source), str(target)],
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{whole.state().seq} ")


def test_another_history_is_refused(whole: Store, tmp_path: Path) -> None:
    other = fill(open_store(tmp_path / "other"), tmp_path / "drafts")
    before = picture(other.root)
    with pytest.raises(Conflict, match="another history"):
        whole.copy_to(other)
    assert picture(other.root) == before
    backup = open_store(tmp_path / "backup")
    whole.copy_to(backup)
    backup.append(ShareChanged(rollout=4, share=0.1), actor="test", reason="somebody served from it")
    with pytest.raises(Conflict, match="is ahead"):
        whole.copy_to(backup)
    whole.append(ShareChanged(rollout=4, share=0.2), actor="test", reason="meanwhile")
    with pytest.raises(Conflict, match="another history"):
        whole.copy_to(backup)


@pytest.mark.parametrize("kind", ["policies/short", "golden/storm"])
def test_another_edition_in_the_copy_is_named_and_stays(whole: Store, tmp_path: Path, kind: str) -> None:
    backup, other = open_store(tmp_path / "backup"), open_store(tmp_path / "other")
    whole.copy_to(backup)
    whole.copy_to(other)
    edition = whole.root / kind / "0000000003.json"
    there = backup.root / kind / edition.name
    for store, actor in ((whole, "alice"), (other, "bob")):
        if kind.startswith("policies"):
            store.put_policy(Policy(name="short"), actor=actor, reason="third")
        else:
            store.add_golden("storm", write_set(tmp_path / actor, dataset=actor), actor=actor)
    # Its event did not come along: histories that differ are refused as a whole.
    shutil.copytree(other.root / kind, there.parent, dirs_exist_ok=True)
    theirs = there.read_bytes()
    copied = whole.copy_to(backup)
    assert there.read_bytes() == theirs
    assert [str(edition) in words and str(there) in words for words in copied.conflicts] == [True]
    flip(there)
    assert whole.copy_to(backup).conflicts == (), "damage is what the check names"
    assert [one.name for one in notable(verified(backup)) if one.severity is Severity.ERROR] == [str(there)]
    flip(there)
    flip(edition)
    copied = whole.copy_to(backup)
    assert [str(edition) in words for words in copied.left_out] == [True]
    assert there.read_bytes() == theirs


def test_other_evidence_in_the_copy_is_refused(whole: Store, tmp_path: Path) -> None:
    backup = open_store(tmp_path / "backup")
    whole.copy_to(backup)
    last = whole.last_frozen(4)
    assert last is not None
    for store, successes in ((whole, 50), (backup, 60)):
        assert store.freeze(frozen_slice(4, last.k + 1, last.digest, successes=successes))
    before = picture(backup.root)
    with pytest.raises(Conflict, match=r"evidence/4/0000000002\.json is other evidence"):
        whole.copy_to(backup)
    assert picture(backup.root) == before


def test_what_is_damaged_is_named_and_the_rest_is_copied(whole: Store, tmp_path: Path) -> None:
    model = whole.root / "artifacts" / digest_of(whole, 4) / "model.onnx"
    picture_ = next((whole.root / "golden" / "flood").rglob("*.png"))
    flip(model)
    flip(picture_)
    backup = open_store(tmp_path / "backup")
    copied = whole.copy_to(backup)
    assert len(copied.left_out) == 2
    assert str(model) in copied.left_out[0] and picture_.name in copied.left_out[1]
    backup.refresh_views()
    missing = {one.name for one in notable(verified(backup))}
    assert missing == {
        str(backup.root / path.relative_to(whole.root)) for path in (model.parent, picture_.parents[1])
    }
    assert backup.state() == whole.state()


def test_a_damaged_journal_is_not_copied_beyond_the_damage(whole: Store, tmp_path: Path) -> None:
    flip(whole.root / "journal" / "0000000005.json")
    shutil.rmtree(whole.root / "journal" / "snapshots")
    with pytest.raises(SerinusError, match=r"0000000005\.json"):
        open_store(whole.root).copy_to(open_store(tmp_path / "backup"))


COPY = (
    "import sys, threading\n"
    "from pathlib import Path\n"
    "from tests.store.whole import open_store\n"
    "source, root, url = sys.argv[1:]\n"
    "lock = threading.Lock()\n"
    "def step(what, size):\n"
    "    with lock:\n"
    "        print(what, flush=True)\n"
    "        sys.stdin.readline()\n"
    "open_store(Path(source)).copy_to(open_store(Path(root), url, may_be_unfinished=True), step=step)\n"
    "print('done', flush=True)\n"
)


@pytest.mark.parametrize("place", ["disk", "bucket"])
def test_a_copy_that_is_killed_goes_on(whole: Store, url: str, tmp_path: Path, place: str) -> None:
    """kill -9 after ever more steps of ever more copies: each leaves a store, and the last one ends."""
    address = url if place == "bucket" else ""
    kept = 0
    for allowed in (2, 9, 17, 30, 42):
        child = subprocess.Popen(
            [sys.executable, "-c", COPY, str(whole.root), str(tmp_path / "copy"), address],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdin is not None and child.stdout is not None
        try:
            for _ in range(allowed):
                if not child.stdout.readline() or child.poll() is not None:
                    break
                child.stdin.write("on\n")
                child.stdin.flush()
        except BrokenPipeError:
            pass
        finally:
            child.send_signal(signal.SIGKILL)
            child.communicate()
        copy = open_store(tmp_path / "copy", address, may_be_unfinished=True)
        errors = [one for one in verified(copy) if one.severity is Severity.ERROR]
        assert {one.kind for one in errors} <= {Kind.MISSING, Kind.UNFINISHED}, errors
        assert copy.state().seq >= kept
        kept = copy.state().seq
        if copy.state().seq > 0:
            assert copy.state() in states(whole)
    copy = open_store(tmp_path / "copy", address, may_be_unfinished=True)
    whole.copy_to(copy)
    if not copy.remote:
        copy.refresh_views()
    assert not copy.backend.exists(MARK)
    assert notable(verified(copy)) == []
    assert same(copy, whole)


def states(store: Store) -> list[object]:
    found: list[object] = []
    state = State()
    journal = Journal(store.backend)
    while (entry := journal.read(state.seq + 1)) is not None:
        state = apply(state, entry.event, entry.digest)
        found.append(state)
    return found


class Writers:
    """Everything that happens to a store in use, until it is stopped."""

    def __init__(self, root: Path, drafts: Path) -> None:
        self._stop = threading.Event()
        self.errors: list[BaseException] = []
        self.rounds = 0
        self._threads = [
            threading.Thread(target=self._work, args=(open_store(root), drafts / name, work))
            for name, work in (("a", self._decide), ("b", self._train), ("c", self._replicate))
        ]

    def __enter__(self) -> "Writers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        assert not self.errors, self.errors

    def _work(self, store: Store, drafts: Path, work: object) -> None:
        n = 0
        try:
            while not self._stop.is_set():
                n += 1
                work(store, drafts, n)  # type: ignore[operator]
                self.rounds += 1
                self._stop.wait(0.05)  # leaves the machine to those who are tested
        except BaseException as error:  # noqa: BLE001
            self.errors.append(error)

    def _decide(self, store: Store, _drafts: Path, n: int) -> None:
        store.append(ShareChanged(rollout=4, share=(n % 9 + 1) / 10), actor="controller", reason="step")
        freeze(store, 4, 1)
        pass_by(store)
        store.refresh_views()
        if n % 7 == 0:
            store.snapshot()

    def _train(self, store: Store, drafts: Path, n: int) -> None:
        version = publish(store, drafts, f"more {n}")
        if n % 8 == 0:  # a copy begins anew when something goes meanwhile
            old = Version(version - 2)
            try:
                store.remove_versions((old,), actor="alice", reason="old")
            except Conflict:
                return
            store.collect()

    def _replicate(self, store: Store, _drafts: Path, n: int) -> None:
        pass_by(store)
        store.forget_observations(keep=4, before=time.time())


def test_a_store_in_use_is_checked_and_copied(whole: Store, url: str, tmp_path: Path) -> None:
    """Neither sees an error that is none; each copy is a moment of the journal."""
    backup, bucket = open_store(tmp_path / "backup"), open_store(tmp_path / "near", url)
    with Writers(whole.root, tmp_path / "drafts") as writers:
        for _ in range(3):
            begun = writers.rounds
            found = findings(Store.look(whole.root, clock=time.time, new_id=new_id))
            assert [one for one in found if one.severity is Severity.ERROR] == []
            source = Store.look(whole.root, clock=time.time, new_id=new_id)
            for target in (backup, bucket):
                copied = source.copy_to(target)
                assert copied.left_out == ()
                assert [one for one in verified(target) if one.severity is Severity.ERROR] == []
                assert target.state().seq == copied.seq
            end = time.monotonic() + 30
            while writers.rounds < begun + 5 and time.monotonic() < end:
                time.sleep(0.01)
    every = states(whole)
    assert backup.state() in every and bucket.state() in every
    for target in (backup, bucket):
        whole.copy_to(target)
        assert same(target, whole)
        target.collect()
    backup.refresh_views()
    whole.refresh_views()
    assert notable(verified(backup)) == [] == notable(verified(bucket))
    assert notable(findings(whole)) == []
    assert names(backup.root / "journal") == names(whole.root / "journal")


# -- a check in a bucket -------------------------------------------------------------------------------------


def test_damage_in_a_bucket_is_named_and_healed_from_a_disk(whole: Store, url: str, tmp_path: Path) -> None:
    bucket = open_store(tmp_path / "near", url)
    whole.copy_to(bucket)
    digest = digest_of(whole, 2)
    keys = [
        "journal/0000000004.json",
        f"artifacts/{digest}/model.onnx",
        f"artifacts/{digest_of(whole, 1)}/manifest.json",
        "evidence/1/0000000001.json",
        "golden/flood/0000000001.json",
        f"removed/{digest_of(whole, 3)}.json",
    ]
    good = {key: bucket.backend.read(key) for key in keys}
    for key, data in good.items():
        assert data is not None
        bucket.backend.replace(key, data[:9] + bytes([data[9] ^ 1]) + data[10:], durable=True)
    gone = f"artifacts/{digest_of(whole, 5)}"
    bucket.backend.discard(gone)
    bucket.backend.replace("journal/notes.txt", b"mine", durable=True)

    found = notable(verified(open_store(tmp_path / "near", url)))
    wanted = {f"{url}/{key}" for key in (*keys, gone)}
    named = {one.name for one in found if one.severity is Severity.ERROR}
    assert named <= wanted
    assert len(named) >= 5, "what the events after the damaged one say is not known before it is healed"
    again = open_store(tmp_path / "near", url)
    assert notable(list(again.check(repair=True, other=whole, here=False))) == []
    again = open_store(tmp_path / "near", url)
    assert notable(verified(again)) == []
    assert all(again.backend.read(key) == data for key, data in good.items())
    aside = again.backend.files("lost+found")
    assert {name.partition("/")[2] for name in aside} == {*keys, "journal/notes.txt"}, "nothing is destroyed"


def test_a_damaged_local_copy_is_dropped(whole: Store, url: str, tmp_path: Path) -> None:
    bucket = open_store(tmp_path / "near", url)
    whole.copy_to(bucket)
    digest = digest_of(whole, 2)
    path = bucket.artifact(digest) / "model.onnx"
    bucket.golden_sets()
    bucket.refresh_views()
    assert findings(bucket) == []
    flip(path)
    (found,) = findings(bucket)
    assert (found.kind, found.name, found.severity) == (Kind.COPY, str(path), Severity.WARNING)
    assert notable(findings(bucket, repair=True)) == []
    assert not path.exists() and bucket.artifact(digest).is_dir()
    assert findings(bucket) == []


def test_a_local_copy_heals_the_bucket(whole: Store, url: str, tmp_path: Path) -> None:
    bucket = open_store(tmp_path / "near", url)
    whole.copy_to(bucket)
    digest = digest_of(whole, 2)
    bucket.artifact(digest)
    bucket.backend.replace(f"artifacts/{digest}/model.onnx", b"damaged", durable=True)
    (found,) = [one for one in findings(bucket) if one.severity is Severity.ERROR]
    assert found.name == f"{url}/artifacts/{digest}/model.onnx" and found.repairable
    findings(bucket, repair=True)
    assert [one for one in findings(bucket) if one.severity is Severity.ERROR] == []
