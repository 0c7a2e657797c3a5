"""The gallery of disagreements: documents that carry a check, and pictures that they name by their hash.

It serves people and decides nothing, so what is wrong in it is a warning; a repair takes the file from the
copy, or puts a disagreement aside that cannot be shown any more.
"""

from collections.abc import Iterator

from serinus.artifact.files import sha256_bytes
from serinus.core.errors import Corrupt
from serinus.store.checking.findings import REPAIR, Kind, Problem, Severity, problem
from serinus.store.checking.ground import Ground
from serinus.store.gallery import GALLERY, Disagreement, decode_disagreement
from serinus.store.sealed import unseal

_REMEDY = f"{REPAIR} It is taken from the copy, or moved to lost+found/."


def gallery_problems(ground: Ground) -> Iterator[Problem]:
    """Every disagreement of every rollout, with its pictures and what people said of it."""
    names = ground.backend.names
    for rollout in sorted(filter(str.isdecimal, names(GALLERY))):
        folder = f"{GALLERY}/{rollout}"
        files = sorted(names(folder))
        for key, found in ground.read_all(f"{folder}/{name}" for name in files if name.endswith(".json")):
            yield from _item_problems(ground, key, found)
        for key, found in ground.read_all(f"{folder}/{name}" for name in files if name.endswith(".mark")):
            try:
                _whole(found, ground.name(key))
            except Corrupt as error:
                yield _problem(ground, key, Kind.CHANGED, error.message, document=key)


def _item_problems(ground: Ground, key: str, found: bytes | Corrupt | None) -> Iterator[Problem]:
    try:
        item = _item(found, ground.name(key))
    except Corrupt as error:
        yield _problem(ground, key, Kind.CHANGED, error.message, document=key)
        return
    if item is None:
        return  # it went meanwhile
    for kind, expected in sorted(item.files.items()):
        path = f"{key.removesuffix('.json')}.{kind}"
        try:
            data = ground.read(path)
        except Corrupt as error:
            yield _problem(ground, path, Kind.CHANGED, error.message, document=key, expected=expected)
            continue
        if data is not None and sha256_bytes(data) == expected:
            continue
        if ground.backend.read(key) is None:
            return
        kind_of = Kind.MISSING if data is None else Kind.CHANGED
        words = "It is missing." if data is None else "It is not what was kept: its hash does not match."
        yield _problem(ground, path, kind_of, words, document=key, expected=expected)


def _item(found: bytes | Corrupt | None, name: str) -> Disagreement | None:
    if isinstance(found, Corrupt):
        raise found
    return None if found is None else decode_disagreement(found, name)


def _whole(found: bytes | Corrupt | None, name: str) -> None:
    if isinstance(found, Corrupt):
        raise found
    if found is not None:
        unseal(found, name)


def _problem(
    ground: Ground, key: str, kind: Kind, words: str, *, document: str, expected: str = ""
) -> Problem:
    """`document`: what is put aside when the copy has nothing better; `expected`: the file's sha256."""

    def heal() -> bool:
        data = ground.other.read(key) if ground.other is not None else None
        if data is not None and _fits(data, key, expected):
            return ground.put_document(key, data)
        return ground.put_aside(document)

    return problem(Severity.WARNING, kind, ground.name(key), words, remedy=_REMEDY, heal=heal)


def _fits(data: bytes, key: str, expected: str) -> bool:
    if expected:
        return sha256_bytes(data) == expected
    try:
        unseal(data, key)
    except Corrupt:
        return False
    return True
