"""Frozen evidence, which is never changed, and ground truth that came later."""

from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

from serinus.artifact.files import sha256_bytes
from serinus.core.errors import Corrupt
from serinus.core.ids import Digest
from serinus.store.checking.chronicle import Chronicle
from serinus.store.checking.findings import RESTORE, Kind, Problem, Severity, problem
from serinus.store.checking.ground import Ground
from serinus.store.checking.sequence import Part, parts
from serinus.store.frozen import FrozenEvidence, FrozenSlice, decode_slice

_TAIL = f"{RESTORE} Without a backup, what was judged stays in the journal and its numbers do not."


class _Wrong(NamedTuple):
    kind: Kind
    words: str


def evidence_problems(ground: Ground, chronicle: Chronicle) -> Iterator[Problem]:
    """Every chain of slices, and that what events cite is there."""
    cited = defaultdict(list)
    for citation in chronicle.citations:
        cited[citation.rollout].append(citation)
    rollouts = FrozenEvidence(ground.backend).rollouts()
    for rollout in sorted({*rollouts, *cited}):
        chain = _Chain(ground, rollout, max((citation.k for citation in cited[rollout]), default=-1))
        yield from chain.problems()
        for citation in cited[rollout]:
            if citation.digest and citation.digest not in chain.digests and not chain.broken:
                yield problem(
                    Severity.ERROR,
                    Kind.LOST,
                    ground.name(f"evidence/{rollout}"),
                    f"{citation.name} rests on slice {citation.digest[:12]}..., which is not here.",
                    remedy=_TAIL,
                    heal=partial(chain.restore_up_to, citation.digest) if ground.other is not None else None,
                )


class _Chain:
    """The slices of one rollout. `at_least`: a number that an event names, so that it must be there."""

    def __init__(self, ground: Ground, rollout: int, at_least: int) -> None:
        self._ground = ground
        self._rollout = rollout
        self._at_least = at_least
        self.digests: set[Digest] = set()
        self.broken = False
        """Whether a slice is damaged or missing: then more cannot be said about what is cited."""
        self._head: str | None = ""
        self._next = 0
        """The slice that would come after the last one that was read."""

    def problems(self) -> Iterator[Problem]:
        listed = FrozenEvidence(self._ground.backend).numbers(self._rollout)
        for part in parts(self._ground, self._key, [self._at_least, *listed], start=0):
            yield from self._run(part) if part.found is None else self._slice(part.first, part.found)

    def _run(self, run: Part) -> Iterator[Problem]:
        yield problem(
            Severity.ERROR,
            Kind.MISSING,
            self._ground.name(self._key(run.first)),
            f"{run.words('Slice')} missing of rollout {self._rollout}.",
            remedy=RESTORE,
            heal=(lambda: self._restore_run(run)) if self._ground.other is not None else None,
        )
        k = run.first
        while k <= run.last and (found := self._ground.read(self._key(k))) is not None:
            yield from self._slice(k, found)
            k += 1
        if k <= run.last:
            self.broken, self._head = True, None

    def _slice(self, k: int, found: bytes | Corrupt) -> Iterator[Problem]:
        wrong = self._take(k, found)
        if wrong is None:
            return
        key = self._key(k)
        yield problem(
            Severity.ERROR,
            wrong.kind,
            self._ground.name(key),
            wrong.words,
            remedy=RESTORE,
            heal=(lambda: self._restore(k, self._head) is not None)
            if self._ground.other is not None
            else None,
        )
        try:
            now = self._ground.read(key)
            again = wrong if now is None else self._take(k, now)
        except Corrupt:
            again = wrong
        if again is not None:
            self.broken, self._head = True, None

    def _take(self, k: int, found: bytes | Corrupt) -> _Wrong | None:
        if isinstance(found, Corrupt):
            return _Wrong(Kind.CHANGED, found.message)
        frozen = self._decode(found, k)
        if isinstance(frozen, Corrupt):
            return _Wrong(Kind.CHANGED, frozen.message)
        if self._head is not None and frozen.prev != self._head:
            return _Wrong(Kind.CHAIN, f"It does not follow slice {k - 1}: it names another predecessor.")
        self._head, self._next = sha256_bytes(found), k + 1
        self.digests.add(Digest(self._head))
        return None

    def _decode(self, data: bytes, k: int) -> FrozenSlice | Corrupt:
        name = self._ground.name(self._key(k))
        try:
            frozen = decode_slice(data, name)
        except Corrupt as error:
            return error
        if (frozen.rollout, frozen.k) != (self._rollout, k):
            return Corrupt(f"{name} holds slice {frozen.k} of rollout {frozen.rollout}.")
        return frozen

    def _restore_run(self, run: Part) -> bool:
        head = self._head
        for k in range(run.first, run.last + 1):
            restored = self._restore(k, head)
            if restored is None:
                return False
            head = restored
        return True

    def _restore(self, k: int, head: str | None) -> str | None:
        """`head`: sha256 of the slice before, None when that one cannot be read. Gives its own; None when
        the other store has none that fits."""
        other, own = self._ground.other, self._ground.backend
        data = other.read(self._key(k)) if other is not None else None
        frozen = self._decode(data, k) if data is not None else None
        after = own.read(self._key(k + 1))
        following = self._decode(after, k + 1) if after is not None else None
        if data is None or not isinstance(frozen, FrozenSlice):
            return None
        if head is not None and frozen.prev != head:
            return None
        if isinstance(following, FrozenSlice) and following.prev != sha256_bytes(data):
            return None
        if head is None and not isinstance(following, FrozenSlice):
            return None  # nothing says that it is the one
        return sha256_bytes(data) if self._ground.put_document(self._key(k), data) else None

    def restore_up_to(self, digest: str) -> bool:
        """The newest slices, from the other store, when they follow one another up to the one wanted."""
        assert self._ground.other is not None
        head, restored = self._head, list[tuple[str, bytes]]()
        while head != digest:
            k = self._next + len(restored)
            data = self._ground.other.read(self._key(k))
            frozen = self._decode(data, k) if data is not None else None
            if data is None or not isinstance(frozen, FrozenSlice) or frozen.prev != head:
                return False
            head = sha256_bytes(data)
            restored.append((self._key(k), data))
        for key, data in restored:
            if not self._ground.put_document(key, data) or self._take(self._next, data) is not None:
                return False
        return True

    def _key(self, k: int) -> str:
        return f"evidence/{self._rollout}/{k:010d}.json"
