"""Answers that were kept, and the ground truth that came for them, with their pictures.

Feedback stays, so damage to it is an error. Kept answers pass: their readers skip what is damaged.
"""

import re
from collections.abc import Callable, Iterator

from serinus.core.errors import Corrupt, InvalidInput
from serinus.store import pictures, publish, witness
from serinus.store.checking.findings import REPAIR, RESTORE, Kind, Problem, Severity, problem
from serinus.store.checking.ground import Ground
from serinus.store.predictions import FEEDBACK, PAIRS, decode_answers, decode_feedback, pictures_key

_FILE = re.compile(r"[0-9a-f]{64}\.(json|pictures|pair)")
_ANSWERS = "predictions"


def _belongs(name: str) -> bool:
    return _FILE.fullmatch(name) is not None or witness.NUMBERED.fullmatch(name) is not None


def rooms(ground: Ground) -> Iterator[tuple[str, Callable[[str], bool]]]:
    """Every folder here, and which names belong into it."""

    def document(name: str) -> bool:
        return name.endswith(".json") and _FILE.fullmatch(name) is not None

    def pair(name: str) -> bool:
        return not name.endswith(".json") and _FILE.fullmatch(name) is not None

    yield FEEDBACK, lambda name: publish.is_digest(name) or f"{FEEDBACK}/{name}" == PAIRS
    yield PAIRS, pair
    for name in filter(publish.is_digest, ground.backend.names(FEEDBACK)):
        yield f"{FEEDBACK}/{name}", document
    for replica in ground.backend.names(_ANSWERS):
        yield f"{_ANSWERS}/{replica}", lambda name: pair(name) or witness.NUMBERED.fullmatch(name) is not None


# -- feedback ------------------------------------------------------------------------------------------------


def feedback_problems(ground: Ground) -> Iterator[Problem]:
    """Ground truth, and the pictures that it names: every byte."""
    names = ground.backend.names
    folders = [f"{FEEDBACK}/{digest}" for digest in sorted(names(FEEDBACK)) if publish.is_digest(digest)]
    keys = [f"{folder}/{name}" for folder in folders for name in sorted(names(folder))]
    named: set[str] = set()
    for key, found in ground.read_all(key for key in keys if key.endswith(".json")):
        if found is None:
            continue
        try:
            named |= _named(found, ground.name(key), key)
        except Corrupt as error:
            yield _lost(ground, key, Kind.CHANGED, error.message, _document_healer(ground, key))
            named |= _named_now(ground, key)
    yield from _pictures(ground, named)


def _named(found: bytes | Corrupt, name: str, key: str) -> set[str]:
    """Keys of the pictures that a document names by their hash. Raises Corrupt."""
    if isinstance(found, Corrupt):
        raise found
    answered = decode_feedback(found, name, key).answered
    return {pictures_key(PAIRS, answered)} if answered.pictures and answered.pictures_sha256 else set()


def _named_now(ground: Ground, key: str) -> set[str]:
    """As `_named`, of a document that may have been restored."""
    try:
        return _named(ground.read(key) or b"", "", key)
    except Corrupt:
        return set()


def _document_healer(ground: Ground, key: str) -> Callable[[], bool]:
    """The copy may hold an older truth than the one that was damaged: replaced ones are not kept."""

    def heal() -> bool:
        data = ground.other.read(key) if ground.other is not None else None
        decode_feedback(data or b"", key, key)
        return ground.put_document(key, data or b"")

    return heal


def _pictures(ground: Ground, named: set[str]) -> Iterator[Problem]:
    present = _present(ground, PAIRS)
    yield from _changed_pictures(ground, present, _lost_pictures)
    for key in sorted(named - present.keys()):
        if not ground.backend.exists(key):  # else it came after the listing
            yield _lost_pictures(ground, key, "It is missing; ground truth names it.")
    for key in sorted(present):
        if key.endswith(pictures.UNNAMED) and (words := _unreadable(ground, key)):
            yield _lost(ground, key, Kind.CHANGED, words, _unnamed_healer(ground, key))
    yield from _unsealed(ground, PAIRS, sum(key.endswith(pictures.UNNAMED) for key in present))


def _present(ground: Ground, folder: str) -> dict[str, int]:
    """What should be a file in the folder, with its size, which is 0 where a link or a folder has none."""
    names = filter(_belongs, ground.backend.names(folder))
    try:
        sizes = ground.backend.files(folder)
    except InvalidInput:
        sizes = {}
    return {f"{folder}/{name}": sizes.get(name, 0) for name in names}


def _changed_pictures(
    ground: Ground, present: dict[str, int], say: Callable[[Ground, str, str], Problem]
) -> Iterator[Problem]:
    """Files that their own hash does not name."""
    keys = [(key, size) for key, size in present.items() if key.endswith(pictures.NAMED)]
    for (key, _), sha256 in zip(keys, ground.hashes(keys, ground.backend), strict=True):
        if sha256 != _digest(key) and ground.backend.exists(key):
            yield say(ground, key, pictures.changed(ground.name(key)).message)


def _digest(key: str) -> str:
    return key.rpartition("/")[2].removesuffix(pictures.NAMED)


def _lost_pictures(ground: Ground, key: str, words: str) -> Problem:
    kind = Kind.CHANGED if ground.backend.exists(key) else Kind.MISSING
    return _lost(ground, key, kind, words, lambda: ground.restore_document(key, _digest(key)))


def _unreadable(ground: Ground, key: str) -> str:
    """What is wrong with pictures that have no hash, as far as that can be seen; empty when nothing is."""
    try:
        data = ground.read(key)
        ground.step(key, len(data or b""))
        if data is not None:
            pictures.decode(data, ground.name(key), "")
    except Corrupt as error:
        return error.message
    return ""


def _unnamed_healer(ground: Ground, key: str) -> Callable[[], bool]:
    def heal() -> bool:
        data = ground.other.read(key) if ground.other is not None else None
        pictures.decode(data or b"", key, "")
        return ground.put_document(key, data or b"")

    return heal


def _lost(ground: Ground, key: str, kind: Kind, words: str, heal: Callable[[], bool]) -> Problem:
    able = heal if ground.other is not None else None
    return problem(Severity.ERROR, kind, ground.name(key), words, remedy=RESTORE, heal=able)


def _unsealed(ground: Ground, folder: str, count: int) -> Iterator[Problem]:
    if count:
        words = f"{count} of its files were written by an older version, without a hash: they can be read, "
        words += "but a changed byte in them may not be found."
        yield problem(Severity.INFO, Kind.UNSEALED, ground.name(folder), words)


# -- answers -------------------------------------------------------------------------------------------------


def answer_problems(ground: Ground) -> Iterator[Problem]:
    """What each process answered lately: readers skip what is damaged; here it is named."""
    for replica in sorted(ground.backend.names(_ANSWERS)):
        folder = f"{_ANSWERS}/{replica}"
        present = _present(ground, folder)
        unsealed = sum(key.endswith(pictures.UNNAMED) for key in present)
        batches = [key for key in present if witness.NUMBERED.fullmatch(key.rpartition("/")[2])]
        for key, found in ground.read_all(batches):
            try:
                if isinstance(found, Corrupt):
                    raise found
                unsealed += found is not None and not decode_answers(found, ground.name(key)).sealed
            except Corrupt as error:
                yield _torn(ground, key, error.message)
        yield from _changed_pictures(ground, present, _torn)
        for key in present:
            if key.endswith(pictures.UNNAMED) and (words := _unreadable(ground, key)):
                yield _torn(ground, key, words)
        yield from _unsealed(ground, folder, unsealed)


def _torn(ground: Ground, key: str, words: str) -> Problem:
    return problem(
        Severity.WARNING,
        Kind.TORN,
        ground.name(key),
        f"It is skipped by its readers. {words}",
        remedy=f"{REPAIR} It is moved to lost+found/.",
        heal=lambda: ground.put_aside(key),
    )
