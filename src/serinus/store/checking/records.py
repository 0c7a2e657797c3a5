"""Numbered documents that are never changed: frozen evidence, editions of golden sets and of policies."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import NamedTuple

from serinus.artifact.files import sha256_bytes
from serinus.core.errors import Corrupt
from serinus.core.ids import Digest
from serinus.store import golden, publish
from serinus.store.checking.chronicle import NUMBERED, Chronicle
from serinus.store.checking.findings import RESTORE, Kind, Problem, Severity, problem
from serinus.store.checking.ground import Ground
from serinus.store.checking.trees import GOLDEN, GOLDEN_INDEX, Donors, tree_problems
from serinus.store.frozen import FrozenEvidence, FrozenSlice, decode_slice
from serinus.store.policies import decode_edition

_TAIL = f"{RESTORE} Without a backup, what was judged stays in the journal and its numbers do not."
_OLD_SECONDS = 24 * 3600.0


class _Wrong(NamedTuple):
    kind: Kind
    words: str


def evidence_problems(ground: Ground, chronicle: Chronicle, *, copying: bool) -> Iterator[Problem]:
    """Every chain of slices; that what events cite is there; that the journal knows the rollouts.

    `copying`: evidence may be ahead of the journal, which is copied last.
    """
    cited = defaultdict(list)
    for citation in chronicle.citations:
        cited[citation.rollout].append(citation)
    rollouts = FrozenEvidence(ground.backend).rollouts()
    for rollout in sorted({*rollouts, *cited}):
        chain = _Chain(ground, rollout, max((citation.k for citation in cited[rollout]), default=-1))
        yield from chain.problems()
        for citation in cited[rollout]:
            if citation.digest and citation.digest not in chain.digests and not chain.broken:
                folder = ground.name(f"evidence/{rollout}")
                words = f"{citation.name} rests on slice {citation.digest[:12]}..., which is not here."
                yield problem(Severity.ERROR, Kind.LOST, folder, words, remedy=_TAIL)
    known = chronicle.now().rollouts if chronicle.whole else max(rollouts, default=0)
    if not copying and rollouts and rollouts[-1] > known:
        yield problem(
            Severity.ERROR,
            Kind.LOST,
            ground.name(f"evidence/{rollouts[-1]}"),
            f"It is of rollout {rollouts[-1]}; the journal knows {known}: its newest part is lost.",
            remedy=RESTORE,
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
        self._head = sha256_bytes(found)
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

    def _key(self, k: int) -> str:
        return f"evidence/{self._rollout}/{k:010d}.json"


# -- editions ------------------------------------------------------------------------------------------------


def golden_problems(ground: Ground, donors: Donors) -> Iterator[Problem]:
    """Every edition of every golden set, its tree byte by byte, and trees that no edition names."""
    for name in sorted(ground.backend.names("golden")):
        trees = [tree for tree in ground.backend.names(f"golden/{name}") if publish.is_digest(tree)]
        digests: set[str] = set()

        def keep(data: bytes, key: str, digests: set[str] = digests) -> None:
            digests.add(golden.decode_record(data, key).digest)

        yield from _edition_problems(ground, f"golden/{name}", keep)
        for digest in sorted({*digests, *trees}):
            key = f"golden/{name}/{digest}"
            named = digest in digests
            if not named:
                yield from _unnamed(ground, key)
            severity = Severity.ERROR if named else Severity.WARNING
            if named or not ground.backend.remote or ground.backend.exists(f"{key}/{GOLDEN_INDEX}"):
                yield from tree_problems(
                    ground,
                    donors,
                    key,
                    GOLDEN,
                    severity=severity,
                    gone=lambda named=named: not named,  # type: ignore[misc]
                )


def _unnamed(ground: Ground, key: str) -> Iterator[Problem]:
    old = ground.backend.touched(key) < ground.now - _OLD_SECONDS
    yield problem(
        Severity.WARNING if old else Severity.INFO,
        Kind.ORPHAN,
        ground.name(key),
        "No edition names it: it is being added, or that was interrupted.",
        remedy="Add the set again, or move the folder away." if old else "",
    )


def policy_problems(ground: Ground) -> Iterator[Problem]:
    """Every edition of every named policy."""

    for name in sorted(ground.backend.names("policies")):

        def look(data: bytes, key: str, policy: str = name) -> None:
            decode_edition(data, key, policy, int(key[-15:-5]))

        yield from _edition_problems(ground, f"policies/{name}", look)


def _edition_problems(ground: Ground, folder: str, look: Callable[[bytes, str], None]) -> Iterator[Problem]:
    """Editions 1, 2, 3 ... without a gap, each accepted by `look`, which raises Corrupt."""
    numbers = [int(m[1]) for m in map(NUMBERED.fullmatch, ground.backend.names(folder)) if m]
    for n in range(1, max(numbers, default=0) + 1):
        key = f"{folder}/{n:010d}.json"
        wrong = _edition(ground, key, look)
        if wrong is None:
            continue

        def heal(key: str = key) -> bool:
            data = ground.other.read(key) if ground.other is not None else None
            try:
                look(data or b"", key)
            except Corrupt:
                return False
            return ground.put_document(key, data or b"")

        able = heal if ground.other is not None else None
        yield problem(Severity.ERROR, wrong.kind, ground.name(key), wrong.words, remedy=RESTORE, heal=able)
        _edition(ground, key, look)


def _edition(ground: Ground, key: str, look: Callable[[bytes, str], None]) -> _Wrong | None:
    try:
        data = ground.read(key)
        if data is None:
            return _Wrong(Kind.MISSING, "This edition is missing; later ones are there.")
        look(data, ground.name(key))
    except Corrupt as error:
        return _Wrong(Kind.CHANGED, error.message)
    return None
