"""The store as every other room sees it: one object over one place, a folder or a bucket."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from serinus.artifact.manifest import Manifest
from serinus.core.errors import Conflict, Misconfigured, Unavailable
from serinus.core.ids import Clock, Digest, NewId, Version
from serinus.evidence.counts import Slice
from serinus.rollout.events import Body, Event, Published, Removed
from serinus.rollout.policy import Policy
from serinus.rollout.state import State
from serinus.store.backend import Backend, Moved, ignore
from serinus.store.bucket import Address, Bucket, connect
from serinus.store.cache import Cache
from serinus.store.folder import Folder
from serinus.store.frozen import FrozenEvidence, FrozenSlice
from serinus.store.golden import GoldenSet, GoldenSets
from serinus.store.heartbeats import Heartbeats, Replica, Routes
from serinus.store.journal import Journal
from serinus.store.local import Disk, volume_errors
from serinus.store.observations import Observations
from serinus.store.policies import Policies, PolicyRecord
from serinus.store.publish import Artifacts, key
from serinus.store.views import Views
from serinus.store.volume import check_volume

_FOLDERS = (
    "artifacts",
    "journal",
    "observations",
    "evidence",
    "replicas",
    "golden",
    "policies",
    "versions",
    "views",
    "incoming",
)
_LOCAL_FOLDERS = ("artifacts", "golden", "versions", "views", "incoming")
"""What MODEL_DIR holds when the store lies in a bucket: copies, and what is generated for people."""
_SWEEP_AFTER_SECONDS = 3600.0
_ORPHAN_SECONDS = 24 * 3600.0
_ATTEMPTS = 500
CACHE_BYTES = 20 * 10**9


class Store:
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
        self.root = root
        self._clock = clock
        self._new_id = new_id
        self._disk = disk or Disk(root, new_id)
        self.backend: Backend = Folder(root, self._disk)
        if bucket is not None:
            cache = Cache(root, self._disk, limit=cache_bytes, clock=clock)
            self.backend = Bucket(connect(bucket), bucket.url, self._disk, cache)
        self._journal = Journal(self.backend)
        self._artifacts = Artifacts(self.backend)
        self._observations = Observations(self.backend)
        self._evidence = FrozenEvidence(self.backend)
        self._heartbeats = Heartbeats(self.backend)
        self._golden = GoldenSets(self.backend, clock=clock, new_id=new_id)
        self._policies = Policies(self.backend, clock=clock, new_id=new_id)
        self._views = Views(root, self._disk, new_id=new_id, manifest=self._artifacts.manifest)

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
    ) -> "Store":
        """Makes the folders, tests the place, sweeps what killed writers left over an hour ago.

        `root`: MODEL_DIR. With `bucket` the store lies there, and `root` holds copies (up to `cache_bytes`)
        and the views. Raises Misconfigured when the folder cannot be written, its volume lacks link, rename
        or symlink, or the server does not keep put-if-absent; Unavailable when it does not answer.
        """
        store = cls(
            root.absolute(), clock=clock, new_id=new_id, disk=disk, bucket=bucket, cache_bytes=cache_bytes
        )
        try:
            for name in (store._disk.scratch.name, *(_FOLDERS if bucket is None else _LOCAL_FOLDERS)):
                store._disk.make_folder(store.root / name)
        except OSError as error:
            raise Misconfigured(
                f"{error.filename or root} cannot be made: {error.strerror or error}.",
                remedy="Give MODEL_DIR a folder that this user may write.",
            ) from error
        check_volume(store._disk.scratch, new_id)
        if isinstance(store.backend, Bucket):
            store.backend.check(new_id)
        store.backend.sweep(before=clock() - _SWEEP_AFTER_SECONDS)
        return store

    @property
    def remote(self) -> bool:
        """Whether the store lies elsewhere than in `root`."""
        return self.backend.remote

    # -- journal ---------------------------------------------------------------------------------------------

    def state(self) -> State:
        """The fold of all events so far; asks only for the next file when nothing is new.

        Raises Corrupt, naming the file, when the journal has a gap, a broken chain or a changed byte.
        """
        return self._journal.state()

    def events(self, after: int = 0) -> Iterator[Event]:
        """All events with a number above `after`, oldest first. Raises Corrupt as `state` does."""
        return self._journal.events(after)

    def newest_events(self) -> Iterator[Event]:
        """All events, the newest first, read as they are asked for. Raises Corrupt as `state` does."""
        return self._journal.backwards()

    def snapshot(self) -> State:
        """Writes the state of now for faster starts; gives it. Appending does so by itself now and then."""
        return self._journal.snapshot()

    def append(self, body: Body, *, actor: str, reason: str, expect: int | None = None) -> Event:
        """Appends one event, durably, and gives it as stored.

        `expect`: the `State.seq` that the decision rests on; Conflict when the journal has moved on. Without
        it a lost race is tried again on the new state. Raises Conflict when the state does not allow the
        event (nothing is written), InvalidInput when it cannot be stored, Unavailable after too many lost
        races.
        """
        return self._append(lambda _: body, actor=actor, reason=lambda _: reason, expect=expect)

    def _append(
        self,
        body: Callable[[State], Body],
        *,
        actor: str,
        reason: Callable[[Body], str],
        expect: int | None = None,
    ) -> Event:
        for _ in range(_ATTEMPTS):
            state = self.state()
            if expect is not None and state.seq != expect:
                raise Conflict(
                    f"The journal has moved on: event {state.seq} is the last, "
                    f"the decision was based on {expect}.",
                    remedy="Look at the state again, then decide.",
                )
            made = body(state)
            event = Event(
                seq=state.seq + 1,
                id=self._new_id(),
                prev=state.head,
                time=self._clock(),
                actor=actor,
                reason=reason(made),
                body=made,
            )
            with volume_errors("append to the journal", self.root):
                appended = self._journal.offer(state, event)
            if appended is not None:
                return appended
        raise Unavailable("Too many others append to the journal at once.", remedy="Try again.")

    # -- versions --------------------------------------------------------------------------------------------

    def publish(
        self, draft: Path, *, note: str, actor: str, initial: bool = False, moved: Moved = ignore
    ) -> Version:
        """Copies a draft folder (see `serinus.artifact.validate`) into the store and gives it the next
        number.

        `initial`: only where no version exists yet; else the one that serves (or the first) is given back.
        Raises InvalidInput for a bad draft, Misconfigured for a full or read-only volume.
        """
        existing = _first(self.state()) if initial else None
        if existing is not None:
            return existing
        for _ in range(_ATTEMPTS):
            with volume_errors("store the artifact", self.root):
                digest, content = self._artifacts.add(
                    draft, note=note, created=self._clock(), state=self.state(), moved=moved
                )
            shared = digest in self.state().kept

            def body(
                state: State, digest: Digest = digest, content: Digest = content, shared: bool = shared
            ) -> Body:
                if initial and state.versions:
                    raise _InitialExists(state)
                if shared and digest not in state.kept:
                    raise _SharedRemoved
                return Published(
                    version=state.next_version, digest=digest, content=content, note=note, initial=initial
                )

            try:
                event = self._append(body, actor=actor, reason=_published_reason)
            except _InitialExists as error:
                return error.version
            except _SharedRemoved:
                continue
            assert isinstance(event.body, Published)
            return event.body.version
        raise Unavailable("The version is removed as fast as it is published.", remedy="Try again.")

    def manifest(self, digest: Digest) -> Manifest:
        """Raises NotFound, or Corrupt when the file is not the one that gave the artifact its name."""
        return self._artifacts.manifest(digest)

    def artifact(self, digest: Digest) -> Path:
        """The artifact's local folder (read-only), fetched where the store lies elsewhere.

        Raises NotFound, and Corrupt when what was fetched is not what was published.
        """
        return self._artifacts.path(digest)

    def verify(self, digest: Digest) -> None:
        """Hashes every file of an artifact again. Raises NotFound, or Corrupt naming the file."""
        self._artifacts.verify(digest)

    def remove_versions(self, versions: tuple[Version, ...], *, actor: str, reason: str) -> Event:
        """Appends that these versions are removed; `collect` then takes their artifacts away.

        Raises Conflict, in words, for a version that is needed.
        """
        return self.append(Removed(versions=versions), actor=actor, reason=reason)

    def collect(self, *, dry_run: bool = False) -> dict[Digest, int]:
        """Takes away what no version has, artifacts of removed ones and old orphans; gives their bytes.

        Whoever was killed between the event and here is made good by the next call. Nobody can come to
        share such an artifact any more: a publisher shares only what a version has, and looks again when it
        appends.
        """
        state = self.state()
        kept, removed = state.kept, state.removed
        old = self._clock() - _ORPHAN_SECONDS
        gone = {}
        for digest in self._artifacts.digests():
            if digest in removed or (digest not in kept and self._artifacts.touched(digest) < old):
                gone[digest] = self._artifacts.size(digest)
                if not dry_run:
                    self._artifacts.discard(digest, keep_manifest=digest in removed)
        return gone

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

    # -- observations, evidence ------------------------------------------------------------------------------

    def put_observation(self, rollout: int, replica: str, n: int, slice: Slice) -> None:
        """Writes closed slice `n` of one process (`replica` = `<name>-<boot>`); atomic, not durable."""
        self._observations.put(rollout, replica, n, slice)

    def new_observations(self, rollout: int, seen: Mapping[str, int]) -> list[tuple[str, int, Slice]]:
        """Per replica the slices with n above `seen`, ordered by replica and n."""
        return self._observations.new(rollout, seen)

    def forget_observations(self, *, keep: int | None, before: float) -> None:
        """Removes observations of rollouts other than `keep`, untouched since `before` (UTC seconds).

        What was frozen of them stays.
        """
        self._observations.forget(keep=keep, before=before)

    def freeze(self, frozen: FrozenSlice) -> bool:
        """Puts slice k if absent. False: somebody else froze another. Raises Conflict on a wrong `prev`."""
        with volume_errors("freeze evidence", self.root):
            return self._evidence.freeze(frozen)

    def frozen(self, rollout: int, k: int) -> FrozenSlice | None:
        """Slice k of a rollout, None when it is not frozen. Raises Corrupt, naming the file."""
        return self._evidence.get(rollout, k)

    def last_frozen(self, rollout: int) -> FrozenSlice | None:
        """The newest frozen slice, None when there is none; cheap. Raises Corrupt, naming the file."""
        return self._evidence.last(rollout)

    # -- heartbeats ------------------------------------------------------------------------------------------

    def put_replica(self, replica: Replica) -> None:
        self._heartbeats.put_replica(replica)

    def replicas(self, newer_than: float = float("-inf")) -> list[Replica]:
        """Heartbeats with a time above `newer_than` (UTC seconds), sorted by name."""
        return self._heartbeats.replicas(newer_than)

    def remove_replica(self, replica: str) -> None:
        self._heartbeats.remove_replica(replica)

    def put_routes(self, routes: Routes) -> None:
        self._heartbeats.put_routes(routes)

    def routes(self) -> Routes | None:
        """The last hint, None when there is none."""
        return self._heartbeats.routes()

    # -- golden sets -----------------------------------------------------------------------------------------

    def add_golden(self, name: str, source: Path, *, actor: str) -> Digest:
        """Copies a folder of `data.golden.export_golden`; `name` means it now. Raises InvalidInput."""
        with volume_errors("store the golden set", self.root):
            return self._golden.add(name, source, actor=actor)

    def golden_sets(self, *, verify: bool = False) -> list[GoldenSet]:
        """The newest set of each name. Raises Corrupt; with `verify` every picture is hashed."""
        return self._golden.list(verify=verify)

    # -- policies --------------------------------------------------------------------------------------------

    def put_policy(self, policy: Policy, *, actor: str, reason: str) -> PolicyRecord:
        """`policy.name` means this policy from now on. Raises InvalidInput."""
        with volume_errors("store the policy", self.root):
            return self._policies.put(policy, actor=actor, reason=reason)

    def policy(self, name: str) -> PolicyRecord | None:
        """The newest edition, None when nobody set it. Raises Corrupt, naming a damaged file."""
        return self._policies.get(name)

    def policy_names(self) -> tuple[str, ...]:
        """Names that were set, sorted; the built-in ones are not among them."""
        return self._policies.names()

    def policy_history(self, name: str) -> list[PolicyRecord]:
        """All editions, oldest first. Raises Corrupt, naming a damaged file."""
        return self._policies.history(name)


class _InitialExists(Exception):
    """Somebody else published the first version meanwhile."""

    def __init__(self, state: State) -> None:
        super().__init__()
        self.version = state.current or min(state.versions)


class _SharedRemoved(Exception):
    """The version whose artifact was to be shared is removed: its artifact may go at any moment."""


def _first(state: State) -> Version | None:
    return (state.current or min(state.versions)) if state.versions else None


def _published_reason(body: Body) -> str:
    assert isinstance(body, Published)
    return f"version {body.version} published" + (f": {body.note}" if body.note else "")
