"""Golden sets: named pictures with known answers, kept for ever.

    golden/<name>/<digest>/          golden.json and the pictures, immutable; named by the hash of golden.json
    golden/<name>/0000000001.json    which digest the name means since then; put if absent, the commit point

The newest set of a name counts.
"""

import re
from pathlib import Path

import msgspec

from serinus.artifact.files import check_relative, file_entries, sha256_bytes, sha256_file
from serinus.core.errors import Corrupt, InvalidInput, Unavailable
from serinus.core.ids import Clock, Digest, NewId
from serinus.store.local import Disk, volume_errors

_INDEX = "golden.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_RECORD = re.compile(r"(\d{10})\.json")
_ATTEMPTS = 100
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


class _Record(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    digest: Digest
    time: float
    actor: str


class GoldenSets:
    """The folder `golden/`. Any number of processes may share it."""

    def __init__(self, folder: Path, disk: Disk, *, clock: Clock, new_id: NewId) -> None:
        self._folder = folder
        self._disk = disk
        self._clock = clock
        self._new_id = new_id

    def add(self, name: str, source: Path, *, actor: str) -> Digest:
        """Copies golden.json and its pictures from the folder `source`; `name` means them from now on.

        Raises InvalidInput for a bad name, an unreadable index, a picture that is missing or another one.
        """
        if not _NAME.fullmatch(name):
            raise InvalidInput(
                f"{name!r} cannot name a golden set.",
                remedy="Use up to 64 letters, digits, dots, underscores and dashes.",
            )
        data = self._disk.read(source / _INDEX)
        if data is None:
            raise InvalidInput(
                f"{source} has no {_INDEX}.", remedy="Export a golden set from a data set first."
            )
        try:
            index = msgspec.json.decode(data, type=GoldenIndex)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InvalidInput(f"{source / _INDEX} cannot be read: {error}.") from error
        if not index.pairs:
            raise InvalidInput(f"The golden set in {source} has no pairs.", remedy="Export it again.")
        with volume_errors("store the golden set", self._folder):
            digest = self._store(self._folder / name, source, data, index)
            self._record(self._folder / name, digest, actor)
        return digest

    def _store(self, folder: Path, source: Path, data: bytes, index: GoldenIndex) -> Digest:
        digest = sha256_bytes(data)
        with self._disk.temporary_tree(folder / digest) as temporary:
            for name in sorted(_pictures(index)):
                try:
                    self._disk.copy(source / check_relative(name), temporary / name)
                except (FileNotFoundError, IsADirectoryError) as error:
                    raise InvalidInput(
                        f"The picture {source / name} is missing.", remedy="Export the set again."
                    ) from error
            (temporary / _INDEX).write_bytes(data)
            problem = _problem(temporary, index)
            if problem is not None:
                raise InvalidInput(f"In {source}, {problem}.", remedy="Export the set again.")
            if not self._disk.publish_tree(temporary, folder / digest):
                _verify(folder / digest, index)
        return digest

    def _record(self, folder: Path, digest: Digest, actor: str) -> None:
        for _ in range(_ATTEMPTS):
            record = _Record(id=self._new_id(), digest=digest, time=self._clock(), actor=actor)
            path = folder / f"{self._last_number(folder) + 1:010d}.json"
            if self._disk.put_if_absent(path, msgspec.json.encode(record)):
                return
        raise Unavailable(f"Too many sets are added to {folder} at once.", remedy="Try again.")

    def list(self, *, verify: bool = False) -> list[GoldenSet]:
        """The newest set of each name, sorted by name; with `verify` every byte is read again.

        Raises Corrupt, naming the file that is missing or changed.
        """
        names = sorted(self._disk.names(self._folder))
        return [self._newest(name, verify=verify) for name in names if self._last_number(self._folder / name)]

    def _newest(self, name: str, *, verify: bool) -> GoldenSet:
        folder = self._folder / name
        record_path = folder / f"{self._last_number(folder):010d}.json"
        try:
            record = msgspec.json.decode(record_path.read_bytes(), type=_Record)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Corrupt(f"{record_path} cannot be read: {error}.", remedy=_ADD_AGAIN) from error
        path = folder / record.digest
        data = self._disk.read(path / _INDEX)
        if data is None or sha256_bytes(data) != record.digest:
            raise Corrupt(f"{path / _INDEX} is missing or was changed.", remedy=_ADD_AGAIN)
        index = msgspec.json.decode(data, type=GoldenIndex)
        if verify:
            _verify(path, index)
        return GoldenSet(name=name, digest=record.digest, path=path, dataset=index.dataset, pairs=index.pairs)

    def _last_number(self, folder: Path) -> int:
        matches = map(_RECORD.fullmatch, self._disk.names(folder))
        return max((int(match[1]) for match in matches if match), default=0)


def _pictures(index: GoldenIndex) -> dict[str, set[str]]:
    """Relative path of every picture, and the hashes that the index gives it (one, unless it is broken)."""
    pictures: dict[str, set[str]] = {}
    for pair in index.pairs:
        pictures.setdefault(pair.pre, set()).add(pair.sha256_pre)
        pictures.setdefault(pair.post, set()).add(pair.sha256)
    return pictures


def _problem(folder: Path, index: GoldenIndex) -> str | None:
    """What is wrong with the files of a set, in words that name one; None when all is well."""
    pictures = _pictures(index)
    try:
        present = file_entries(folder)
    except InvalidInput as error:
        return error.message.rstrip(".")
    for name in sorted(pictures.keys() | present.keys() - {_INDEX}):
        if name not in present:
            return f"{name} is missing"
        if pictures.get(name) != {present[name].sha256}:
            return f"{name} is not the picture that {_INDEX} names"
    return None


def _verify(folder: Path, index: GoldenIndex) -> None:
    """Raises Corrupt unless `folder`, named by the hash of its index, holds what it names."""
    changed = sha256_file(folder / _INDEX) != folder.name
    problem = f"{_INDEX} is not what was added" if changed else _problem(folder, index)
    if problem is not None:
        raise Corrupt(f"The golden set {folder} was changed: {problem}.", remedy=_ADD_AGAIN)
