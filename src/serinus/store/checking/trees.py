"""One tree, whole: its index, every file that the index names, and nothing else.

A file that is damaged or missing is restored from any place that holds the same bytes: another artifact or
golden set here, a local copy, or the other store. The hash decides, so it does not matter which.
"""

import os
import stat
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, TypeAlias

import msgspec

from serinus.artifact.files import check_relative, sha256_bytes
from serinus.artifact.manifest import decode_manifest
from serinus.artifact.validate import MANIFEST
from serinus.core.errors import Corrupt, InvalidInput, SerinusError
from serinus.store import golden, publish
from serinus.store.backend import Backend
from serinus.store.checking.findings import REPAIR, RESTORE, Kind, Problem, Severity, problem
from serinus.store.checking.ground import Ground, Source
from serinus.store.local import TEMPORARY

Wanted: TypeAlias = Mapping[str, str]
"""sha256 of every file but the index, by name."""
GOLDEN_INDEX = "golden.json"


class Shape(NamedTuple):
    """What trees of a kind have in common."""

    index_name: str
    wanted: Callable[[bytes], Wanted]
    """What an index names. Raises when it is none."""


def _of_manifest(data: bytes) -> Wanted:
    return {name: entry.sha256 for name, entry in decode_manifest(data).files.items()}


def _of_golden(data: bytes) -> Wanted:
    named = golden.pictures(msgspec.json.decode(data, type=golden.GoldenIndex))
    return {name: next(iter(hashes)) for name, hashes in named.items()}


ARTIFACT = Shape(MANIFEST, _of_manifest)
GOLDEN = Shape(GOLDEN_INDEX, _of_golden)


class Donors:
    """Where files with a given hash lie, here and in the other store."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._known: dict[str, list[Source]] | None = None

    def find(self, sha256: str) -> Source | None:
        """A place that holds these bytes. Every index is read once, when the first file is looked for."""
        if self._known is None:
            self._known = self._index()
        return self._ground.find(self._known.get(sha256, ()), sha256)

    def has(self, sha256: str) -> bool:
        """Whether there may be one; not hashed yet."""
        if self._known is None:
            self._known = self._index()
        return sha256 in self._known

    def _index(self) -> dict[str, list[Source]]:
        places = [self._ground.backend, self._ground.copies, self._ground.other]
        known: dict[str, list[Source]] = {}
        for place in places:
            if place is None:
                continue
            for key, shape in _trees(place):
                try:
                    data = self._ground.read(f"{key}/{shape.index_name}", place)
                    named = {} if data is None else shape.wanted(data)
                except (SerinusError, msgspec.MsgspecError, UnicodeDecodeError):
                    continue
                known.setdefault(key.rpartition("/")[2], []).append(
                    Source(place, f"{key}/{shape.index_name}")
                )
                for name, sha256 in named.items():
                    known.setdefault(sha256, []).append(Source(place, f"{key}/{name}"))
            for name in place.names("removed"):
                known.setdefault(name.removesuffix(".json"), []).append(Source(place, f"removed/{name}"))
        return known


def _trees(place: Backend) -> Iterator[tuple[str, Shape]]:
    for digest in publish.Artifacts(place).digests():
        yield publish.key(digest), ARTIFACT
    for name in place.names("golden"):
        for digest_ in place.names(f"golden/{name}"):
            if publish.is_digest(digest_):
                yield f"golden/{name}/{digest_}", GOLDEN


def tree_problems(
    ground: Ground,
    donors: Donors,
    key: str,
    shape: Shape,
    *,
    severity: Severity = Severity.ERROR,
    gone: Callable[[], bool],
) -> Iterator[Problem]:
    """What is wrong with the tree `key`, whose last part is the hash of its index.

    `gone`: whether it may have been taken away meanwhile; asked when something is missing.
    """
    backend = ground.backend
    if not backend.has_tree(key, index=shape.index_name) and not backend.files(key):
        if not gone():
            heal = _tree_healer(ground, donors, key, shape)
            words = "It is missing."
            if backend.exists(f"removed/{key.rpartition('/')[2]}.json"):
                words += " Its manifest is in removed/: the event that removed it is lost or not copied yet."
            yield problem(severity, Kind.MISSING, ground.name(key), words, remedy=RESTORE, heal=heal)
        return
    yield from _foreign(ground, key)
    try:
        present = backend.files(key)
    except InvalidInput:
        return  # said above
    wanted = yield from _index(ground, donors, key, shape, severity=severity, gone=gone)
    if wanted is None:
        return
    for name in sorted(present.keys() - wanted.keys() - {shape.index_name}):
        yield problem(
            severity,
            Kind.EXTRA,
            ground.name(f"{key}/{name}"),
            "It does not belong to this tree, which is therefore refused.",
            remedy=f"{REPAIR} The file is moved to lost+found/.",
            heal=lambda name=name: ground.put_aside(f"{key}/{name}"),  # type: ignore[misc]
        )
    there = [(f"{key}/{name}", present[name]) for name in wanted if name in present]
    hashes = dict(zip((item[0] for item in there), ground.hashes(there, backend), strict=True))
    for name, sha256 in wanted.items():
        file_key = f"{key}/{name}"
        if hashes.get(file_key) == sha256:
            continue
        if not backend.exists(file_key) and gone():
            return
        kind = Kind.CHANGED if name in present else Kind.MISSING
        words = "Its hash is not what was published." if name in present else "It is missing."
        heal = _file_healer(ground, donors, file_key, sha256)
        yield problem(severity, kind, ground.name(file_key), words, remedy=RESTORE, heal=heal)
    yield from _modes(ground, key)


def _index(
    ground: Ground,
    donors: Donors,
    key: str,
    shape: Shape,
    *,
    severity: Severity,
    gone: Callable[[], bool],
) -> Generator[Problem, None, Wanted | None]:
    """Looks at the index, again after a repair; returns what it names, None when it cannot be had."""
    index_key, digest = f"{key}/{shape.index_name}", key.rpartition("/")[2]
    for attempt in (1, 2):
        try:
            data = ground.read(index_key)
        except Corrupt:
            data = b""
        if data is not None and sha256_bytes(data) == digest:
            ground.step(index_key, len(data))
            try:
                return shape.wanted(data)
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                words = f"This version of Serinus cannot read it: {error}."
                remedy = "Was it written by a newer version? Then run that one."
                yield problem(severity, Kind.CHANGED, ground.name(index_key), words, remedy=remedy)
                return None
        if attempt == 2 or (data is None and gone()):
            return None
        kind = Kind.MISSING if data is None else Kind.CHANGED
        words = "It is missing." if data is None else "Its hash is not the one that names the tree."
        heal = _file_healer(ground, donors, index_key, digest)
        yield problem(severity, kind, ground.name(index_key), words, remedy=RESTORE, heal=heal)
    return None


def _file_healer(ground: Ground, donors: Donors, key: str, sha256: str) -> Callable[[], bool] | None:
    def heal() -> bool:
        source = donors.find(sha256)
        return source is not None and ground.put_file(key, source.backend.chunks(source.key))

    return heal if donors.has(sha256) else None


def _tree_healer(ground: Ground, donors: Donors, key: str, shape: Shape) -> Callable[[], bool] | None:
    digest = key.rpartition("/")[2]

    def heal() -> bool:
        index = donors.find(digest)
        if index is None:
            return False
        data = b"".join(index.backend.chunks(index.key))
        sources = {shape.index_name: index}
        for name, sha256 in shape.wanted(data).items():
            source = donors.find(sha256)
            if source is None:
                return False
            sources[name] = source
        return ground.put_tree(key, shape.index_name, sources)

    return heal if donors.has(digest) else None


def _foreign(ground: Ground, key: str) -> Iterator[Problem]:
    """Links, devices and odd names, which a bucket cannot hold and nothing here may follow."""
    if ground.here is None:
        return
    root = ground.here / key
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(folder) / name
            relative = path.relative_to(ground.here).as_posix()
            try:
                mode = path.lstat().st_mode
                check_relative(name)
                fine = stat.S_ISREG(mode) or stat.S_ISDIR(mode)
            except FileNotFoundError:
                continue
            except InvalidInput:
                fine = False
            if not fine:
                yield problem(
                    Severity.ERROR,
                    Kind.EXTRA,
                    str(path),
                    "Only regular files with usable names may be in a tree.",
                    remedy=f"{REPAIR} It is moved to lost+found/.",
                    heal=lambda relative=relative: ground.put_aside(relative),  # type: ignore[misc]
                )


def _modes(ground: Ground, key: str) -> Iterator[Problem]:
    """On a disk what never changes is read-only, so that nobody changes it by mistake."""
    if ground.here is None:
        return
    root = ground.here / key
    wrong = []
    for folder, _, files in os.walk(root):
        for path, mode in ((Path(folder), 0o555), *((Path(folder) / name, 0o444) for name in files)):
            try:
                if stat.S_IMODE(path.lstat().st_mode) != mode:
                    wrong.append((path, mode))
            except FileNotFoundError:
                continue

    def heal() -> bool:
        for path, mode in wrong:
            path.chmod(mode)
        return True

    if wrong and not root.name.startswith(TEMPORARY):
        path, mode = wrong[0]
        more = f", and so have {len(wrong) - 1} more below {root}" if len(wrong) > 1 else ""
        yield problem(
            Severity.WARNING,
            Kind.MODE,
            str(path),
            f"It has other rights than {mode:04o}{more}.",
            remedy=REPAIR,
            heal=heal,
        )
