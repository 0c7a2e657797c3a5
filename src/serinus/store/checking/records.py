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
        end = max([self._at_least, *listed])
        for key, found in self._ground.read_all(self._key(k) for k in range(end + 1)):
            k = int(key[-15:-5])
            wrong = self._take(k, found)
            if wrong is None:
                continue
            yield problem(
                Severity.ERROR,
                wrong.kind,
                self._ground.name(key),
                wrong.words,
                remedy=RESTORE,
                heal=(lambda k=k: self._restore(k)) if self._ground.other is not None else None,  # type: ignore[misc]
            )
            try:
                again = self._take(k, self._ground.read(key))
            except Corrupt:
                again = wrong
            if again is not None:
                self.broken, self._head = True, None

    def _take(self, k: int, found: bytes | Corrupt | None) -> _Wrong | None:
        if found is None:
            return _Wrong(Kind.MISSING, f"Slice {k} of rollout {self._rollout} is missing.")
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

    def _restore(self, k: int) -> bool:
        other, own = self._ground.other, self._ground.backend
        data = other.read(self._key(k)) if other is not None else None
        frozen = self._decode(data, k) if data is not None else None
        after = own.read(self._key(k + 1))
        following = self._decode(after, k + 1) if after is not None else None
        if data is None or not isinstance(frozen, FrozenSlice):
            return False
        if self._head is not None and frozen.prev != self._head:
            return False
        if isinstance(following, FrozenSlice) and following.prev != sha256_bytes(data):
            return False
        if self._head is None and not isinstance(following, FrozenSlice):
            return False  # nothing says that it is the one
        return self._ground.put_document(self._key(k), data)

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
