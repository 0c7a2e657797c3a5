"""Versions: an artifact gets its number by one event, and may be taken away after another.

- *Publish.* The artifact is complete and durable before `published {N, digest}` is appended, which is the
  one commit point. N is the next number of the state that the event follows, so of two publishers one looks
  again.
- *Remove.* `removed {N ...}` comes first; then what no version has any more may go at any time, by whoever
  collects. So nobody may come to need it again: a publisher whose artifact is among the removed ones when its
  event is due stores the draft anew, under another digest.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from serinus.core.errors import Conflict, Unavailable, VolumeFull
from serinus.core.ids import Clock, Digest, NewId, Version
from serinus.core.text import storable
from serinus.rollout.events import Body, Event, Published, Removed
from serinus.rollout.state import State
from serinus.store import reserve, unfinished
from serinus.store.backend import Backend, Moved
from serinus.store.journal import Journal
from serinus.store.local import volume_errors
from serinus.store.publish import Artifacts, Sign

T = TypeVar("T")
_ATTEMPTS = 500
_ORPHAN_SECONDS = 24 * 3600.0


class Registry:
    """Appends events and publishes. `root` is for messages and for the reserve, unless the store is
    `remote`; `before` is called before each append."""

    def __init__(
        self,
        backend: Backend,
        journal: Journal,
        artifacts: Artifacts,
        root: Path,
        *,
        clock: Clock,
        new_id: NewId,
        before: Callable[[], None],
    ) -> None:
        self._backend = backend
        self._journal = journal
        self._artifacts = artifacts
        self._root = root
        self._clock = clock
        self._new_id = new_id
        self._before = before

    def append(
        self,
        body: Callable[[State], Body],
        *,
        actor: str,
        reason: Callable[[Body], str],
        expect: int | None = None,
    ) -> Event:
        """Appends what `body` makes of the state; a lost race is tried again on the new one, unless `expect`
        names the state that was meant. Raises as `Store.append` does, and Misconfigured in a place where a
        copy is not finished."""
        self._before()
        unfinished.refuse(self._backend)
        for _ in range(_ATTEMPTS):
            state = self._journal.state()
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
            with volume_errors("append to the journal", self._root):
                appended = self._journal.offer(state, event)
            if appended is not None:
                return appended
        raise Unavailable("Too many others append to the journal at once.", remedy="Try again.")

    def refuse(self) -> State:
        """The state of now, to which something may be appended; asked before anything large is stored.

        Raises Misconfigured where a copy into this place is not finished, Corrupt where the journal lost its
        end.
        """
        self._before()
        unfinished.refuse(self._backend)
        state = self._journal.state()
        self._journal.refuse_loss(state)
        return state

    def publish(
        self, draft: Path, *, note: str, actor: str, initial: bool, source: str, sign: Sign, moved: Moved
    ) -> Version:
        """As `Store.publish`."""
        storable(note, "The note")
        existing = _existing(self._journal.state(), initial, source)
        if existing is not None:
            return existing
        for _ in range(_ATTEMPTS):
            state = self.refuse()
            with volume_errors("store the artifact", self._root):
                digest, content = self._artifacts.add(
                    draft,
                    note=note,
                    now=self._clock(),
                    state=state,
                    sign=sign,
                    moved=moved,
                )

            def body(state: State, digest: Digest = digest, content: Digest = content) -> Body:
                existing = _existing(state, initial, source)
                if existing is not None:
                    raise _Exists(existing)
                if digest in state.removed:
                    raise _Removed
                return Published(
                    version=state.next_version,
                    digest=digest,
                    content=content,
                    note=note,
                    initial=initial,
                    source=source,
                )

            try:
                event = self.append(body, actor=actor, reason=_reason)
            except _Exists as error:
                return error.version
            except _Removed:
                continue
            assert isinstance(event.body, Published)
            return event.body.version
        raise Unavailable("The version is removed as fast as it is published.", remedy="Try again.")

    def remove(
        self, versions: tuple[Version, ...], *, actor: str, reason: str, expect: int | None = None
    ) -> Event:
        """Appends that these versions are removed. Raises Conflict, in words, for one that is needed."""
        return self._out_of_full(
            lambda: self.append(
                lambda _: Removed(versions=versions), actor=actor, reason=lambda _: reason, expect=expect
            )
        )

    def collect(self, *, dry_run: bool) -> dict[Digest, int]:
        """Takes away what no version has, artifacts of removed ones and old orphans; gives their bytes.

        Whoever was killed between the event and here is made good by the next call. Raises Corrupt where the
        journal lost its end, Misconfigured where a copy is not finished: what no version has may be what an
        event that is lost, or still to come, published.
        """
        gone = self._out_of_full(lambda: self._collect(dry_run=dry_run))
        if gone and not dry_run and not self._backend.remote:
            reserve.keep(self._root)
        return gone

    def _out_of_full(self, work: Callable[[], T]) -> T:
        """Does `work`; on a full volume once more, with the room that was set aside for it."""
        try:
            return work()
        except VolumeFull as error:
            if not reserve.spend(self._root):
                raise VolumeFull(
                    f"{error.message} What is set aside for removing versions is used up too.",
                    remedy="Free some 100 kB by hand, such as in lost+found/ or predictions/ of MODEL_DIR or "
                    "beside it, then run `serinus versions gc` again.",
                ) from error
            return work()

    def _collect(self, *, dry_run: bool) -> dict[Digest, int]:
        unfinished.refuse(self._backend)
        state = self._journal.state()
        self._journal.refuse_loss(state)
        kept, removed = state.kept, state.removed
        old = self._clock() - _ORPHAN_SECONDS
        gone = {}
        for digest in self._artifacts.digests():
            if digest in removed or (digest not in kept and self._artifacts.touched(digest) < old):
                gone[digest] = self._artifacts.size(digest)
                if not dry_run:
                    with volume_errors("remove an artifact", self._root):
                        self._artifacts.discard(digest, keep_manifest=digest in removed)
        return gone


class _Exists(Exception):
    """Somebody else published the first version, or the same source, meanwhile."""

    def __init__(self, version: Version) -> None:
        super().__init__()
        self.version = version


class _Removed(Exception):
    """The artifact was removed meanwhile: it may go at any moment."""


def _existing(state: State, initial: bool, source: str) -> Version | None:
    """The version that makes this publication needless."""
    if initial and state.versions:
        return state.current or min(state.versions)
    same = (record.version for record in state.versions.values() if source and record.source == source)
    return next(same, None)


def _reason(body: Body) -> str:
    assert isinstance(body, Published)
    return f"version {body.version} published" + (f": {body.note}" if body.note else "")
