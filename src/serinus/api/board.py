"""The board: the state as one document, read at most once per `poll_seconds` however many watch it."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple, TypeVar

import msgspec

from serinus.api.chronicle import Chronicle, Search
from serinus.api.control_deps import ControlDeps
from serinus.api.documents import (
    DatasetView,
    JobTick,
    JobView,
    RolloutView,
    Snapshot,
    StateView,
    Tick,
    UploadView,
    VersionDetail,
    VersionsPage,
    VersionView,
)
from serinus.api.training_data import in_words, newest_data, of_batches
from serinus.api.uploads import Upload, Uploads
from serinus.api.views import job_view, replica_view, rollout_view, version_view
from serinus.api.words import Entry, headline
from serinus.artifact.manifest import Manifest
from serinus.control.ledger import standing
from serinus.control.outlook import Lookout
from serinus.control.trust import finding, refusal
from serinus.core.enums import JobState, RolloutPhase
from serinus.core.errors import Corrupt, NotFound, SerinusError, Unavailable
from serinus.core.ids import Digest, Version
from serinus.data.sources import imported
from serinus.rollout.state import Rollout, State, was_current
from serinus.store import Replica

_VERSIONS = 12
_JOBS = 6
_DATASETS = 50
_LOG_LINES = 15
_TICK_SECONDS = 1.0
_REFRESH_SECONDS = 15.0
"""The version rises this often although nothing changed: "3 min ago" must become "4 min ago"."""
T = TypeVar("T")


class Look(NamedTuple):
    """One reading of the state."""

    version: int
    content: bytes
    """What makes it differ from another reading."""
    lasting: bytes
    """The same without what moves from second to second."""
    view: StateView


class Board:
    """Reads the state for the API and the pages. Used from one event loop; the reading is in a thread."""

    def __init__(self, deps: ControlDeps, uploads: Uploads) -> None:
        self._deps = deps
        self._uploads = uploads
        self._lock = asyncio.Lock()
        self._look: Look | None = None
        self._read_at = 0.0
        self._streams = 0
        self.closing = asyncio.Event()
        """Set when the process stops: event streams end."""
        self._manifests: dict[Digest, Manifest] = {}
        self._chronicle = Chronicle(deps.store)
        self._lookout = Lookout(
            deps.store, clock=deps.clock, fresh_seconds=deps.settings.replica_fresh_seconds
        )
        self._known: tuple[DatasetView, ...] = ()
        self._imported: frozenset[str] = frozenset()

    def close(self) -> None:
        """Ends the event streams, so that a server that stops does not wait for them."""
        self.closing.set()

    async def look(self, max_age: float = 0.0) -> Look:
        """The state now, or as of at most `max_age` seconds ago (monotonic)."""
        async with self._lock:
            if await self._outdated(max_age):
                view = await asyncio.to_thread(self._read)
                self._look = _compare(self._look, view)
                self._read_at = monotonic()
            assert self._look is not None
            return self._look

    async def _outdated(self, max_age: float) -> bool:
        if self._look is None or monotonic() - self._read_at >= max_age:
            return True
        # A decision shows at once, whatever the age.
        return (await asyncio.to_thread(self._deps.store.state)).seq != self._look.view.seq

    async def last_look(self) -> Look:
        """For who watches: as `look`, but while the store is away the last state, which then says so.

        Raises Unavailable when there is none yet.
        """
        try:
            return await self.look(self._deps.settings.poll_seconds)
        except Unavailable:
            if self._look is None:
                raise
            self._look = _compare(self._look, _aged(self._look.view, self._deps.store.away_since))
            return self._look

    async def version(self) -> int:
        """For pages: the version of the state alone, which costs little."""
        return (await self.last_look()).version

    async def document(self) -> tuple[int, dict[str, Any]]:
        """For pages: the version of the state and the document of /api/state as builtins."""
        look = await self.last_look()
        return look.version, msgspec.to_builtins(look.view)

    async def recent(self) -> list[dict[str, Any]]:
        """For pages: the newest entries of the history, newest first, as builtins."""
        entries = await asyncio.to_thread(self._chronicle.recent)
        return [msgspec.to_builtins(each) for each in entries]

    @property
    def streams(self) -> int:
        """Event streams that are open now."""
        return self._streams

    @property
    def chronicle(self) -> Chronicle:
        """The whole history."""
        return self._chronicle

    async def entry(self, seq: int) -> Entry:
        """One entry. Raises NotFound."""
        # One that was appended just now needs no index, so no decision waits for it to be made.
        newest = await asyncio.to_thread(self._chronicle.recent)
        if found := next((one for one in newest if one.seq == seq), None):
            return found
        page = await asyncio.to_thread(self._chronicle.page, Search(after=seq - 1), 1)
        if not page.entries or page.entries[0].seq != seq:
            raise NotFound(f"There is no event {seq}.")
        return page.entries[0]

    async def versions(self) -> VersionsPage:
        """All versions, newest first."""
        return await asyncio.to_thread(self._versions)

    async def detail(self, version: int) -> VersionDetail:
        """One version with its manifest. Raises NotFound."""
        return await asyncio.to_thread(self._detail, version)

    async def stream(self) -> AsyncGenerator[bytes]:
        """Server-sent events: `state` whenever something lasting changed, else `tick` each second.

        Raises Unavailable (before the first event) when too many watch.
        """
        settings = self._deps.settings
        if self._streams >= settings.max_streams:
            raise Unavailable(f"{self._streams} streams are open already.", retry_after=10.0)
        self._streams += 1
        try:
            yield b"retry: 1000\n\n"
            sent: Look | None = None
            until, next_tick = monotonic() + settings.stream_seconds, 0.0
            while monotonic() < until and not self.closing.is_set():
                look = await self.last_look()
                if sent is None or sent.lasting != look.lasting:
                    yield _message("state", Snapshot(version=look.version, state=look.view))
                    sent, next_tick = look, monotonic() + _TICK_SECONDS
                elif monotonic() >= next_tick:
                    yield _message("tick", _tick(look))
                    sent, next_tick = look, monotonic() + _TICK_SECONDS
                try:
                    await asyncio.wait_for(self.closing.wait(), settings.poll_seconds)
                except TimeoutError:
                    continue
        finally:
            self._streams -= 1

    def _read(self) -> StateView:
        deps, problems = self._deps, list[str]()

        def tried(what: Callable[[], T], otherwise: T) -> T:
            try:
                return what()
            except SerinusError as error:
                problems.append(str(error))
                return otherwise

        now = deps.clock()
        state = deps.store.state()
        heard: list[Replica] = tried(
            lambda: deps.store.replicas(now - 60 * deps.settings.replica_fresh_seconds), list[Replica]()
        )
        fresh = [r for r in heard if now - r.time <= deps.settings.replica_fresh_seconds]
        names = {record.digest: version for version, record in state.versions.items()}

        def version(number: Version | None) -> VersionView | None:
            return None if number is None else self._version(state, number, fresh)

        def rollout(which: Rollout | None) -> RolloutView | None:
            if which is None:
                return None
            at = tried(lambda: standing(deps.store, which), None)
            return rollout_view(which, at, deps.store.routes())

        active = rollout(state.rollout)
        outlook = tried(lambda: self._lookout.outlook(state, heard), None)
        uploads = self._uploads.list()
        newest = uploads[-1] if uploads else None
        known = datasets(deps.settings.data_dir / "datasets")
        return StateView(
            seq=state.seq,
            time=now,
            headline=headline(state, active.clock if active else 0.0, fresh),
            current=version(state.current),
            canary=version(state.canary.version if state.canary else None),
            previous=version(state.previous),
            can_undo=state.previous is not None and state.rollout is None,
            undo_refused=tried(lambda: self._refused(state, state.previous, False), ""),
            promotion_refused=tried(lambda: self._refused(state, *_promotable(state)), ""),
            rollout=active,
            outlook=outlook,
            last=rollout(state.last),
            versions=tuple(
                self._version(state, n, fresh) for n in sorted(state.versions)[: -_VERSIONS - 1 : -1]
            ),
            versions_total=len(state.versions),
            replicas=tuple(replica_view(r, names, now, deps.settings.replica_fresh_seconds) for r in heard),
            jobs=tried(self._jobs, ()),
            datasets=known,
            upload=None
            if newest is None
            else UploadView(id=newest.id, name=newest.name, size=newest.size, time=newest.time),
            newest_data=tried(lambda: in_words(self._newest_data(uploads, known)), "Newest"),
            problems=tuple(problems),
        )

    def _newest_data(
        self, uploads: list[Upload], known: tuple[DatasetView, ...]
    ) -> Upload | DatasetView | None:
        if known != self._known:  # manifests name every pair: they are read once, not at each look
            self._known, self._imported = known, imported(self._deps.settings.data_dir / "datasets")
        golden = {one.dataset for one in self._deps.store.golden_sets()}
        batched = of_batches(self._deps.jobs.list())
        return newest_data(uploads, known, imported=self._imported, golden=golden, batched=batched)

    def _jobs(self) -> tuple[JobView, ...]:
        jobs = self._deps.jobs
        return tuple(
            job_view(record, "" if record.state is JobState.SUCCEEDED else jobs.logs(record.id, _LOG_LINES))
            for record in jobs.list()[: -_JOBS - 1 : -1]
        )

    def _version(self, state: State, number: Version, fresh: list[Replica]) -> VersionView:
        record = state.versions[number]
        try:
            manifest: Manifest | None = self._manifest(record.digest)
        except SerinusError:
            manifest = None  # shown without metrics; `/api/versions/N` says what is wrong with it
        return self._with_undo(version_view(record, manifest, state, fresh), state)

    def _with_undo(self, view: VersionView, state: State) -> VersionView:
        known = state.rollout is None and was_current(state, view.version)
        can = known and not self._refused(state, view.version, False)
        return msgspec.structs.replace(view, can_undo=can)

    def _manifest(self, digest: Digest) -> Manifest:
        if digest not in self._manifests:
            self._manifests[digest] = self._deps.store.manifest(digest)
        return self._manifests[digest]

    def _refused(self, state: State, version: Version | None, required: bool) -> str:
        """Why `version` may not be made current by hand; empty when it may, or there is none."""
        if version is None:
            return ""
        digest, trust = state.versions[version].digest, self._deps.settings.trust
        try:
            if not (required or trust.required) and self._manifest(digest).signature is None:
                return ""
            return refusal(self._deps.store, digest, trust, required=required)
        except (NotFound, Corrupt) as error:
            return str(error)

    def _fresh(self) -> list[Replica]:
        return self._deps.store.replicas(self._deps.clock() - self._deps.settings.replica_fresh_seconds)

    def _versions(self) -> VersionsPage:
        state, fresh = self._deps.store.state(), self._fresh()
        return VersionsPage(
            versions=tuple(self._version(state, n, fresh) for n in sorted(state.versions, reverse=True))
        )

    def _detail(self, version: int) -> VersionDetail:
        state = self._deps.store.state()
        record = state.versions.get(Version(version))
        if record is None:
            raise NotFound(f"There is no version {version}.", remedy="GET /api/versions lists them.")
        manifest = self._manifest(record.digest)
        return VersionDetail(
            version=self._with_undo(version_view(record, manifest, state, self._fresh()), state),
            manifest=manifest,
            signature=finding(self._deps.store, record.digest, self._deps.settings.trust.keys()),
        )


def _promotable(state: State) -> tuple[Version | None, bool]:
    """The version that somebody could want to promote, and whether its policy requires a signature."""
    rollout = state.rollout
    if rollout is None or rollout.phase is RolloutPhase.VERIFYING:
        return None, False
    return rollout.version, rollout.policy.require_signature


def _aged(view: StateView, since: float | None) -> StateView:
    """What was seen last, with words that it is old. `since`: when the store went away, UTC seconds."""
    moments = [datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S") for at in (since or view.time, view.time)]
    words = (
        f"The store does not answer since {moments[0]} UTC. What stands here was so at {moments[1]} UTC; "
        "replicas go on serving, decisions wait."
    )
    return msgspec.structs.replace(view, problems=(words,))


def datasets(folder: Path) -> tuple[DatasetView, ...]:
    """The prepared data sets, newest first. Reads their reports only, none of their pictures."""
    found: list[DatasetView] = []
    for path in folder.glob("ds-*"):
        try:
            report = msgspec.json.decode((path / "report.json").read_bytes())
            time = (path / "manifest.json").stat().st_mtime
        except (OSError, msgspec.DecodeError):
            continue  # not finished, or no data set
        found.append(
            DatasetView(
                id=path.name, time=time, pairs=report.get("pairs_usable"), splits=report.get("splits", {})
            )
        )
    return tuple(sorted(found, key=lambda each: (each.time, each.id), reverse=True)[:_DATASETS])


def _compare(before: Look | None, view: StateView) -> Look:
    """The look at `view`; its version is that of `before` when nothing has changed."""
    content = msgspec.json.encode(
        msgspec.structs.replace(
            view,
            time=view.time // _REFRESH_SECONDS,
            replicas=tuple(msgspec.structs.replace(each, time=0.0) for each in view.replicas),
        )
    )
    if before is not None and before.content == content:
        return before._replace(view=view)
    still = msgspec.structs.replace(
        view,
        time=0.0,
        headline=msgspec.structs.replace(view.headline, detail=""),
        outlook=None,
        rollout=None
        if view.rollout is None
        else msgspec.structs.replace(
            view.rollout, clock=0.0, seconds_left=0.0, arms=(), probes=(), evidence=None
        ),
        replicas=tuple(msgspec.structs.replace(each, time=0.0, in_flight=0) for each in view.replicas),
        jobs=tuple(
            msgspec.structs.replace(each, fraction=0.0, message="", eta_seconds=None, metrics={}, log="")
            for each in view.jobs
        ),
    )
    version = 1 if before is None else before.version + 1
    return Look(version, content, msgspec.json.encode(still), view)


def _tick(look: Look) -> Tick:
    view = look.view
    return Tick(
        version=look.version,
        seq=view.seq,
        time=view.time,
        headline=view.headline,
        rollout=view.rollout,
        outlook=view.outlook,
        jobs=tuple(
            JobTick(id=job.id, fraction=job.fraction, message=job.message, eta_seconds=job.eta_seconds)
            for job in view.jobs
            if job.state is JobState.RUNNING
        ),
    )


def _message(event: str, value: msgspec.Struct) -> bytes:
    return f"event: {event}\ndata: {msgspec.json.encode(value).decode()}\n\n".encode()
