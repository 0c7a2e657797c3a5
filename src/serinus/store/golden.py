"""Golden sets: named pictures with known answers, kept for ever.

golden/<name>/<digest>/          golden.json and the pictures, immutable; named by the hash of golden.json
golden/<name>/0000000001.json    an edition (`editions`): which digest the name means since then
"""

from pathlib import Path

import msgspec

from serinus.artifact.files import check_relative, copy_regular, file_entries, sha256_bytes, sha256_file
from serinus.core.errors import Corrupt, InvalidInput, NotFound
from serinus.core.ids import Clock, Digest, NewId
from serinus.store.backend import Backend
from serinus.store.editions import NAME, Editions
from serinus.store.sealed import seal, unseal

_FOLDER = "golden"
_INDEX = "golden.json"
_ADD_AGAIN = "Restore it from a backup, or move that folder away and add the set again."


class GoldenEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One pair of a golden set."""

    key: str
    """`<disaster>_<tile>`."""
    sha256: str
    """Of the post picture's file: a version that was trained on it is refused."""
    sha256_pre: str
    pre: str
    """Relative path of the picture, as `post`."""
    post: str
    boxes: tuple[tuple[float, float, float, float], ...] = ()
    """x1, y1, x2, y2 in pixels."""
    classes: tuple[int, ...] = ()


class GoldenIndex(msgspec.Struct, frozen=True, kw_only=True):
    """`golden.json`: its hash vouches for the pictures' hashes, and so for the whole set."""

    dataset: str = ""
    pairs: tuple[GoldenEntry, ...]


class GoldenSet(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    digest: Digest
    path: Path
    """Folder with golden.json and the pictures."""
    dataset: str
    pairs: tuple[GoldenEntry, ...]


class _Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    id: str
    digest: Digest
    time: float
    actor: str


class GoldenSets:
    """`golden/`. Any number of processes may share it."""

    def __init__(self, backend: Backend, editions: Editions, *, clock: Clock, new_id: NewId) -> None:
        self._backend = backend
        self._editions = editions
        self._clock = clock
        self._new_id = new_id

    def add(self, name: str, source: Path, *, actor: str) -> Digest:
        """Copies golden.json and its pictures from the folder `source`; `name` means them from now on.

        Raises InvalidInput for a bad name, an unreadable index, a picture that is missing or another one.
        """
        if not NAME.fullmatch(name):
            raise InvalidInput(
                f"{name!r} cannot name a golden set.",
                remedy="Use up to 64 letters, digits, dots, underscores and dashes.",
            )
        try:
            data = (source / _INDEX).read_bytes()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise InvalidInput(
                f"{source} has no {_INDEX}.", remedy="Export a golden set from a data set first."
            ) from error
        try:
            index = _decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InvalidInput(f"{source / _INDEX} cannot be read: {error}.") from error
        if not index.pairs:
            raise InvalidInput(f"The golden set in {source} has no pairs.", remedy="Export it again.")
        self._editions.refuse()
        digest = self._store(name, source, data, index)
        self._record(name, digest, actor)
        return digest

    def _store(self, name: str, source: Path, data: bytes, index: GoldenIndex) -> Digest:
        digest = sha256_bytes(data)
        with self._backend.new_tree(_key(name, digest)) as temporary:
            for picture in sorted(pictures(index)):
                try:
                    copy_regular(source / check_relative(picture), temporary / picture)
                except (FileNotFoundError, IsADirectoryError) as error:
                    raise InvalidInput(
                        f"The picture {source / picture} is missing.", remedy="Export the set again."
                    ) from error
            (temporary / _INDEX).write_bytes(data)
            problem = _problem(temporary, index)
            if problem is not None:
                raise InvalidInput(f"In {source}, {problem}.", remedy="Export the set again.")
            if not self._backend.publish_tree(temporary, _key(name, digest), index=_INDEX):
                verify(self._folder(name, digest), index, digest)
        return digest

    def _record(self, name: str, digest: Digest, actor: str) -> None:
        def make(_number: int) -> bytes:
            record = _Record(id=self._new_id(), digest=digest, time=self._clock(), actor=actor)
            return seal(msgspec.json.encode(record))

        self._editions.save(name, make, actor=actor, reason=f"set {digest[:12]}")

    def list(self, *, verify: bool = False) -> list[GoldenSet]:
        """The newest set of each name, sorted by name; with `verify` every byte is read again.

        Raises Corrupt, naming the file that is missing or changed.
        """
        return [self._newest(name, verify_bytes=verify) for name in self._editions.names()]

    def _newest(self, name: str, *, verify_bytes: bool) -> GoldenSet:
        record = decode_record(*self._editions.read(name, self._editions.last(name)))
        path = self._folder(name, record.digest)
        try:
            index = _read_set(path, record.digest, verify_bytes=verify_bytes)
        except Corrupt:
            if not self._backend.forget_local(_key(name, record.digest)):
                raise
            path = self._folder(name, record.digest)  # a copy was damaged, not the set
            index = read_index(path, record.digest)
        return GoldenSet(name=name, digest=record.digest, path=path, dataset=index.dataset, pairs=index.pairs)

    def _folder(self, name: str, digest: Digest) -> Path:
        def check(folder: Path) -> None:
            _read_set(folder, digest, verify_bytes=True)

        try:
            return self._backend.tree(_key(name, digest), index=_INDEX, check=check)
        except NotFound as error:
            index = self._backend.name(f"{_key(name, digest)}/{_INDEX}")
            raise Corrupt(f"{index} is missing or was changed.", remedy=_ADD_AGAIN) from error


def _key(name: str, digest: Digest) -> str:
    return f"{_FOLDER}/{name}/{digest}"


def decode_record(data: bytes, name: str) -> "_Record":
    """Raises Corrupt, naming the file `name`. Records made before they were sealed are taken as they are."""
    try:
        document = unseal(data, name)
    except Corrupt:
        document = data  # a damaged seal is an unknown field
    try:
        return msgspec.json.decode(document, type=_Record)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Corrupt(f"{name} cannot be read: {error}.", remedy=_ADD_AGAIN) from error


def _decode(data: bytes) -> GoldenIndex:
    return msgspec.json.decode(data, type=GoldenIndex)


def read_index(folder: Path, digest: Digest) -> GoldenIndex:
    """`golden.json` of the set named `digest`. Raises Corrupt when it is missing or another one."""
    path = folder / _INDEX
    data = path.read_bytes() if path.is_file() else None
    if data is None or sha256_bytes(data) != digest:
        raise Corrupt(f"{path} is missing or was changed.", remedy=_ADD_AGAIN)
    return _decode(data)


def _read_set(folder: Path, digest: Digest, *, verify_bytes: bool) -> GoldenIndex:
    index = read_index(folder, digest)
    if verify_bytes:
        verify(folder, index, digest)
    return index


def pictures(index: GoldenIndex) -> dict[str, set[str]]:
    """Relative path of every picture, and the hashes that the index gives it (one, unless it is broken)."""
    found: dict[str, set[str]] = {}
    for pair in index.pairs:
        found.setdefault(pair.pre, set()).add(pair.sha256_pre)
        found.setdefault(pair.post, set()).add(pair.sha256)
    return found


def _problem(folder: Path, index: GoldenIndex) -> str | None:
    """What is wrong with the files of a set, in words that name one; None when all is well."""
    named = pictures(index)
    try:
        present = file_entries(folder)
    except InvalidInput as error:
        return error.message.rstrip(".")
    for name in sorted(named.keys() | present.keys() - {_INDEX}):
        if name not in present:
            return f"{name} is missing"
        if named.get(name) != {present[name].sha256}:
            return f"{name} is not the picture that {_INDEX} names"
    return None


def verify(folder: Path, index: GoldenIndex, digest: Digest) -> None:
    """Raises Corrupt unless `folder` holds what the set `digest` with this index names."""
    changed = sha256_file(folder / _INDEX) != digest
    problem = f"{_INDEX} is not what was added" if changed else _problem(folder, index)
    if problem is not None:
        raise Corrupt(f"The golden set {folder} was changed: {problem}.", remedy=_ADD_AGAIN)
