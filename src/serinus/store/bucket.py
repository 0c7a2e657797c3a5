"""A store in a bucket of any S3-compatible server: `Backend` over `obstore`.

- put-if-absent is `If-None-Match: *`. A request whose answer was lost is sent again and then meets its own
  success: what counts is what lies there, so it is read back and compared.
- A tree has no rename to appear by. Its files go straight under its key, which nobody reads before the index
  document is there, and that is written last, if absent. Files that a cut transfer left there are compared
  byte by byte before they count.
- Trees are fetched into the local `cache`, several parts at a time, going on where a cut transfer stopped;
  nothing is used before its hashes were checked.
- Every request is tried again for as long as `Patience` lasts; then the answer is Unavailable.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from serinus.artifact.files import check_relative, regular_files
from serinus.core.errors import Corrupt, Misconfigured, NotFound, Unavailable
from serinus.store.backend import Moved, ignore
from serinus.store.cache import Cache
from serinus.store.client import Clients, in_our_words
from serinus.store.local import Disk
from serinus.store.patience import Patience
from serinus.store.transfers import Item, Progress, Transfers

if TYPE_CHECKING:
    from obstore.store import S3Store

T = TypeVar("T")
_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")
_AT_ONCE = 32
"""Requests under way together: a server may be 50 ms away, and hundreds of replicas report each second."""
_INDEXES = ("/manifest.json", "/golden.json")


class Bucket:
    """The objects below one address. `disk` and `cache` are local."""

    remote = True

    def __init__(self, clients: Clients, url: str, disk: Disk, cache: Cache, patience: Patience) -> None:
        self._clients = clients
        self._url = url.rstrip("/")
        self._disk = disk
        self._cache = cache
        self._patience = patience
        self._transfers = Transfers(clients.steady, patience)

    def name(self, key: str) -> str:
        return f"{self._url}/{key}"

    def each(self, ask: Callable[[_Item], _Answer], items: Sequence[_Item]) -> list[_Answer]:
        if len(items) < 2:
            return [ask(item) for item in items]
        with ThreadPoolExecutor(min(_AT_ONCE, len(items))) as pool:
            return list(pool.map(ask, items))

    @property
    def away_since(self) -> float | None:
        """Since when the server does not answer, UTC seconds, once patience has run out; else None."""
        return self._patience.away_since

    def check(self, new_id: Callable[[], str]) -> None:
        """Tries what the protocol rests on. Raises Misconfigured when the server does not keep it."""
        key = f"probes/{new_id()}"
        self.read(key)  # of a bucket that is not there: some servers would make one at the first put
        held = self.put_if_absent(key, b"one") and not self.put_if_absent(key, b"two")
        held = held and self.read(key) == b"one"
        self.remove(key)
        if not held:
            raise Misconfigured(
                f"The server of {self._url} does not honour `If-None-Match: *`, which the store rests on.",
                remedy="Use a server that does: AWS S3, MinIO, Ceph, SeaweedFS in current versions.",
            )

    def _ask(self, key: str, request: Callable[[], T]) -> T:
        """What `request` gives, asked again while patience lasts. Raises as `in_our_words`."""

        def attempt() -> T:
            with in_our_words(self.name(key)):
                return request()

        return self._patience.ask(attempt)

    # -- documents -------------------------------------------------------------------------------------------

    def read(self, key: str) -> bytes | None:
        import obstore

        try:
            return self._ask(key, lambda: bytes(obstore.get(self._clients.once, key).bytes()))
        except NotFound:
            return None

    def exists(self, key: str) -> bool:
        import obstore

        try:
            self._ask(key, lambda: obstore.head(self._clients.once, key))
        except NotFound:
            return False
        return True

    def names(self, folder: str, *, after: str = "") -> list[str]:
        if after:
            # What lies below sub-folders sorts among the names; only what is directly here is a name.
            found = self._list(folder, after=after)
            return [name for name in (path[len(folder) + 1 :] for path in found) if "/" not in name]

        def listed() -> list[str]:
            import obstore

            listing = obstore.list_with_delimiter(self._lister, folder)
            objects = [str(item["path"]) for item in listing["objects"]]
            return [path.rpartition("/")[2] for path in (*listing["common_prefixes"], *objects)]

        return self._ask(folder, listed)

    def put_if_absent(self, key: str, data: bytes) -> bool:
        import obstore

        def put() -> bool:
            try:
                obstore.put(self._clients.once, key, data, mode="create", use_multipart=False)
                return True
            except (FileExistsError, obstore.exceptions.AlreadyExistsError) as error:
                try:
                    return bytes(obstore.get(self._clients.once, key).bytes()) == data
                except (FileNotFoundError, obstore.exceptions.NotFoundError):
                    # Somebody else is just writing or removing it: who comes later sees which.
                    raise Unavailable(f"{self.name(key)} is being written by another.") from error

        return self._ask(key, put)

    def settle(self, folder: str) -> None:
        """What a server has answered for is durable, and what can be read it has answered for."""

    def replace(self, key: str, data: bytes, *, durable: bool) -> None:
        import obstore

        self._ask(key, lambda: obstore.put(self._clients.once, key, data, use_multipart=False))

    def remove(self, key: str) -> None:
        import obstore

        with contextlib.suppress(NotFound):
            self._ask(key, lambda: obstore.delete(self._clients.once, key))

    def touched(self, key: str) -> float:
        import obstore

        def times() -> list[float]:
            pages = obstore.list(self._lister, key)
            return [item["last_modified"].timestamp() for page in pages for item in page]

        with contextlib.suppress(NotFound):
            return self._ask(key, lambda: obstore.head(self._clients.once, key))["last_modified"].timestamp()
        return max(self._ask(key, times), default=float("inf"))

    # -- trees -----------------------------------------------------------------------------------------------

    def new_tree(self, key: str) -> contextlib.AbstractContextManager[Path]:
        return self._disk.temporary_tree(self._cache.path(key))

    def publish_tree(self, folder: Path, key: str, *, index: str, moved: Moved = ignore) -> bool:
        if self.exists(f"{key}/{index}"):
            return False
        files = regular_files(folder)
        sizes = {name: path.stat().st_size for name, path in files.items() if name != index}
        kept = self._kept(key, files, sizes)
        lacking = {name: size for name, size in sizes.items() if name not in kept}
        progress = Progress("Sending", self.name(key), lacking, moved)
        for name, size in lacking.items():
            self._transfers.upload(files[name], self._item(key, name, size), progress.file(name))
        won = self.put_if_absent(f"{key}/{index}", files[index].read_bytes())
        progress.finish()
        self._cache.add(folder, key)
        return won

    def _kept(self, key: str, files: dict[str, Path], sizes: dict[str, int]) -> set[str]:
        """Files that a cut transfer left whole. They are read back: the same size may hold other bytes, and
        what servers say of an object's hash depends on the server and on how it was sent."""
        there = self.files(key)
        alike = {name: size for name, size in sizes.items() if there.get(name) == size}
        if not alike:
            return set()
        progress = Progress("Comparing", self.name(key), alike, ignore)
        return {
            name
            for name, size in alike.items()
            if self._transfers.holds(self._item(key, name, size), files[name], progress.file(name))
        }

    def has_tree(self, key: str, *, index: str) -> bool:
        return self.exists(f"{key}/{index}")

    def tree(self, key: str, *, index: str, check: Callable[[Path], None], moved: Moved = ignore) -> Path:
        cached = self._cache.get(key)
        if cached is not None:
            return cached
        with self._cache.fetching(key) as unfinished:
            cached = self._cache.get(key)  # another process may have fetched it meanwhile
            if cached is not None:
                return cached
            begun = any(unfinished.iterdir())
            try:
                self._fetch(key, index, unfinished, check, moved)
            except Corrupt:
                if not begun:
                    raise
                # What a cut transfer left may have been damaged by what cut it.
                unfinished.mkdir(exist_ok=True)
                self._fetch(key, index, unfinished, check, moved)
            self._cache.add(unfinished, key)
            return self._cache.path(key)

    def _fetch(
        self, key: str, index: str, unfinished: Path, check: Callable[[Path], None], moved: Moved
    ) -> None:
        """Fills the folder. Raises Corrupt, naming the object, for other content than `check` expects."""
        files = self.files(key)
        if index not in files:
            raise NotFound(f"There is no {self.name(key)}.")
        progress = Progress("Fetching", self.name(key), files, moved)
        for name, size in files.items():
            with self._disk.open_to_append(unfinished / check_relative(name)) as file:
                if file.tell() > size:
                    file.truncate(0)
                self._transfers.download(self._item(key, name, size), file, progress.file(name))
        progress.finish()
        try:
            check(unfinished)
        except Corrupt as error:
            self._disk.remove_tree(unfinished)
            words = error.message.replace(str(unfinished), self.name(key))
            raise Corrupt(words, remedy=error.remedy) from error

    def _item(self, key: str, name: str, size: int) -> Item:
        return Item(f"{key}/{name}", self.name(f"{key}/{name}"), size)

    def local(self, key: str) -> Path | None:
        path = self._cache.path(key)
        return path if path.is_dir() else None

    def forget_local(self, key: str) -> bool:
        return self._cache.forget(key)

    def trim_local(self, keep: frozenset[str]) -> None:
        self._cache.trim(keep)

    def discard(self, key: str) -> None:
        import obstore

        paths = self._list(key)
        index = [path for path in paths if path.endswith(_INDEXES)]
        for some in (index, [path for path in paths if path not in index]):
            if some:  # the index first: a tree half-removed is no tree
                with contextlib.suppress(NotFound):
                    self._ask(key, partial(obstore.delete, self._clients.listing, some))
        self._cache.forget(key)

    # -- all of it -------------------------------------------------------------------------------------------

    def files(self, folder: str) -> dict[str, int]:
        import obstore

        def sizes() -> dict[str, int]:
            pages = obstore.list(self._lister, folder)
            return {str(item["path"])[len(folder) + 1 :]: item["size"] for page in pages for item in page}

        return dict(sorted(self._ask(folder, sizes).items()))

    def chunks(self, key: str) -> Iterator[bytes]:
        import obstore

        stream = self._ask(key, lambda: obstore.get(self._clients.steady, key).stream(min_chunk_size=1 << 20))
        with in_our_words(self.name(key)):
            for piece in stream:
                yield bytes(piece)

    @property
    def _lister(self) -> "S3Store":
        """For requests of many pages; while the server is away nobody waits for what is tried again."""
        return self._clients.once if self._patience.away_since else self._clients.listing

    def _list(self, folder: str, *, after: str = "") -> list[str]:
        """Keys below `folder`, at any depth, with names above `after`."""
        import obstore

        def paths() -> list[str]:
            offset = f"{folder}/{after}" if after else None
            pages = obstore.list(self._lister, folder, offset=offset)
            return [str(item["path"]) for page in pages for item in page]

        return self._ask(folder, paths)
