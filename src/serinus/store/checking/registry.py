"""Every version's artifact, byte by byte; what has no version; the manifests of what was removed."""

from collections.abc import Iterator

from serinus.artifact.files import sha256_bytes
from serinus.artifact.validate import MANIFEST
from serinus.core.errors import Corrupt
from serinus.core.ids import Digest
from serinus.rollout.state import State
from serinus.store.checking.chronicle import Chronicle
from serinus.store.checking.findings import RESTORE, Kind, Problem, Severity, problem
from serinus.store.checking.ground import Ground
from serinus.store.checking.trees import ARTIFACT, Donors, tree_problems
from serinus.store.publish import Artifacts, is_digest, key, removed_key

_OLD_SECONDS = 24 * 3600.0
_COLLECT = "`serinus versions gc` takes it away."


def artifact_problems(ground: Ground, donors: Donors, chronicle: Chronicle) -> Iterator[Problem]:
    """Looks at all trees below `artifacts/`, and at `removed/`."""
    state = chronicle.state
    needed = state.kept if chronicle.whole else state.kept | chronicle.published
    present = Artifacts(ground.backend).digests()
    for digest in sorted(needed):
        if not chronicle.whole and digest not in state.kept and digest not in present:
            continue  # it may have been removed by an event that cannot be read
        yield from tree_problems(
            ground,
            donors,
            key(digest),
            ARTIFACT,
            gone=lambda digest=digest: digest not in chronicle.now().kept,  # type: ignore[misc]
        )
    if not chronicle.whole:
        return
    newer = chronicle.now()
    for digest in present:
        if digest not in newer.kept:
            yield from _unneeded(ground, donors, digest, newer, lost=chronicle.lost)
    yield from _removed(ground, donors, state)


def _unneeded(
    ground: Ground, donors: Donors, digest: Digest, state: State, *, lost: bool
) -> Iterator[Problem]:
    touched = ground.backend.touched(key(digest))
    if touched == float("inf"):
        return  # taken away meanwhile
    name = ground.name(key(digest))
    if digest in state.removed:
        words = "Only removed versions have it."
        yield problem(Severity.INFO, Kind.REMOVED, name, words, remedy=_COLLECT)
    elif lost:
        words = "No version has it, as far as the journal goes: one that is lost may have it."
        yield problem(Severity.INFO, Kind.ORPHAN, name, words)
    elif touched < ground.now - _OLD_SECONDS:
        words = "No version has it: its publication was interrupted."
        yield problem(Severity.WARNING, Kind.ORPHAN, name, words, remedy=_COLLECT)
    else:
        words = "No version has it yet: it is being published, or that was interrupted within the last day."
        yield problem(Severity.INFO, Kind.ORPHAN, name, words)
    if ground.backend.exists(f"{key(digest)}/{MANIFEST}") or not ground.backend.remote:
        yield from tree_problems(
            ground, donors, key(digest), ARTIFACT, severity=Severity.WARNING, gone=lambda: True
        )


def _removed(ground: Ground, donors: Donors, state: State) -> Iterator[Problem]:
    """The history of a removed version needs its manifest, here or in what is left of its artifact."""
    stored = {name.removesuffix(".json") for name in ground.backend.names("removed")}
    for digest in sorted({*filter(is_digest, stored), *state.removed}):
        if digest not in stored and ground.backend.exists(f"{key(Digest(digest))}/{MANIFEST}"):
            continue
        document = removed_key(Digest(digest))
        try:
            data = ground.read(document)
        except Corrupt:
            data = b""
        if data is not None and sha256_bytes(data) == digest:
            continue

        def heal(document: str = document, digest: str = digest) -> bool:
            source = donors.find(digest)
            if source is None:
                return False
            return ground.put_document(document, b"".join(source.backend.chunks(source.key)))

        words = "The manifest of a removed version is missing." if data is None else "It was changed."
        yield problem(
            Severity.ERROR,
            Kind.MISSING if data is None else Kind.CHANGED,
            ground.name(document),
            words,
            remedy=RESTORE,
            heal=heal if donors.has(digest) else None,
        )
