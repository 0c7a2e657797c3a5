"""Editions of golden sets and of policies, and the trees that golden sets name.

Which editions there must be is told by their numbers, which have no gap, and by the events that name them.
"""

from collections.abc import Callable, Iterator

from serinus.artifact.files import sha256_bytes
from serinus.core.enums import Named
from serinus.core.errors import Corrupt
from serinus.store import golden, publish
from serinus.store.checking.chronicle import NUMBERED, Chronicle
from serinus.store.checking.findings import RESTORE, Kind, Problem, Severity, problem
from serinus.store.checking.ground import Ground
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
    there = [int(m[1]) for m in map(NUMBERED.fullmatch, ground.backend.names(folder)) if m]
    told = {number: sha256 for (where, number), sha256 in chronicle.editions.items() if where == folder}
    for n in range(1, max([*there, *told], default=0) + 1):
        key, sha256 = f"{folder}/{n:010d}.json", told.get(n)

        def check(data: bytes, name: str, sha256: str | None = sha256) -> None:
            look(data, name)
            if sha256 is not None and sha256_bytes(data) != sha256:
                raise Corrupt(f"{name} is not the edition that was saved.")

        wrong = _wrong(ground, key, check)
        if wrong is None:
            continue

        def heal(key: str = key, check: Callable[[bytes, str], None] = check) -> bool:
            data = ground.other.read(key) if ground.other is not None else None
            try:
                check(data or b"", key)
            except Corrupt:
                return False
            return ground.put_document(key, data or b"") and _wrong(ground, key, check) is None

        able = heal if ground.other is not None else None
        kind, words = wrong
        yield problem(Severity.ERROR, kind, ground.name(key), words, remedy=RESTORE, heal=able)
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


def _wrong(ground: Ground, key: str, check: Callable[[bytes, str], None]) -> tuple[Kind, str] | None:
    try:
        data = ground.read(key)
        if data is None:
            return Kind.MISSING, "This edition is missing; events or later ones tell of it."
        check(data, ground.name(key))
    except Corrupt as error:
        return Kind.CHANGED, error.message
    return None
