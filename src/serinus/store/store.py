"""The store as every other room sees it: one object over one place, a folder or a bucket."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from serinus.artifact.manifest import Manifest
from serinus.core.enums import Named
from serinus.core.errors import Corrupt, Misconfigured, NotFound, Unavailable, Unwritable
from serinus.core.ids import Clock, Digest, NewId, Version
from serinus.rollout.events import Body, Event
from serinus.rollout.policy import Policy
from serinus.rollout.state import State
from serinus.store import checking, copying, opening, unfinished, witness
from serinus.store.backend import Backend, Moved, ignore
from serinus.store.bucket import Bucket
from serinus.store.cache import Cache
from serinus.store.checking.findings import Finding
from serinus.store.checking.ground import Ground, Step, unseen
from serinus.store.client import Address, connect
from serinus.store.editions import Editions
from serinus.store.folder import Folder
from serinus.store.gallery import Gallery
from serinus.store.golden import GoldenSet, GoldenSets
from serinus.store.incoming import Incoming
from serinus.store.journal import Journal, decode_snapshot, encode_snapshot
from serinus.store.local import Disk, volume_errors
from serinus.store.patience import Patience
from serinus.store.policies import Policies, PolicyRecord
from serinus.store.predictions import Feedbacks, Predictions
from serinus.store.publish import Artifacts, Sign, key
from serinus.store.registry import Registry
from serinus.store.reports import Reports
from serinus.store.views import Views

_SWEEP_AFTER_SECONDS = 3600.0
CACHE_BYTES = 20 * 10**9


class Store(Reports):
    """The registry. Thread-safe; any number of processes may share one.

    Use `Store.open`; the plain constructor touches nothing and expects a root that was opened before.
    """

    def __init__(
        self,
        root: Path,
        *,
        clock: Clock,
        new_id: NewId,
        disk: Disk | None = None,
        bucket: Address | None = None,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self._clock = clock
        self._new_id = new_id
        self._disk = disk or Disk(root, new_id)
        backend: Backend = Folder(root, self._disk)
        if bucket is not None:
            cache = Cache(root, self._disk, limit=cache_bytes, clock=clock)
            patience = Patience(
                f"The store {bucket.url}", bucket.patience, clock=clock, waiting=bucket.waiting
            )
            backend = Bucket(connect(bucket), bucket.url, self._disk, cache, patience)
        super().__init__(root, backend)
        self._unchecked = False
        self.unwritable: Unwritable | None = None
        """Why nothing could be written when it was opened; what is there can be read all the same."""
        self._journal = Journal(self.backend)
        self._artifacts = Artifacts(self.backend)
        self._last_state = witness.last_state(root, self.backend)
        self._registry = Registry(
            self.backend,
            self._journal,
            self._artifacts,
            root,
            clock=clock,
            new_id=new_id,
            before=self._check_place,
        )
        self.predictions = Predictions(self.backend)
        """Answers that were given, kept for a while."""
        self.feedback = Feedbacks(self.backend)
        """Ground truth that came later."""
        self.gallery = Gallery(self.backend)
        """The pictures that both versions of a rollout disagree on most."""
        self.incoming = Incoming(root, self._disk, new_id)
        """Models that somebody else left in MODEL_DIR."""
        editions = partial(Editions, backend=self.backend, journal=self._journal, registry=self._registry)
        self._golden = GoldenSets(self.backend, editions(Named.GOLDEN), clock=clock, new_id=new_id)
        self._policies = Policies(editions(Named.POLICY), clock=clock, new_id=new_id)
        self._views = Views(
            root,
            self._disk,
            new_id=new_id,
            manifest=self._artifacts.manifest,
            here=lambda digest: self._artifacts.copy(digest) is not None,
        )

    @classmethod
    def open(
        cls,
        root: Path,
        *,
        clock: Clock,
        new_id: NewId,
        disk: Disk | None = None,
        bucket: Address | None = None,
        cache_bytes: int = CACHE_BYTES,
        may_be_away: bool = False,
        may_be_full: bool = False,
        may_be_unfinished: bool = False,
    ) -> "Store":
        """Makes the folders, tests the place, sweeps what killed writers left over an hour ago.

        `root`: MODEL_DIR. With `bucket` the store lies there, and `root` holds copies (up to `cache_bytes`)
        and the views. Raises Misconfigured when its volume lacks link, rename or symlink, or the server does
        not keep put-if-absent; Unwritable when the folder cannot be written, unless it `may_be_full` and a
        store is there (then `unwritable` says why); Unavailable when the server does not answer, unless it
        `may_be_away`: then it is tested before the first event is appended. Raises Misconfigured, too, where
        a copy was begun and is not finished, unless it `may_be_unfinished`, to go on with it.
        """
        store = cls(
            root.absolute(), clock=clock, new_id=new_id, disk=disk, bucket=bucket, cache_bytes=cache_bytes
        )
        store._refuse_two_stores(bucket)
        try:
            store._prepare(new_id)
        except Unwritable as error:
            if not (may_be_full and opening.is_there(store.root, remote=bucket is not None)):
                raise
            store.unwritable = error
        store._unchecked = bucket is not None
        try:
            store._check_place()
            if not may_be_unfinished:
                unfinished.refuse(store.backend)
        except Unavailable:
            if not may_be_away:
                raise
        return store

    def _prepare(self, new_id: NewId) -> None:
        before = self._clock() - _SWEEP_AFTER_SECONDS
        opening.prepare(self._disk, self.root, new_id, remote=self.remote, before=before)

    def _refuse_two_stores(self, bucket: Address | None) -> None:
        if bucket is not None and (self.root / "journal").exists():
            raise Misconfigured(
                f"{self.root} is a store of its own, and STORE_URL names another one.",
                remedy="Give MODEL_DIR a new folder for the copies; `serinus store copy` moves a store.",
            )

    def _check_place(self) -> None:
        if self._unchecked and isinstance(self.backend, Bucket):
            self.backend.check(self._new_id)
            self._unchecked = False

    @classmethod
    def look(
        cls,
        root: Path,
        *,
        clock: Clock,
        new_id: NewId,
        bucket: Address | None = None,
        cache_bytes: int = CACHE_BYTES,
        must_exist: bool = True,
    ) -> "Store":
        """A store to be read: makes nothing and tests nothing, so it may be read-only, and its volume full.

        One that is not there reads as empty, unless it `must_exist`: then it raises NotFound. Raises as
        `open` does when the server does not answer.
        """
        store = cls(root.absolute(), clock=clock, new_id=new_id, bucket=bucket, cache_bytes=cache_bytes)
        store._refuse_two_stores(bucket)
        if store.root.exists() and not store.root.is_dir():
            raise Misconfigured(f"{root} is no folder.", remedy="Give MODEL_DIR a folder.")
        if must_exist and not any(
            store.backend.names(folder) for folder in ("journal", "artifacts", "golden")
        ):
            opened = bucket is None and (store.root / "journal").is_dir()
            if not opened:
                raise NotFound(
                    f"There is no store in {bucket.url if bucket else root}.",
                    remedy="Give its folder, or s3://bucket/prefix.",
                )
        return store

    def was_begun(self) -> bool:
        """Whether anything happened here, or a copy into this place was begun. Constant cost."""
        try:
            return self._journal.read(1) is not None or bool(self.unfinished())
        except Corrupt:
            return True

    def unfinished(self) -> str:
        """Which copy into this place is not finished, in words; empty where none is."""
        return unfinished.words(self.backend)

    @property
    def remote(self) -> bool:
        """Whether the store lies elsewhere than in `root`."""
        return self.backend.remote

    @property
    def away_since(self) -> float | None:
        """Since when the place does not answer, UTC seconds; None while it does."""
        return self.backend.away_since

    # -- journal ---------------------------------------------------------------------------------------------

    def state(self) -> State:
        """The fold of all events so far; asks only for the next file when nothing is new.

        Raises Corrupt, naming the file, when the journal has a gap, a broken chain or a changed byte.
        """
        return self._journal.state()

    def confirm(self, state: State) -> None:
        """Raises Unavailable when the folder does not hold the journal that `state` was read from, as one
        whose volume is not mounted any more. One look; none beside a bucket, which answers for itself.
        """
        self._journal.confirm(state)

    def lost(self) -> bool:
        """Whether the newest part of the journal is known to be lost; says so, once, in the log. Reads names
        of all events.
        """
        return self._journal.lost()

    def events(self, after: int = 0) -> Iterator[Event]:
        """All events with a number above `after`, oldest first. Raises Corrupt as `state` does."""
        return self._journal.events(after)

    def newest_events(self) -> Iterator[Event]:
        """All events, the newest first, read as they are asked for. Raises Corrupt as `state` does."""
        return self._journal.backwards()

    def snapshot(self) -> State:
        """Writes the state of now for faster starts; gives it. Appending does so by itself now and then."""
        return self._journal.snapshot()

    def remember(self, state: State) -> None:
        """Keeps `state` on this machine for a start without the store, where it lies elsewhere."""
        if self.backend.remote:
            self._disk.replace(self._last_state, encode_snapshot(state), durable=False)

    def last_known(self) -> State | None:
        """What was remembered last; None when there is nothing usable."""
        path = self._last_state
        try:
            data = self._disk.read(path)
            return None if data is None else decode_snapshot(data, str(path))
        except Corrupt:
            return None

    def append(self, body: Body, *, actor: str, reason: str, expect: int | None = None) -> Event:
        """Appends one event, durably, and gives it as stored.

        `expect`: the `State.seq` that the decision rests on; Conflict when the journal has moved on. Without
        it a lost race is tried again on the new state. Raises Conflict when the state does not allow the
        event (nothing is written), InvalidInput when it cannot be stored, Unavailable after too many lost
        races.
        """
        return self._registry.append(lambda _: body, actor=actor, reason=lambda _: reason, expect=expect)

    # -- versions --------------------------------------------------------------------------------------------

    def publish(
        self,
        draft: Path,
        *,
        note: str,
        actor: str,
        initial: bool = False,
        source: str = "",
        sign: Sign = lambda manifest: manifest,
        moved: Moved = ignore,
    ) -> Version:
        """Copies a draft folder (see `serinus.artifact.validate`) into the store and gives it the next
        number.

        `initial`: only where no version exists yet; else the one that serves (or the first) is given back.
        `source`: id of the folder in `incoming/` that it was made of; a second publication of the same one,
        after a kill or by another process, gives back the version of the first.
        `sign`: gives the manifest its signature (`artifact.signing.Signer`).
        Raises InvalidInput for a bad draft, Misconfigured for a full or read-only volume.
        """
        return self._registry.publish(
            draft, note=note, actor=actor, initial=initial, source=source, sign=sign, moved=moved
        )

    def manifest(self, digest: Digest) -> Manifest:
        """Raises NotFound, or Corrupt when the file is not the one that gave the artifact its name."""
        return self._artifacts.manifest(digest)

    def manifest_bytes(self, digest: Digest) -> bytes:
        """The manifest's file, which is what is signed. Raises as `manifest` does."""
        return self._artifacts.manifest_bytes(digest)

    def artifact(self, digest: Digest) -> Path:
        """The artifact's local folder (read-only), fetched where the store lies elsewhere.

        Raises NotFound, and Corrupt when what was fetched is not what was published.
        """
        return self._artifacts.path(digest)

    def verify(self, digest: Digest) -> None:
        """Hashes every file of an artifact again. Raises NotFound, or Corrupt naming the file."""
        self._artifacts.verify(digest)

    def remove_versions(
        self, versions: tuple[Version, ...], *, actor: str, reason: str, expect: int | None = None
    ) -> Event:
        """Appends that these versions are removed; `collect` then takes their artifacts away.

        `expect`: the `State.seq` that the choice rests on. On a full volume it takes what was set aside for
        this. Raises Conflict, in words, for a version that is needed or when the journal has moved on;
        VolumeFull when not even this fits.
        """
        return self._registry.remove(versions, actor=actor, reason=reason, expect=expect)

    def collect(self, *, dry_run: bool = False) -> dict[Digest, int]:
        """Takes away what no version has, artifacts of removed ones and old orphans; gives their bytes."""
        return self._registry.collect(dry_run=dry_run)

    def artifact_size(self, digest: Digest) -> int:
        """Bytes that an artifact takes."""
        return self._artifacts.size(digest)

    def refresh_views(self) -> None:
        """Makes `versions/`, `current` and `canary` in MODEL_DIR say what the state says."""
        with volume_errors("write the views", self.root):
            self._views.refresh(self.state)

    def trim_copies(self) -> None:
        """Keeps the local copies within their limit, where the store lies elsewhere."""
        if self.backend.remote:
            state = self.state()
            needed = {state.current, state.previous, state.rollout and state.rollout.version}
            self.backend.trim_local(
                frozenset(key(state.versions[version].digest) for version in needed if version)
            )

    # -- golden sets -----------------------------------------------------------------------------------------

    def add_golden(self, name: str, source: Path, *, actor: str) -> Digest:
        """Copies a folder of `data.golden.export_golden`; `name` means it now. Raises InvalidInput."""
        with volume_errors("store the golden set", self.root):
            return self._golden.add(name, source, actor=actor)

    def golden_sets(self, *, verify: bool = False) -> list[GoldenSet]:
        """The newest set of each name. Raises Corrupt; with `verify` every picture is hashed."""
        return self._golden.list(verify=verify)

    # -- policies --------------------------------------------------------------------------------------------

    def put_policy(
        self, policy: Policy, *, actor: str, reason: str, expect: int | None = None
    ) -> PolicyRecord:
        """`policy.name` means this policy from now on. `expect`: see `Policies.put`.

        Raises InvalidInput, Conflict.
        """
        with volume_errors("store the policy", self.root):
            return self._policies.put(policy, actor=actor, reason=reason, expect=expect)

    def policy(self, name: str) -> PolicyRecord | None:
        """The newest edition, None when nobody set it. Raises Corrupt, naming a damaged file."""
        return self._policies.get(name)

    def policy_names(self) -> tuple[str, ...]:
        """Names that were set, sorted; the built-in ones are not among them."""
        return self._policies.names()

    def policy_history(self, name: str) -> list[PolicyRecord]:
        """All editions, oldest first. Raises Corrupt, naming a damaged file."""
        return self._policies.history(name)

    # -- as a whole ------------------------------------------------------------------------------------------

    def check(
        self,
        *,
        repair: bool = False,
        other: "Store | None" = None,
        here: bool = True,
        step: Step = unseen,
    ) -> Iterator[Finding]:
        """Reads everything; gives every finding, healed where `repair` could.

        `other`: a copy to heal from. `here`: whether the views, and beside a bucket the local copies, are
        looked at too. `step` is told what is read.
        """
        ground = self._ground(other=None if other is None else other.backend, here=here, step=step)
        return checking.check(ground, self._views, repair=repair)

    def accept_loss(self, *, actor: str, reason: str) -> tuple[Event, ...]:
        """Goes on without the newest events, which are lost; gives what was appended in their place.

        Raises Conflict when nothing is known to be lost. See `checking.tail`.
        """
        ground = self._ground(other=None, here=True, step=unseen)
        try:
            return checking.accept_loss(ground, self._journal, self._registry, actor=actor, reason=reason)
        finally:
            ground.close()

    def _ground(self, *, other: Backend | None, here: bool, step: Step) -> Ground:
        return Ground(
            self.backend,
            self._disk,
            root=self.root if here or not self.remote else None,
            other=other,
            now=self._clock(),
            new_id=self._new_id,
            step=step,
        )

    def copy_to(self, target: "Store", *, keep_local: bool = False, step: Step = unseen) -> copying.Copied:
        """Brings `target` up to what this one holds now; see `store.copying`. Writes nothing here."""
        with volume_errors("copy the store", target.root):
            return copying.copy(self, target, step=step, now=self._clock(), keep_local=keep_local)

    def lacking(self, target: "Store | None") -> copying.Plan:
        """What `copy_to` would send."""
        return copying.plan(self, target)
