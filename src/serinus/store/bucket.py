"""A store in a bucket of any S3-compatible server: `Backend` over `obstore`.

- put-if-absent is `If-None-Match: *`. A request whose answer was lost is sent again by the client and then
  meets its own success: what counts is what lies there, so it is read back and compared.
- A tree has no rename to appear by. Its files go straight under its key, which nobody reads before the index
  document is there, and that is written last, if absent. Files that are there already are what a cut transfer
  left: the key is the hash of all content, so they are the same.
- Trees are fetched into the local `cache`, several parts at a time, going on where a cut transfer stopped;
  nothing is used before its hashes were checked.
- Every request is tried again, with growing pauses, for `patience` seconds; then the answer is Unavailable.
"""

import contextlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from serinus.artifact.files import regular_files
from serinus.core.errors import Misconfigured, NotFound, Unavailable
from serinus.store.backend import Moved, ignore
from serinus.store.cache import Cache
from serinus.store.local import Disk

if TYPE_CHECKING:
    from obstore.store import S3Store

_PARTS_AT_ONCE = 4
_PART = 8 << 20
"""Bytes of one request of a long transfer."""
_SERVER = "Is STORE_URL right, and does the server answer? Nothing half-written is used; it is tried again."


class Address(NamedTuple):
    """Where a bucket is and how long to wait for it."""

    url: str
    """`s3://bucket/prefix`; credentials, region and endpoint come from the usual environment (AWS_...)."""
    patience: float
    """How long a request is tried again, seconds."""
    allow_http: bool = False
    """Whether the endpoint is plain http."""


def connect(address: Address) -> "S3Store":
    """A client. Raises Misconfigured for an address that is none, or without the extra `s3`."""
    try:
        from obstore.exceptions import BaseError
        from obstore.store import S3Store
    except ImportError as error:
        raise Misconfigured(
            "STORE_URL names a bucket, but the client for it is not installed.",
            remedy="pip install 'serinus[s3]'",
        ) from error
    try:
        return S3Store.from_url(
            address.url,
            client_options={
                "allow_http": address.allow_http,
                "connect_timeout": "3s",
                "timeout": "60s",
            },
            retry_config={
                "max_retries": 1000,
                "retry_timeout": timedelta(seconds=address.patience),
                "backoff": {
                    "init_backoff": timedelta(milliseconds=100),
                    "max_backoff": timedelta(seconds=2),
                    "base": 2,
                },
            },
        )
    except (BaseError, ValueError) as error:
        raise Misconfigured(
            f"STORE_URL {address.url!r} cannot be used: {_first_line(error)}.", remedy=_SERVER
        ) from error


class Bucket:
    """The objects below one address. `disk` and `cache` are local."""

    remote = True

    def __init__(self, client: "S3Store", url: str, disk: Disk, cache: Cache) -> None:
        self._client = client
        self._url = url.rstrip("/")
        self._disk = disk
        self._cache = cache

    def name(self, key: str) -> str:
        return f"{self._url}/{key}"

    def check(self, new_id: Callable[[], str]) -> None:
        """Tries what the protocol rests on. Raises Misconfigured when the server does not keep it."""
        key = f"probes/{new_id()}"
        held = self.put_if_absent(key, b"one") and not self.put_if_absent(key, b"two")
        held = held and self.read(key) == b"one"
        self.remove(key)
        if not held:
            raise Misconfigured(
                f"The server of {self._url} does not honour `If-None-Match: *`, which the store rests on.",
                remedy="Use a server that does: AWS S3, MinIO, Ceph, SeaweedFS in current versions.",
            )

    # -- documents -------------------------------------------------------------------------------------------

    def read(self, key: str) -> bytes | None:
        import obstore

        with self._errors():
            try:
                return bytes(obstore.get(self._client, key).bytes())
            except (FileNotFoundError, obstore.exceptions.NotFoundError):
                return None

    def exists(self, key: str) -> bool:
        import obstore

        with self._errors():
            try:
                obstore.head(self._client, key)
            except (FileNotFoundError, obstore.exceptions.NotFoundError):
                return False
            return True

    def names(self, folder: str, *, after: str = "") -> list[str]:
        import obstore

        with self._errors():
            if after:
                # What lies below sub-folders sorts among the names; only what is directly here is a name.
                found = obstore.list(self._client, folder, offset=f"{folder}/{after}")
                below = (str(item["path"])[len(folder) + 1 :] for page in found for item in page)
                return [name for name in below if "/" not in name]
            listing = obstore.list_with_delimiter(self._client, folder)
            objects = [str(item["path"]) for item in listing["objects"]]
            return [path.rpartition("/")[2] for path in (*listing["common_prefixes"], *objects)]

    def put_if_absent(self, key: str, data: bytes) -> bool:
        import obstore

        with self._errors():
            try:
                obstore.put(self._client, key, data, mode="create", use_multipart=False)
                return True
            except (FileExistsError, obstore.exceptions.AlreadyExistsError):
                return self.read(key) == data
            except obstore.exceptions.BaseError as error:
                # Not known whether it was written: look.
                existing = self.read(key)
                if existing is None:
                    raise error from None
                return existing == data

    def replace(self, key: str, data: bytes, *, durable: bool) -> None:
        import obstore

        with self._errors():
            obstore.put(self._client, key, data, use_multipart=False)

    def remove(self, key: str) -> None:
        import obstore

        with self._errors(), contextlib.suppress(FileNotFoundError, obstore.exceptions.NotFoundError):
            obstore.delete(self._client, key)

    def touched(self, key: str) -> float:
        import obstore

        with self._errors():
            pages = obstore.list(self._client, key)
            times = [item["last_modified"].timestamp() for page in pages for item in page]
        return max(times, default=float("inf"))

    # -- trees -----------------------------------------------------------------------------------------------

    def new_tree(self, key: str) -> contextlib.AbstractContextManager[Path]:
        return self._disk.temporary_tree(self._cache.path(key))

    def publish_tree(self, folder: Path, key: str, *, index: str, moved: Moved = ignore) -> bool:
        if self.exists(f"{key}/{index}"):
            return False
        files = regular_files(folder)
        there = self.files(key)
        for name, path in files.items():
            if name != index and there.get(name) != path.stat().st_size:
                self._upload(path, f"{key}/{name}", partial(moved, name))
        won = self.put_if_absent(f"{key}/{index}", files[index].read_bytes())
        self._cache.add(folder, key)
        return won

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
            files = self.files(key)
            if index not in files:
                raise NotFound(f"There is no {self.name(key)}.")
            for name, size in files.items():
                self._download(f"{key}/{name}", size, unfinished / name, partial(moved, name))
            try:
                check(unfinished)
            except BaseException:
                self._disk.remove_tree(unfinished)
                raise
            self._cache.add(unfinished, key)
            return self._cache.path(key)

    def forget_local(self, key: str) -> bool:
        return self._cache.forget(key)

    def trim_local(self, keep: frozenset[str]) -> None:
        self._cache.trim(keep)

    def discard(self, key: str) -> None:
        import obstore

        with self._errors():
            pages = obstore.list(self._client, key)
            paths = sorted((str(item["path"]) for page in pages for item in page), key=_index_first)
            for path in paths:
                with contextlib.suppress(FileNotFoundError, obstore.exceptions.NotFoundError):
                    obstore.delete(self._client, path)
        self._cache.forget(key)

    # -- all of it -------------------------------------------------------------------------------------------

    def files(self, folder: str) -> dict[str, int]:
        import obstore

        with self._errors():
            pages = obstore.list(self._client, folder)
            found = {str(item["path"])[len(folder) + 1 :]: item["size"] for page in pages for item in page}
        return dict(sorted(found.items()))

    def chunks(self, key: str) -> Iterator[bytes]:
        import obstore

        with self._errors():
            try:
                for piece in obstore.get(self._client, key).stream(min_chunk_size=1 << 20):
                    yield bytes(piece)
            except (FileNotFoundError, obstore.exceptions.NotFoundError) as error:
                raise NotFound(f"There is no {self.name(key)}.") from error

    def sweep(self, *, before: float) -> None:
        self._disk.sweep_all(before=before)

    # -- transfers -------------------------------------------------------------------------------------------

    def _upload(self, path: Path, key: str, moved: Callable[[int, int], None]) -> None:
        import obstore

        size = path.stat().st_size
        done = 0

        def pieces() -> Iterator[bytes]:
            nonlocal done
            with path.open("rb") as file:
                while piece := file.read(_PART):
                    yield piece
                    done += len(piece)
                    moved(done, size)

        with self._errors():
            if size <= _PART:
                obstore.put(self._client, key, path.read_bytes(), use_multipart=False)
                moved(size, size)
            else:
                obstore.put(self._client, key, pieces(), chunk_size=_PART, max_concurrency=_PARTS_AT_ONCE)

    def _download(self, key: str, size: int, target: Path, moved: Callable[[int, int], None]) -> None:
        """Appends what `target` lacks; several parts are on their way at once, written in order."""
        import obstore

        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("ab") as file:
            if file.tell() > size:
                file.truncate(0)
            with self._errors():
                while (start := file.tell()) < size:
                    starts = range(start, min(size, start + _PARTS_AT_ONCE * _PART), _PART)
                    lengths = [min(_PART, size - at) for at in starts]
                    parts = obstore.get_ranges(
                        self._client, key, starts=list(starts), lengths=lengths, coalesce=0
                    )
                    for part in parts:
                        file.write(part)
                    moved(file.tell(), size)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Says whose fault an error of the client is."""
        from obstore import exceptions

        try:
            yield
        except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError, PermissionError) as error:
            raise Misconfigured(
                f"The server refuses the credentials for {self._url}.",
                remedy="Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or a role) that may write there.",
            ) from error
        except exceptions.BaseError as error:
            if "NoSuchBucket" in str(error):
                raise Misconfigured(
                    f"There is no bucket for {self._url}.", remedy="Create it, or correct STORE_URL."
                ) from error
            raise Unavailable(
                f"The store {self._url} cannot be reached: {_first_line(error)}.",
                remedy=_SERVER,
                retry_after=5.0,
            ) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]


def _index_first(path: str) -> tuple[bool, str]:
    """The index goes first, so that a tree half-removed is no tree."""
    return not path.endswith(("/manifest.json", "/golden.json")), path
