"""Editions of golden sets and of policies, and the trees that golden sets name.

Which editions there must be is told by their numbers, which have no gap, and by the events that name them.
"""

from collections.abc import Callable, Iterator, Mapping

from serinus.artifact.files import sha256_bytes
from serinus.core.enums import Named
from serinus.core.errors import Corrupt
from serinus.store import golden, publish, witness
from serinus.store.checking.chronicle import Chronicle
from serinus.store.checking.findings import RESTORE, Kind, Problem, Severity, problem
from serinus.store.checking.ground import Ground
from serinus.store.checking.sequence import Part, parts
from serinus.store.checking.trees import GOLDEN, GOLDEN_INDEX, Donors, tree_problems
from serinus.store.policies import decode_edition

_OLD_SECONDS = 24 * 3600.0


def golden_problems(ground: Ground, donors: Donors, chronicle: Chronicle) -> Iterator[Problem]:
    """Every edition of every golden set, its tree byte by byte, and trees that no edition names."""
    for name in _names(ground, chronicle, Named.GOLDEN):
        trees = [tree for tree in ground.backend.names(f"golden/{name}") if publish.is_digest(tree)]
        digests: set[str] = set()

        def keep(data: bytes, key: str, digests: set[str] = digests) -> None:
            digests.add(golden.decode_record(data, key).digest)

        yield from _edition_problems(ground, chronicle, f"golden/{name}", keep)
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


def policy_problems(ground: Ground, chronicle: Chronicle) -> Iterator[Problem]:
    """Every edition of every named policy."""

    for name in _names(ground, chronicle, Named.POLICY):

        def look(data: bytes, key: str, policy: str = name) -> None:
            decode_edition(data, key, policy, int(key[-15:-5]))

        yield from _edition_problems(ground, chronicle, f"policies/{name}", look)


def _names(ground: Ground, chronicle: Chronicle, what: Named) -> list[str]:
    """Names that are there, and those that only events tell of."""
    told = (folder.partition("/") for folder, _ in chronicle.editions)
    return sorted({*ground.backend.names(what), *(name for kind, _, name in told if kind == what)})


def _edition_problems(
    ground: Ground, chronicle: Chronicle, folder: str, look: Callable[[bytes, str], None]
) -> Iterator[Problem]:
    """Editions 1, 2, 3 ... without a gap up to the last that is told of, each accepted by `look`, which
    raises Corrupt, and the one that its event names."""
    there = witness.numbered(ground.backend.names(folder))
    told = {number: sha256 for (where, number), sha256 in chronicle.editions.items() if where == folder}
    editions = _Editions(ground, folder, look, told)
    for part in parts(ground, editions.key, [*there, *told], start=1):
        yield from editions.problems(part)
    newest = max(there, default=0)
    if chronicle.whole and newest > max(told, default=0):
        yield problem(
            Severity.INFO,
            Kind.UNRECORDED,
            ground.name(f"{folder}/{newest:010d}.json"),
            "No event names this newest edition, so that its loss would not be found. An older version of "
            "Serinus saved it, its writer was killed, or it is being saved.",
            remedy="Save it again; then one does.",
        )


class _Editions:
    """Those of one name. `told`: sha256 of each that an event names."""

    def __init__(
        self, ground: Ground, folder: str, look: Callable[[bytes, str], None], told: Mapping[int, str]
    ) -> None:
        self._ground = ground
        self._folder = folder
        self._look = look
        self._told = told

    def key(self, number: int) -> str:
        return f"{self._folder}/{number:010d}.json"

    def problems(self, part: Part) -> Iterator[Problem]:
        """Healed ones are looked at again: what they name is needed, too."""
        name = self._ground.name(self.key(part.first))
        if part.found is None:
            kind, words = Kind.MISSING, f"{part.words('Edition')} missing; events or later ones tell of it."
        else:
            wrong = self._wrong(part.first, part.found)
            if wrong is None:
                return
            kind, words = Kind.CHANGED, wrong
        able = (lambda: self._heal(part)) if self._ground.other is not None else None
        yield problem(Severity.ERROR, kind, name, words, remedy=RESTORE, heal=able)

    def _heal(self, part: Part) -> bool:
        assert self._ground.other is not None
        there = sorted(witness.numbered(self._ground.other.names(self._folder)))
        wanted = [number for number in there if part.first <= number <= part.last]
        healed = [self._restore(number) for number in wanted]
        return all(healed) and len(healed) == part.last + 1 - part.first

    def _restore(self, number: int) -> bool:
        assert self._ground.other is not None
        data = self._ground.other.read(self.key(number))
        if data is None or self._wrong(number, data) is not None:
            return False
        return self._ground.put_document(self.key(number), data)

    def _wrong(self, number: int, found: bytes | Corrupt) -> str | None:
        """What is wrong with an edition that is there."""
        key, sha256 = self.key(number), self._told.get(number)
        try:
            if isinstance(found, Corrupt):
                raise found
            self._look(found, key)
            if sha256 is not None and sha256_bytes(found) != sha256:
                raise Corrupt(f"{self._ground.name(key)} is not the edition that was saved.")
        except Corrupt as error:
            return error.message
        return None
