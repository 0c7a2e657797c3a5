"""What every check stands on: the place, a second store to heal from, and `lost+found/`.

Nothing is destroyed: what is put aside keeps its path below `lost+found/<id>/`, one id for each repair.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeAlias

from serinus.artifact.files import sha256_bytes, sha256_pieces
from serinus.core.errors import Corrupt, NotFound, SerinusError
from serinus.core.ids import NewId
from serinus.store.backend import Backend
from serinus.store.folder import Folder
from serinus.store.local import Disk

LOST = "lost+found"
_AT_ONCE = 8
_AHEAD = 64
Step: TypeAlias = Callable[[str, int], None]
"""Told what is read and how many bytes were read since; may raise to cancel."""


def unseen(_what: str, _size: int) -> None:
    """Shows nothing."""


class Source(NamedTuple):
    """Where a file with a wanted hash may lie."""

    backend: Backend
    key: str


class Ground:
    """`backend`: the store that is looked at. `other`: one to heal from, such as a backup.

    `root`: the folder on this machine, with the views and, beside a bucket, the copies; None to leave it out.
    """

    def __init__(
        self,
        backend: Backend,
        disk: Disk,
        *,
        root: Path | None,
        other: Backend | None,
        now: float,
        new_id: NewId,
        step: Step = unseen,
    ) -> None:
        self.backend = backend
        self.disk = disk
        self.root = root
        self.other = other
        self.now = now
        self.step = step
        self.new_id = new_id
        self.denied: set[str] = set()
        """Names of what this user may not read."""
        self._aside = f"{LOST}/{new_id()}"
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="check")

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def name(self, key: str) -> str:
        return self.backend.name(key)

    @property
    def here(self) -> Path | None:
        """The store's own folder; None when it lies in a bucket."""
        return self.root if not self.backend.remote else None

    @property
    def copies(self) -> Backend | None:
        """The local copies of what lies in a bucket, as a place of their own."""
        return Folder(self.root, self.disk) if self.backend.remote and self.root is not None else None

    def of_copies(self) -> "Ground":
        """The local copies, looked at as a store in a folder."""
        assert self.copies is not None
        return Ground(
            self.copies,
            self.disk,
            root=self.root,
            other=None,
            now=self.now,
            new_id=self.new_id,
            step=self.step,
        )

    # -- reading ---------------------------------------------------------------------------------------------

    def read(self, key: str, backend: Backend | None = None) -> bytes | None:
        """The bytes, None when it is not there. Raises Corrupt when the disk does not give them."""
        place = backend or self.backend
        try:
            return place.read(key)
        except OSError as error:
            if isinstance(error, PermissionError):
                self.denied.add(place.name(key))
            raise Corrupt(f"{place.name(key)} cannot be read: {error.strerror}.") from error

    def read_all(self, keys: Iterable[str]) -> Iterator[tuple[str, bytes | Corrupt | None]]:
        """As `read`, for many, in order and some at once."""
        rest = iter(keys)
        while batch := list(islice(rest, _AHEAD)):
            for key, found in zip(batch, self._pool.map(self._try_read, batch), strict=True):
                self.step(key, len(found) if isinstance(found, bytes) else 0)
                yield key, found

    def _try_read(self, key: str) -> bytes | Corrupt | None:
        try:
            return self.read(key)
        except Corrupt as error:
            return error

    def hashes(self, keys: Sequence[tuple[str, int]], backend: Backend) -> Iterator[str]:
        """sha256 of each file (key, size), some at once; empty for one that is gone or cannot be read."""

        def one(item: tuple[str, int]) -> str:
            try:
                return sha256_pieces(backend.chunks(item[0]))
            except PermissionError:
                self.denied.add(backend.name(item[0]))
                return ""
            except (NotFound, Corrupt, OSError):
                return ""

        for (key, size), found in zip(keys, self._pool.map(one, keys), strict=True):
            self.step(key, size)
            yield found

    # -- healing ---------------------------------------------------------------------------------------------

    def put_aside(self, key: str) -> bool:
        """Moves a file or folder to `lost+found/`."""
        if self.backend.remote:
            for path in [key, *(f"{key}/{name}" for name in self.backend.files(key))]:
                data = self.backend.read(path)
                if data is not None:
                    self.backend.replace(f"{self._aside}/{path}", data, durable=True)
                    self.backend.remove(path)
            return True
        assert self.root is not None
        source, target = self.root / key, self.root / self._aside / key
        self.disk.make_folder(target.parent)
        parent = stat.S_IMODE(source.parent.stat().st_mode)
        source.parent.chmod(parent | stat.S_IWUSR)
        if source.is_dir() and not source.is_symlink():
            source.chmod(0o755)  # a folder that changes its parent is written to
        self.disk.rename(source, target)
        source.parent.chmod(parent)
        self.disk.sync(target.parent)
        self.disk.sync(source.parent)
        return True

    def put_document(self, key: str, data: bytes) -> bool:
        """Lets the document be `data`, at once for every reader; what lay there is kept aside."""
        self._make_scratch()
        old = self._keep_aside(key)
        if old is None:
            return self.backend.put_if_absent(key, data)
        self.backend.replace(key, data, durable=True)
        return True

    def put_file(self, key: str, pieces: Iterable[bytes]) -> bool:
        """Puts a file into a tree that is there; what lay there is kept aside."""
        if self.backend.remote:
            self._keep_aside(key)
            self.backend.replace(key, b"".join(pieces), durable=True)
            return True
        assert self.root is not None
        self._make_scratch()
        path, temporary = self.root / key, self.disk.scratch / self.new_id()
        with temporary.open("xb") as file:
            file.writelines(pieces)
        temporary.chmod(0o444)
        self.disk.sync(temporary)
        if os.path.lexists(path):
            self.put_aside(key)
        with unsealed(self.root / "/".join(key.split("/")[: 3 if key.startswith("golden/") else 2])):
            self.disk.make_folder(path.parent)
            self.disk.rename(temporary, path)
        self.disk.sync(path.parent)
        return True

    def put_tree(self, key: str, index: str, sources: dict[str, Source]) -> bool:
        """Makes a whole tree of files that lie elsewhere; it appears at once."""
        self._make_scratch()
        with self.backend.new_tree(key) as folder:
            for name, source in sources.items():
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("xb") as file:
                    file.writelines(source.backend.chunks(source.key))
            return self.backend.publish_tree(folder, key, index=index)

    def _keep_aside(self, key: str) -> bytes | None:
        """A copy of the document in `lost+found/`; gives its bytes, None when there is none."""
        try:
            old = self.backend.read(key)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return b""  # nothing of it can be had
        except Corrupt:  # no file at all
            self.put_aside(key)
            return None
        if old is not None:
            self.backend.put_if_absent(f"{self._aside}/{key}", old)
        return old

    def _make_scratch(self) -> None:
        self.disk.make_folder(self.disk.scratch)

    def find(self, sources: Iterable[Source], sha256: str) -> Source | None:
        """The first of them that holds exactly this."""
        for source in sources:
            try:
                if sha256_pieces(source.backend.chunks(source.key)) == sha256:
                    return source
            except (SerinusError, OSError):
                continue
        return None

    def restore_document(self, key: str, sha256: str, *keys: str) -> bool:
        """Puts a document there with this hash, from the other store, where it may lie under several keys."""
        for candidate in (key, *keys):
            data = self.other.read(candidate) if self.other is not None else None
            if data is not None and sha256_bytes(data) == sha256:
                return self.put_document(key, data)
        return False


@contextlib.contextmanager
def unsealed(tree: Path) -> Iterator[None]:
    """Lets the owner change a read-only tree; at the end its folders are read-only again."""
    for folder, _, _ in os.walk(tree):
        Path(folder).chmod(0o755)
    try:
        yield
    finally:
        for folder, _, _ in os.walk(tree, topdown=False):
            Path(folder).chmod(0o555)
