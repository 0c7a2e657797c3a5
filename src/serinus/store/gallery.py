"""The pictures that both versions of a rollout disagree on most, bounded in number, bytes and age.

    gallery/<rollout>/<id>.json       both answers and what was measured; names the hash of each file below
    gallery/<rollout>/<id>.current    overlay of current's answer, JPEG
    gallery/<rollout>/<id>.canary     overlay of the canary's answer, JPEG
    gallery/<rollout>/<id>.pre .post  the pictures as they were sent, where the policy keeps them
    gallery/<rollout>/<id>.mark       what a person said of it

An id begins with how bad the disagreement is, and has the size of its files and a part of the pictures' hash:
a listing is the ranking, and says what goes when there is too much and which ones show the same picture. Of
those only the worst stays. Any number of replicas write to it: the id ends with a part of the request's hash,
so none writes over what another one removes. The `.json` is written last and removed first, so what is listed
is whole. Not durable: a power cut may cost the newest ones.
"""

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import TypeVar

import msgspec

from serinus.artifact.files import sha256_bytes
from serinus.core.errors import Corrupt, NotFound
from serinus.store.backend import Backend
from serinus.store.predictions import Answered
from serinus.store.sealed import seal, unseal

GALLERY = "gallery"
_ID = re.compile(r"(\d{4}-\d{4})-(\d{7})-([0-9a-f]{10})[0-9a-f]{6}")
_PICTURE, _TAIL = 10, 16
"""Hexadecimal digits of an id that tell pictures apart, and those with the request's."""
ENDING = ".json"
MARK_ENDING = ".mark"
_T = TypeVar("_T")


class GalleryFile(StrEnum):
    """What is kept beside the numbers."""

    CURRENT = "current"
    """Overlay of current's answer, JPEG."""
    CANARY = "canary"
    """Overlay of the canary's answer, JPEG."""
    PRE = "pre"
    """As it was sent."""
    POST = "post"


class Disagreement(msgspec.Struct, frozen=True, kw_only=True):
    """One picture and what both versions say about it."""

    rollout: int
    answered: Answered
    """What the user was answered."""
    shadow: Answered
    """What the other version says; its time is when it was asked."""
    f1: float
    """Agreement F1."""
    matched: int
    agreed: int
    confusion: dict[int, dict[int, int]]
    """Class by current -> class by canary -> boxes; -1 where only one version has a box."""
    score_shift: float
    """Mean over matched boxes of the canary's confidence minus current's."""
    answered_seconds: float
    shadow_seconds: float
    pair_sha256: str = ""
    """Of both pictures as they were sent, see `pair_sha256`; empty where an older version wrote it."""
    files: dict[GalleryFile, str] = {}
    """sha256 of what is kept."""

    @property
    def disputed(self) -> int:
        """Boxes of both without a partner of their class."""
        return len(self.answered.boxes) + len(self.shadow.boxes) - 2 * self.agreed


class Right(StrEnum):
    """Which version a person says is right about a picture."""

    CURRENT = "current"
    CANARY = "canary"
    BOTH = "both"
    NEITHER = "neither"


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """What a person said of a disagreement."""

    dismissed: bool
    """Nothing to learn from it: it is not exported."""
    right: Right | None = None
    """Who is right; None while nobody said."""
    actor: str
    reason: str = ""
    time: float
    """UTC seconds."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Of one rollout's gallery."""

    items: int = 50
    bytes: int = 200_000_000


def rank_of(f1: float, disputed: int) -> str:
    """Sorts the worst first: by agreement F1, then by how many boxes are disputed."""
    return f"{round(1000 * f1):04d}-{9999 - min(disputed, 9999):04d}"


def pair_sha256(pre: bytes, post: bytes) -> str:
    """The same for the same pictures, whoever sends them."""
    return sha256_bytes(f"{sha256_bytes(pre)} {sha256_bytes(post)}".encode())


class Gallery:
    """`gallery/`. Thread-safe."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def ids(self, rollout: int) -> list[str]:
        """The worst first; each picture once."""
        return list(_worst(self._names(rollout)).values())

    def rollouts(self) -> list[int]:
        """Rollouts that have a gallery, ascending."""
        return sorted(int(name) for name in self._backend.names(GALLERY) if name.isdecimal())

    def wants(self, rollout: int, rank: str, pair: str, limits: Limits) -> bool:
        """Whether a disagreement of this rank about these pictures (`pair_sha256`) would stay."""
        worst = _worst(self._names(rollout))
        kept = worst.get(pair[:_PICTURE])
        if kept is not None:
            return rank < _rank(kept)
        ids = list(worst.values())
        full = len(ids) >= limits.items or sum(map(_size, ids)) >= limits.bytes
        return not full or rank < _rank(ids[-1])

    def put(self, item: Disagreement, files: Mapping[GalleryFile, bytes], limits: Limits) -> None:
        """Keeps it, and lets go of milder ones of the same picture and of the mildest beyond the limits."""
        folder = _folder(item.rollout)
        rank = rank_of(item.f1, item.disputed)
        kib = -(-sum(map(len, files.values())) // 1024)
        request = sha256_bytes(item.answered.request_id.encode())
        tail = f"{item.pair_sha256[:_PICTURE]}{request}"[:_TAIL]
        name = f"{rank}-{kib:07d}-{tail}"
        for kind, data in files.items():
            self._backend.replace(f"{folder}/{name}.{kind}", data, durable=False)
        hashes = {kind: sha256_bytes(data) for kind, data in files.items()}
        document = msgspec.json.encode(msgspec.structs.replace(item, files=hashes))
        self._backend.replace(f"{folder}/{name}{ENDING}", seal(document), durable=False)
        self._tidy(item.rollout, limits)

    def _tidy(self, rollout: int, limits: Limits) -> None:
        names = self._names(rollout)
        worst = _worst(names)
        for name in names:
            if (kept := worst[_picture(name)]) != name:
                self._inherit(rollout, name, kept)
                self._remove(rollout, name)
        taken = 0
        for place, name in enumerate(worst.values()):
            taken += _size(name)
            if place >= limits.items or taken > limits.bytes:
                self._remove(rollout, name)

    def _inherit(self, rollout: int, name: str, kept: str) -> None:
        """What a person said of a picture holds for the one that takes its place."""
        old, new = (f"{_folder(rollout)}/{one}{MARK_ENDING}" for one in (name, kept))
        data = self._backend.read(old)
        if data is not None and self._backend.read(new) is None:
            self._backend.replace(new, data, durable=True)

    def _names(self, rollout: int) -> list[str]:
        """All ids, the worst first."""
        names = self._backend.names(_folder(rollout))
        found = (name.removesuffix(ENDING) for name in names if name.endswith(ENDING))
        return sorted(name for name in found if _ID.fullmatch(name))

    def get(self, rollout: int, name: str) -> Disagreement | None:
        """None when it is not (any more) there. Raises Corrupt, naming the file."""
        if not _ID.fullmatch(name):
            return None
        key = f"{_folder(rollout)}/{name}{ENDING}"
        data = self._backend.read(key)
        return None if data is None else decode_disagreement(data, self._backend.name(key))

    def file(self, rollout: int, name: str, kind: GalleryFile) -> bytes | None:
        """A file that is kept beside it; None when it is not. Raises Corrupt when it has changed."""
        item = self.get(rollout, name)
        if item is None or kind not in item.files:
            return None
        key = f"{_folder(rollout)}/{name}.{kind}"
        data = self._backend.read(key)
        if data is not None and sha256_bytes(data) != item.files[kind]:
            raise Corrupt(f"{self._backend.name(key)} is not what was kept: its hash does not match.")
        return data

    def mark(self, rollout: int, name: str, mark: Mark) -> None:
        """Notes what a person says; a later word replaces it. Raises NotFound."""
        if self.get(rollout, name) is None:
            raise NotFound(
                f"There is no disagreement {name!r} in rollout {rollout}.",
                remedy=f"`serinus disagreements list {rollout}` names them.",
            )
        key = f"{_folder(rollout)}/{name}{MARK_ENDING}"
        self._backend.replace(key, seal(msgspec.json.encode(mark)), durable=True)

    def mark_of(self, rollout: int, name: str) -> Mark | None:
        """What a person said of it. Raises Corrupt, naming the file."""
        key = f"{_folder(rollout)}/{name}{MARK_ENDING}"
        data = self._backend.read(key) if _ID.fullmatch(name) else None
        return None if data is None else decode_mark(data, self._backend.name(key))

    def forget(self, *, keep: int | None, before: float) -> None:
        """Removes galleries of rollouts other than `keep`, untouched since `before` (UTC seconds)."""
        for rollout in self.rollouts():
            folder = _folder(rollout)
            if rollout != keep and self._backend.touched(folder) < before:
                self._backend.discard(folder)

    def _remove(self, rollout: int, name: str) -> None:
        for ending in (ENDING, *(f".{kind}" for kind in GalleryFile), MARK_ENDING):
            self._backend.remove(f"{_folder(rollout)}/{name}{ending}")


def decode_disagreement(data: bytes, name: str) -> Disagreement:
    """Raises Corrupt, naming the file `name`."""
    return _decode(data, name, Disagreement)


def decode_mark(data: bytes, name: str) -> Mark:
    """Raises Corrupt, naming the file `name`."""
    return _decode(data, name, Mark)


def belongs(name: str) -> bool:
    """Whether a gallery's folder may hold a file of this name."""
    stem, dot, ending = name.partition(".")
    known = (ENDING, MARK_ENDING, *(f".{kind}" for kind in GalleryFile))
    return _ID.fullmatch(stem) is not None and dot + ending in known


def _decode(data: bytes, name: str, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(unseal(data, name), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Corrupt(f"{name} is nothing that this version of Serinus knows: {error}.") from error


def _rank(name: str) -> str:
    found = _ID.fullmatch(name)
    return "" if found is None else found[1]


def _picture(name: str) -> str:
    found = _ID.fullmatch(name)
    return "" if found is None else found[3]


def _worst(names: Sequence[str]) -> dict[str, str]:
    """Picture -> its worst id, from ids in their order."""
    found: dict[str, str] = {}
    for name in names:
        found.setdefault(_picture(name), name)
    return found


def _size(name: str) -> int:
    """Bytes of its files, rounded up."""
    found = _ID.fullmatch(name)
    return 0 if found is None else int(found[2]) * 1024


def _folder(rollout: int) -> str:
    return f"{GALLERY}/{rollout}"
