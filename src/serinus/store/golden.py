"""Golden sets: named pictures with known answers, kept for ever. The newest set of a name counts.

golden/<name>/<digest>/          golden.json and the pictures, immutable; named by the hash of golden.json
golden/<name>/0000000001.json    which digest the name means since then; put if absent, the commit point
"""

import re
from pathlib import Path

import msgspec

from serinus.artifact.files import file_entries, regular_files, sha256_bytes
from serinus.artifact.manifest import FileEntry
from serinus.core.errors import Corrupt, InvalidInput, Unavailable
from serinus.core.ids import Clock, Digest, NewId
from serinus.store.local import Disk, volume_errors

_INDEX = "golden.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_RECORD = re.compile(r"(\d{10})\.json")
_ATTEMPTS = 100
_ADD_AGAIN = "Add the set again, or restore the file from a backup."


class GoldenEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One pair of a golden set."""

    key: str
    """`<disaster>_<tile>`."""
    sha256: str
    """Of the post picture: a version that was trained on it is refused."""
    pre: str
    """Relative path of the picture, as `post`."""
    post: str
    boxes: list[tuple[float, float, float, float]] = []
    """x1, y1, x2, y2 in pixels."""
    classes: list[int] = []


class GoldenIndex(msgspec.Struct, frozen=True, kw_only=True):
    """`golden.json`."""

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
    files: dict[str, FileEntry]


class GoldenSets:
    """The folder `golden/`. Any number of processes may share it."""

    def __init__(self, folder: Path, disk: Disk, *, clock: Clock, new_id: NewId) -> None:
        self._folder = folder
        self._disk = disk
        self._clock = clock
        self._new_id = new_id

    def add(self, name: str, source: Path, *, actor: str) -> Digest:
        """Copies the folder `source` (golden.json and its pictures) in; from now on it is what `name` means.

        Raises InvalidInput for a bad name, a missing picture or an index that cannot be read.
        """
        if not _NAME.fullmatch(name):
            raise InvalidInput(
                f"{name!r} cannot name a golden set.",
                remedy="Use up to 64 letters, digits, dots, underscores and dashes.",
            )
        files = regular_files(source) if source.is_dir() else {}
        if _INDEX not in files:
            raise InvalidInput(
                f"{source} has no {_INDEX}.", remedy="Export a golden set from a data set first."
            )
        data = files[_INDEX].read_bytes()
        try:
            index = msgspec.json.decode(data, type=GoldenIndex)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InvalidInput(f"{files[_INDEX]} cannot be read: {error}.") from error
        missing = sorted({path for pair in index.pairs for path in (pair.pre, pair.post)} - files.keys())
        if missing or not index.pairs:
            what = f"{missing[0]} is missing" if missing else "it has no pairs"
            raise InvalidInput(f"The golden set in {source} is not whole: {what}.", remedy="Export it again.")
        with volume_errors("store the golden set", self._folder):
            return self._store(name, source, files, sha256_bytes(data), actor)

    def _store(self, name: str, source: Path, files: dict[str, Path], digest: Digest, actor: str) -> Digest:
        folder = self._folder / name
        with self._disk.temporary_tree(folder / digest) as temporary:
            for relative in files:
                self._disk.copy(source / relative, temporary / relative)
            entries = file_entries(temporary)
            if (
                not self._disk.publish_tree(temporary, folder / digest)
                and file_entries(folder / digest) != entries
            ):
                raise Corrupt(
                    f"{folder / digest} is there already, with other pictures.",
                    remedy="Move that folder away if it is damaged, then add the set again.",
                )
        for _ in range(_ATTEMPTS):
            record = _Record(id=self._new_id(), digest=digest, time=self._clock(), actor=actor, files=entries)
            path = folder / f"{self._last_number(folder) + 1:010d}.json"
            if self._disk.put_if_absent(path, msgspec.json.encode(record)):
                return digest
        raise Unavailable(f"Too many golden sets named {name} are added at once.", remedy="Try again.")

    def list(self, *, verify: bool = False) -> list[GoldenSet]:
        """The newest set of each name, sorted by name; with `verify` every byte is read again.

        Raises Corrupt, naming the file that is missing or changed.
        """
        names = sorted(path.name for path in self._folder.iterdir() if path.is_dir())
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
        if verify:
            _check_files(path, record.files)
        index = msgspec.json.decode(data, type=GoldenIndex)
        return GoldenSet(name=name, digest=record.digest, path=path, dataset=index.dataset, pairs=index.pairs)

    def _last_number(self, folder: Path) -> int:
        matches = (_RECORD.fullmatch(path.name) for path in folder.iterdir())
        return max((int(match[1]) for match in matches if match), default=0)


def _check_files(folder: Path, expected: dict[str, FileEntry]) -> None:
    try:
        present = file_entries(folder)
    except InvalidInput as error:
        raise Corrupt(f"{folder} was changed: {error.message}", remedy=_ADD_AGAIN) from error
    for name in sorted(expected.keys() | present.keys()):
        if expected.get(name) != present.get(name):
            raise Corrupt(f"{folder / name} is missing, changed or extra.", remedy=_ADD_AGAIN)
