"""`serinus store copy`: brings a second store up to what a first one holds: the backup, the way to a bucket.

What events name goes first (artifacts, golden sets, policies, evidence), with the feedback and the galleries;
then the events in their order. So the copy is a store at every moment: its journal is a beginning of the
other one's, and what that names is there. A mark, `copying.json`, lies there meanwhile, and whoever opens the
place or appends refuses (`unfinished`). What is there already is not sent again: a cut copy goes on, and a
later one adds what is new. Nothing is written to the source, which may be in use.

Nothing that lies in the copy is replaced, but what people said by what they said later (ground truth, the
marks of the gallery): what is damaged there is named by the check that follows and healed by its repair; what
is sound and another one is a conflict, and is named.

Not copied, since it is passing or generated: heartbeats, `routes.json`, kept answers, observations that
were not frozen yet (of requests and of shadow pairs), views, `incoming/`, `lost+found/`. Of removed versions
the manifests are copied.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import msgspec

from serinus.artifact.files import sha256_bytes
from serinus.artifact.validate import MANIFEST
from serinus.core.errors import Conflict, Corrupt, NotFound
from serinus.core.ids import Digest
from serinus.rollout.state import State
from serinus.store import golden, publish, unfinished
from serinus.store.feedback_copy import FeedbackCopy
from serinus.store.frozen import FrozenEvidence, decode_slice
from serinus.store.gallery_copy import GalleryCopy
from serinus.store.journal import Journal, decode
from serinus.store.policies import decode_edition
from serinus.store.unfinished import Told

if TYPE_CHECKING:
    from serinus.store.backend import Backend
    from serinus.store.store import Store

_FEEDBACK = "feedback"
_EDITIONS = ("golden", "policies")
_TREES_AT_ONCE = 4
_AHEAD = 64
_ROUNDS = 20
Step: TypeAlias = Callable[[str, int], None]
"""Told what was sent and its bytes; called from several threads, may raise to cancel."""


class Copied(msgspec.Struct, frozen=True, kw_only=True):
    """What was sent, or would be."""

    dry_run: bool
    seq: int
    """The event up to which the copy goes."""
    events: int
    artifacts: int
    golden: int
    documents: int
    """Evidence, editions of golden sets and policies, manifests of removed versions."""
    bytes: int
    left_out: tuple[str, ...]
    """What is damaged in the source, in words that name it."""
    conflicts: tuple[str, ...] = ()
    """What the copy holds otherwise and sound, so that it stays, in words that name it."""

    @classmethod
    def would_be(cls, plan: "Plan") -> "Copied":
        """What following the plan would send."""
        return cls(
            dry_run=True,
            seq=plan.state.seq,
            events=len(plan.events),
            artifacts=sum(tree.index_name == MANIFEST for tree in plan.trees),
            golden=sum(tree.index_name != MANIFEST for tree in plan.trees),
            documents=len(plan.documents),
            bytes=plan.bytes,
            left_out=(),
        )


class Tree(NamedTuple):
    key: str
    index_name: str


class Plan(NamedTuple):
    """What the copy lacks."""

    state: State
    trees: tuple[Tree, ...]
    documents: tuple[tuple[str, str], ...]
    """Key there, key here: the manifest of a removed version may still lie in its artifact."""
    events: range
    bytes: int


def plan(source: "Store", target: "Store | None") -> Plan:
    """What `target` lacks of `source` as it is now. None: there is nothing yet.

    Raises Conflict when `target` has another history, Corrupt when the source's journal lost its end.
    """
    state = source.state()
    Journal(source.backend).refuse_loss(state)
    after = _common(source, state, target) if target is not None else 0
    if target is not None:
        _compare_evidence(source.backend, target.backend)
    trees = tuple(_trees(source.backend, state, None if target is None else target.backend))
    documents = tuple(_documents(source.backend, state, None if target is None else target.backend))
    sizes = sum(sum(source.backend.files(tree.key).values()) for tree in trees)
    return Plan(state, trees, documents, range(after + 1, state.seq + 1), sizes)


def _common(source: "Store", state: State, target: "Store") -> int:
    """The last event of the target, which must be one of the source's."""
    there = target.state()
    if there.seq == 0:
        return 0
    first = min(there.seq, state.seq)
    entry, other = Journal(source.backend).read(first), Journal(target.backend).read(first)
    if entry is not None and other is not None and entry.digest == other.digest:
        if there.seq <= state.seq:
            return there.seq
        raise Conflict(
            f"{target.backend.name('journal')} is ahead: it has {there.seq} events, "
            f"{source.backend.name('journal')} has {state.seq}.",
            remedy="Are source and target the right way round?",
        )
    raise Conflict(
        f"{target.backend.name('journal')} holds another history than {source.backend.name('journal')}: "
        f"event {first} differs.",
        remedy="Copy into an empty place. Two histories cannot be joined.",
    )


def _compare_evidence(source: "Backend", target: "Backend") -> None:
    """The last slice of each rollout that both have, which vouches for those before it. Raises Conflict.

    A damaged one says nothing here: the check names it.
    """
    there = FrozenEvidence(target)
    shared = [
        f"evidence/{rollout}/{max(numbers):010d}.json"
        for rollout in there.rollouts()
        if (numbers := {*there.numbers(rollout)} & {*FrozenEvidence(source).numbers(rollout)})
    ]
    for (key, one), (_, other) in zip(_read_ahead(source, shared), _read_ahead(target, shared), strict=True):
        with contextlib.suppress(Corrupt):
            if one != other:
                _check_document(key, one, source.name(key))
                _check_document(key, other, target.name(key))
                raise Conflict(
                    f"{target.name(key)} is other evidence than {source.name(key)}.",
                    remedy="Copy into an empty place. Two histories cannot be joined.",
                )


def _trees(source: "Backend", state: State, target: "Backend | None") -> Iterator[Tree]:
    trees = [Tree(publish.key(digest), MANIFEST) for digest in sorted(state.kept)]
    for name in sorted(source.names("golden")):
        digests = sorted(filter(publish.is_digest, source.names(f"golden/{name}")))
        trees += [Tree(f"golden/{name}/{digest}", "golden.json") for digest in digests]
    for tree in trees:
        if target is None or not target.has_tree(tree.key, index=tree.index_name):
            yield tree


def _documents(source: "Backend", state: State, target: "Backend | None") -> Iterator[tuple[str, str]]:
    """Evidence of the rollouts that the state knows, editions, manifests of removed versions, in order."""
    folders = [f"{kind}/{name}" for kind in _EDITIONS for name in sorted(source.names(kind))]
    rollouts = [n for n in FrozenEvidence(source).rollouts() if n <= state.rollouts]
    folders += [f"evidence/{rollout}" for rollout in rollouts]
    for folder in folders:
        there = set(target.names(folder)) if target is not None else set()
        names = sorted(name for name in source.names(folder) if name.endswith(".json"))
        yield from ((f"{folder}/{name}", f"{folder}/{name}") for name in names if name not in there)
    there = set(target.names("removed")) if target is not None else set()
    here = set(source.names("removed"))
    for digest in sorted(state.removed):
        key = publish.removed_key(digest)
        if f"{digest}.json" not in there:
            yield key, key if f"{digest}.json" in here else f"{publish.key(digest)}/{MANIFEST}"


def copy(source: "Store", target: "Store", *, step: Step, now: float, keep_local: bool) -> Copied:
    """Sends what `target` lacks. `keep_local`: whether copies of what goes to a bucket stay on this machine.

    Raises Conflict for another history, Corrupt when the source's journal is damaged.
    """
    for _ in range(_ROUNDS):
        wanted = plan(source, target)
        unfinished.mark(target.backend, Told(source=source.backend.name(""), seq=wanted.state.seq, time=now))
        sender = _Sender(source, target, step, keep_local=keep_local)
        sender.trees(wanted)
        sender.documents(wanted)
        sender.editions()
        sender.feedback()
        sender.gallery()
        if source.state().removed - wanted.state.removed and sender.left_out:
            continue  # what is missing was removed meanwhile: what events name is another now
        sender.events(wanted)
        target.snapshot()
        unfinished.unmark(target.backend)
        began = unfinished.words(source.backend)
        return msgspec.structs.replace(
            Copied.would_be(wanted),
            dry_run=False,
            bytes=sender.sent,
            left_out=(*((began,) if began else ()), *sender.left_out),
            conflicts=tuple(sender.conflicts),
        )
    raise Conflict("Versions are removed as fast as they are copied.", remedy="Try again.")


class _Sender:
    def __init__(self, source: "Store", target: "Store", step: Step, *, keep_local: bool) -> None:
        self._source = source.backend
        self._target = target.backend
        self._step = step
        self._keep_local = keep_local
        self.sent = 0
        self.left_out: list[str] = []
        self.conflicts: list[str] = []

    def trees(self, wanted: Plan) -> None:
        """Sends trees, some at once, but what is damaged or gone."""
        with ThreadPoolExecutor(_TREES_AT_ONCE, thread_name_prefix="copy") as pool:
            futures = [pool.submit(self._tree, tree) for tree in wanted.trees]
            try:
                found = [future.result() for future in futures]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        self.left_out += [words for words in found if words]

    def _tree(self, tree: Tree) -> str:
        with self._target.new_tree(tree.key) as folder:
            try:
                self._fill(tree, folder)
                _check_tree(folder, tree)
            except FileNotFoundError as error:
                return f"{error.filename} is missing."
            except (Corrupt, NotFound) as error:
                return error.message.replace(str(folder), self._source.name(tree.key))
            self._target.publish_tree(folder, tree.key, index=tree.index_name)
        if not self._keep_local:
            self._target.forget_local(tree.key)
        return ""

    def _fill(self, tree: Tree, folder: Path) -> None:
        names = self._source.files(tree.key)
        if tree.index_name not in names:
            raise NotFound(f"{self._source.name(tree.key)}/{tree.index_name} is missing.")
        for name in names:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as file:
                for piece in self._source.chunks(f"{tree.key}/{name}"):
                    file.write(piece)
                    self._count(f"{tree.key}/{name}", len(piece))

    def documents(self, wanted: Plan) -> None:
        """Sends documents in their order, read ahead, but what is damaged or gone."""
        origins = {here: there for there, here in wanted.documents}
        for here, data in _read_ahead(self._source, origins):
            there = origins[here]
            try:
                _check_document(there, data, self._source.name(here))
            except Corrupt as error:
                self.left_out.append(error.message)
                continue
            assert data is not None
            if not self._target.put_if_absent(there, data):
                raise _written_by_others(self._target.name(there))
            self._count(there, len(data))

    def editions(self) -> None:
        """Looks at the editions that both have; what was written there since by others is named and stays."""
        keys = [
            f"{kind}/{name}/{edition}"
            for kind in _EDITIONS
            for name in self._target.names(kind)
            for edition in sorted(
                {*self._source.names(f"{kind}/{name}")} & {*self._target.names(f"{kind}/{name}")}
            )
            if edition.endswith(".json")
        ]
        for (key, here), (_, there) in zip(
            _read_ahead(self._source, keys), _read_ahead(self._target, keys), strict=True
        ):
            if here == there:
                continue
            try:
                _check_document(key, here, self._source.name(key))
            except Corrupt as error:
                self.left_out.append(error.message)
                continue
            with contextlib.suppress(Corrupt):  # damage in the copy is named by the check that follows
                _check_document(key, there, self._target.name(key))
                self.conflicts.append(
                    f"{self._target.name(key)} differs from {self._source.name(key)}: it stays. "
                    "Somebody wrote to the copy; copy into a new place."
                )

    def feedback(self) -> None:
        """Sends ground truth that is new or newer."""
        found = FeedbackCopy(self._source, self._target, self._count)
        found.run()
        self.left_out += found.damaged
        self.conflicts += found.conflicts

    def gallery(self) -> None:
        """Sends disagreements that are new, and what people said of them since."""
        found = GalleryCopy(self._source, self._target, self._count)
        found.run()
        self.left_out += found.damaged
        self.conflicts += found.conflicts

    def events(self, wanted: Plan) -> None:
        """Appends the events, each to its predecessor."""
        before = wanted.events.start - 1
        entry = Journal(self._target).read(before) if before else None
        head = entry.digest if entry is not None else ""
        keys = (f"journal/{seq:010d}.json" for seq in wanted.events)
        for key, data in _read_ahead(self._source, keys):
            name = self._source.name(key)
            if data is None:
                raise Corrupt(f"{name} is missing.", remedy="`serinus store check` says what can be done.")
            event, digest = decode(data, name)
            if event.prev != head:
                raise Corrupt(f"{name} does not follow its predecessor.", remedy="Check the source first.")
            if not self._target.put_if_absent(key, data):
                raise _written_by_others(self._target.name(key))
            head = digest
            self._count(key, len(data))

    def _count(self, what: str, size: int) -> None:
        self.sent += size
        self._step(what, size)


def _read_ahead(place: "Backend", keys: Iterable[str]) -> Iterator[tuple[str, bytes | None]]:
    rest = iter(keys)
    with ThreadPoolExecutor(8, thread_name_prefix="read") as pool:
        while batch := list(islice(rest, _AHEAD)):
            yield from zip(batch, pool.map(place.read, batch), strict=True)


def _check_tree(folder: Path, tree: Tree) -> None:
    """Raises Corrupt, naming the file, for what is not what its index names."""
    digest = Digest(tree.key.rpartition("/")[2])
    if tree.index_name == MANIFEST:
        publish.check_folder(folder, digest)
    else:
        golden.verify(folder, golden.read_index(folder, digest), digest)


def _check_document(key: str, data: bytes | None, name: str) -> None:
    """Raises Corrupt for what is not what was written, as far as its kind can tell."""
    if data is None:
        raise Corrupt(f"{name} is missing.")
    if key.startswith("evidence/"):
        decode_slice(data, name)
    elif key.startswith("golden/"):
        golden.decode_record(data, name)
    elif key.startswith("policies/"):
        decode_edition(data, name, key.split("/")[1], int(key[-15:-5]))
    elif key.startswith("removed/") and sha256_bytes(data) != key[-69:-5]:
        raise Corrupt(f"{name} is not what was published: its hash does not match.")


def _written_by_others(name: str) -> Conflict:
    return Conflict(
        f"{name} is there by now, and is another one: somebody writes to the copy.",
        remedy="Nobody may serve from a copy while it is copied into. Stop that; copy into a new place.",
    )
