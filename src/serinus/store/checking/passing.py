"""What is true for a moment: heartbeats, the hint, observations; and what does not belong into a store.

Nothing here can be lost, so nothing here is an error; but what is wrong misleads people and costs time.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from serinus.core.errors import Corrupt
from serinus.store import gallery, publish, witness
from serinus.store.checking import judged
from serinus.store.checking.chronicle import Chronicle
from serinus.store.checking.findings import REPAIR, Kind, Problem, Severity, problem
from serinus.store.checking.ground import Ground
from serinus.store.heartbeats import Replica, Routes
from serinus.store.local import TEMPORARY
from serinus.store.observations import OBSERVATIONS, PAIRS, decode_observation, decode_pairs
from serinus.store.sealed import unseal

_LEFT_SECONDS = 3600.0
_DECIMAL = re.compile(r"\d+")
_ASIDE = f"{REPAIR} It is moved to lost+found/."


# -- documents -----------------------------------------------------------------------------------------------


def passing_problems(ground: Ground, chronicle: Chronicle) -> Iterator[Problem]:
    """Heartbeats, the hint and observations: readers skip what is damaged; here it is named."""
    names = sorted(name for name in ground.backend.names("replicas") if name.endswith(".json"))
    yield from _torn(ground, [f"replicas/{name}" for name in names], _decode(Replica))
    yield from _torn(ground, ["routes.json"], _decode(Routes))
    yield from _wrong_hint(ground, chronicle)
    yield from _torn(ground, _reported(ground, OBSERVATIONS), decode_observation)
    yield from _torn(ground, _reported(ground, PAIRS), decode_pairs)


def _reported(ground: Ground, folder: str) -> list[str]:
    """Every slice that replicas reported there."""
    replicas = [
        f"{folder}/{rollout}/{replica}"
        for rollout in sorted(ground.backend.names(folder))
        for replica in sorted(ground.backend.names(f"{folder}/{rollout}"))
    ]
    return [
        f"{replica}/{name}"
        for replica in replicas
        for name in sorted(ground.backend.names(replica))
        if witness.NUMBERED.fullmatch(name)
    ]


def _decode(kind: type[object]) -> Callable[[bytes, str], object]:
    def decode(data: bytes, name: str) -> object:
        try:
            return msgspec.json.decode(unseal(data, name), type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Corrupt(f"It cannot be read: {error}.") from error

    return decode


def _torn(ground: Ground, keys: list[str], decode: Callable[[bytes, str], object]) -> Iterator[Problem]:
    for key, found in ground.read_all(keys):
        try:
            if isinstance(found, Corrupt):
                raise found
            if found is not None:
                decode(found, ground.name(key))
        except Corrupt as error:
            words = f"It is skipped by its readers. {error.message}"
            yield problem(
                Severity.WARNING,
                Kind.TORN,
                ground.name(key),
                words,
                remedy=_ASIDE,
                heal=lambda key=key: ground.put_aside(key),  # type: ignore[misc]
            )


def _wrong_hint(ground: Ground, chronicle: Chronicle) -> Iterator[Problem]:
    """A hint for the very state that was read must agree with it; an older one is followed by readers."""
    try:
        data = ground.read("routes.json")
        hint = None if data is None else msgspec.json.decode(unseal(data, ""), type=Routes)
    except (Corrupt, msgspec.DecodeError, UnicodeDecodeError):
        return
    state = chronicle.state
    if hint is None or not chronicle.whole or hint.seq != state.seq:
        return
    served = hint.current.digest if hint.current is not None else None
    current = state.versions[state.current].digest if state.current is not None else None
    if served != current:
        yield problem(
            Severity.WARNING,
            Kind.HINT,
            ground.name("routes.json"),
            "It names another current version than the journal does.",
            remedy=_ASIDE,
            heal=lambda: ground.put_aside("routes.json"),
        )


# -- what does not belong here -------------------------------------------------------------------------------


def stray_problems(ground: Ground) -> Iterator[Problem]:
    """Files and folders in the store's own folders that the store did not make."""
    backend = ground.backend
    for folder, belongs in _rooms(ground):
        for name in sorted(backend.names(folder)):
            if not belongs(name) and not name.startswith(TEMPORARY):
                key = f"{folder}/{name}"
                yield problem(
                    Severity.WARNING,
                    Kind.EXTRA,
                    ground.name(key),
                    "It is none of the store's files.",
                    remedy=_ASIDE,
                    heal=lambda key=key: ground.put_aside(key),  # type: ignore[misc]
                )


def _rooms(ground: Ground) -> Iterator[tuple[str, Callable[[str], bool]]]:
    """Every folder of documents, and which names belong into it."""

    def numbered(name: str) -> bool:
        return witness.NUMBERED.fullmatch(name) is not None

    def decimal(name: str) -> bool:
        return _DECIMAL.fullmatch(name) is not None

    names = ground.backend.names
    yield "journal", lambda name: numbered(name) or name == "snapshots"
    yield "journal/snapshots", numbered
    yield "artifacts", publish.is_digest
    yield "removed", lambda name: publish.is_digest(name.removesuffix(".json")) and name.endswith(".json")
    yield "replicas", lambda name: name.endswith(".json")
    for folder in ("evidence", OBSERVATIONS, PAIRS, gallery.GALLERY):
        yield folder, decimal
    for rollout in filter(decimal, names("evidence")):
        yield f"evidence/{rollout}", numbered
    for folder in (OBSERVATIONS, PAIRS):
        for rollout in filter(decimal, names(folder)):
            for replica in names(f"{folder}/{rollout}"):
                yield f"{folder}/{rollout}/{replica}", numbered
    for rollout in filter(decimal, names(gallery.GALLERY)):
        yield f"{gallery.GALLERY}/{rollout}", gallery.belongs
    for name in names("golden"):
        yield f"golden/{name}", lambda name: numbered(name) or publish.is_digest(name)
    for name in names("policies"):
        yield f"policies/{name}", numbered
    yield from judged.rooms(ground)


def leftover_problems(ground: Ground) -> Iterator[Problem]:
    """Temporary files and folders that killed writers left over an hour ago."""
    before = ground.now - _LEFT_SECONDS
    if ground.backend.remote:
        for name in ground.backend.names("probes"):
            key = f"probes/{name}"
            if ground.backend.touched(key) < before:
                yield _leftover(ground.name(key), lambda key=key: _remove(ground, key))  # type: ignore[misc]
    if ground.root is None or not ground.root.is_dir():
        return
    for path in sorted(_temporary(ground.root)):
        if ground.disk.abandoned(path, before=before):
            yield _leftover(str(path), lambda: _sweep(ground, before))


def _leftover(name: str, heal: Callable[[], bool]) -> Problem:
    words = "A writer that was killed left it; nobody reads it."
    return problem(
        Severity.WARNING, Kind.LEFTOVER, name, words, remedy=f"{REPAIR} So does the next start.", heal=heal
    )


def _temporary(root: Path) -> Iterator[Path]:
    yield from (root / ".tmp").glob("*")
    for pattern in (f"{TEMPORARY}*", f"*/{TEMPORARY}*", f"golden/*/{TEMPORARY}*"):
        yield from root.glob(pattern)


def _sweep(ground: Ground, before: float) -> bool:
    ground.disk.sweep_all(before=before)
    return True


def _remove(ground: Ground, key: str) -> bool:
    ground.backend.remove(key)
    return True
