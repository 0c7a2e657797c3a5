"""The store as every other room sees it: one object over one folder, MODEL_DIR."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from serinus.artifact.manifest import Manifest
from serinus.core.errors import Conflict, Misconfigured, Unavailable
from serinus.core.ids import Clock, Digest, NewId, Version
from serinus.evidence.counts import Slice
from serinus.rollout.events import Body, Event, Published, RolloutStarted, Verified
from serinus.rollout.state import State
from serinus.store.frozen import FrozenEvidence, FrozenSlice
from serinus.store.golden import GoldenSet, GoldenSets
from serinus.store.heartbeats import Heartbeats, Replica, Routes
from serinus.store.incoming import Incoming
from serinus.store.journal import Journal
from serinus.store.local import Disk, volume_errors
from serinus.store.observations import Observations
from serinus.store.publish import Artifacts
from serinus.store.views import Views
from serinus.store.volume import check_volume

_FOLDERS = (
    "artifacts",
    "journal",
    "observations",
    "evidence",
    "replicas",
    "golden",
    "versions",
    "views",
    "incoming",
)
_SWEEP_AFTER_SECONDS = 3600.0
_ATTEMPTS = 500


class Store:
    """The registry on a local disk. Thread-safe; any number of processes may share one root.

    Use `Store.open`; the plain constructor touches nothing and expects a root that was opened before.
    """

    def __init__(self, root: Path, *, clock: Clock, new_id: NewId, disk: Disk | None = None) -> None:
        self.root = root
        self._clock = clock
        self._new_id = new_id
        self._disk = disk or Disk(root, new_id)
        self._journal = Journal(root / "journal", self._disk)
        self._artifacts = Artifacts(root / "artifacts", self._disk)
        self._observations = Observations(root / "observations", self._disk)
        self._evidence = FrozenEvidence(root / "evidence", self._disk)
        self._heartbeats = Heartbeats(root, self._disk)
        self.incoming = Incoming(root, self._disk, new_id)
        self._golden = GoldenSets(root / "golden", self._disk, clock=clock, new_id=new_id)
        self._canary_times: dict[tuple[Version, float], float | None] = {}
        self._views = Views(
            root, self._disk, new_id=new_id, manifest=self._artifacts.manifest, canary_at=self._canary_at
        )

    @classmethod
    def open(cls, root: Path, *, clock: Clock, new_id: NewId, disk: Disk | None = None) -> "Store":
        """Makes the folders, tests the volume, sweeps what killed writers left over an hour ago.

        Raises Misconfigured when the folder cannot be written or its volume lacks link, rename or symlink.
        """
        store = cls(root.absolute(), clock=clock, new_id=new_id, disk=disk)
        try:
            for name in (store._disk.scratch.name, *_FOLDERS):
                store._disk.make_folder(store.root / name)
        except OSError as error:
            raise Misconfigured(
                f"{error.filename or root} cannot be made: {error.strerror or error}.",
                remedy="Give MODEL_DIR a folder that this user may write.",
            ) from error
        check_volume(store._disk.scratch, new_id)
        store._sweep()
        return store

    def _sweep(self) -> None:
        before = self._clock() - _SWEEP_AFTER_SECONDS
        sets = [path for path in (self.root / "golden").iterdir() if path.is_dir()]
        for folder in (self._disk.scratch, self.root, *(self.root / name for name in _FOLDERS), *sets):
            self._disk.sweep(folder, before=before)

    # -- journal ---------------------------------------------------------------------------------------------

    def state(self) -> State:
        """The fold of all events so far; asks only for the next file when nothing is new.

        Raises Corrupt, naming the file, when the journal has a gap, a broken chain or a changed byte.
        """
        return self._journal.state()

    def events(self, after: int = 0) -> Iterator[Event]:
        """All events with a number above `after`, oldest first. Raises Corrupt as `state` does."""
        return self._journal.events(after)

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
        self, draft: Path, *, note: str, actor: str, initial: bool = False, source: str = ""
    ) -> Version:
        """Copies a draft folder (see `serinus.artifact.validate`) into the store and gives it the next
        number.

        `initial`: only where no version exists yet; else the one that serves (or the first) is given back.
        `source`: id of the folder in `incoming/` that it was made of; a second publication of the same one,
        after a kill or by another process, gives back the version of the first.
        Raises InvalidInput for a bad draft, Misconfigured for a full or read-only volume.
        """
        existing = _existing(self.state(), initial, source)
        if existing is not None:
            return existing
        digest = self._artifacts.add(draft, note=note, created=self._clock())

        def body(state: State) -> Body:
            existing = _existing(state, initial, source)
            if existing is not None:
                raise _Exists(existing)
            return Published(
                version=state.next_version, digest=digest, note=note, initial=initial, source=source
            )

        try:
            event = self._append(body, actor=actor, reason=_published_reason)
        except _Exists as error:
            return error.version
        assert isinstance(event.body, Published)
        return event.body.version

    def manifest(self, digest: Digest) -> Manifest:
        """Raises NotFound, or Corrupt when the file is not the one that gave the artifact its name."""
        return self._artifacts.manifest(digest)

    def artifact(self, digest: Digest) -> Path:
        """The artifact's folder (read-only). Raises NotFound."""
        return self._artifacts.path(digest)

    def verify(self, digest: Digest) -> None:
        """Hashes every file of an artifact again. Raises NotFound, or Corrupt naming the file."""
        self._artifacts.verify(digest)

    def refresh_views(self) -> None:
        """Makes `versions/`, `current` and `canary` in MODEL_DIR say what the state says."""
        with volume_errors("write the views", self.root):
            self._views.refresh(self.state)

    def _canary_at(self, state: State, version: Version) -> float | None:
        """When `version` last became a canary, UTC seconds; None when it never was."""
        if state.rollout is not None and state.rollout.version == version:
            return state.rollout.canary_at
        key = (version, state.current_since)
        if key not in self._canary_times:
            self._canary_times = {key: _last_canary_time(self.events(), version)}
        return self._canary_times[key]

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
        return self._golden.add(name, source, actor=actor)

    def golden_sets(self, *, verify: bool = False) -> list[GoldenSet]:
        """The newest set of each name. Raises Corrupt; with `verify` every picture is hashed."""
        return self._golden.list(verify=verify)


class _Exists(Exception):
    """Somebody else published the first version, or the same source, meanwhile."""

    def __init__(self, version: Version) -> None:
        super().__init__()
        self.version = version


def _existing(state: State, initial: bool, source: str) -> Version | None:
    """The version that makes this publication needless."""
    if initial and state.versions:
        return state.current or min(state.versions)
    same = (record.version for record in state.versions.values() if source and record.source == source)
    return next(same, None)


def _published_reason(body: Body) -> str:
    assert isinstance(body, Published)
    return f"version {body.version} published" + (f": {body.note}" if body.note else "")


def _last_canary_time(events: Iterator[Event], version: Version) -> float | None:
    rollouts: set[int] = set()
    latest: float | None = None
    for event in events:
        if isinstance(event.body, RolloutStarted) and event.body.version == version:
            rollouts.add(event.body.rollout)
        elif isinstance(event.body, Verified) and event.body.rollout in rollouts:
            latest = event.time
    return latest
