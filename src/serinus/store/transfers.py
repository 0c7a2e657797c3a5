"""Files on their way to and from a bucket: several parts at a time, going on where a cut one stopped."""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from serinus.core.errors import NotFound
from serinus.store.backend import Moved
from serinus.store.client import in_our_words
from serinus.store.patience import Patience

if TYPE_CHECKING:
    from obstore.store import S3Store

_LOG = logging.getLogger(__name__)
PART = 8 << 20
"""Bytes of one request of a long transfer."""
_PARTS_AT_ONCE = 4
_SAID_EVERY = 5.0
_MEGABYTE = 1e6


class Progress:
    """Passes on how a tree's transfer goes, and logs it now and then: a long one must not look like none.

    `doing`: "Fetching", "Sending", "Comparing". `sizes`: bytes of each file that is to be moved.
    """

    def __init__(self, doing: str, name: str, sizes: dict[str, int], moved: Moved) -> None:
        self._doing = doing
        self._name = name
        self._sizes = sizes
        self._moved = moved
        self._done: dict[str, int] = {}
        self._total = sum(sizes.values())
        self._said = time.monotonic()
        _LOG.info("%s %s: %d files, %.1f MB", doing, name, len(sizes), self._total / _MEGABYTE)

    def file(self, name: str) -> Callable[[int], None]:
        """To be told how many bytes of a file are done."""

        def moved(done: int) -> None:
            self._done[name] = done
            self._moved(name, done, self._sizes[name])
            now = time.monotonic()
            if now - self._said >= _SAID_EVERY:
                self._said = now
                self._say()

        return moved

    def finish(self) -> None:
        self._say()

    def _say(self) -> None:
        done = sum(self._done.values())
        _LOG.info(
            "%s %s: %.1f of %.1f MB (%.0f %%)",
            self._doing,
            self._name,
            done / _MEGABYTE,
            self._total / _MEGABYTE,
            100 * done / max(1, self._total),
        )


class Item(NamedTuple):
    """An object in the bucket."""

    key: str
    name: str
    """What people call it."""
    size: int


class Transfers:
    """Moves files. `client` tries its requests again by itself; what it cannot wait out, `patience` may."""

    def __init__(self, client: "S3Store", patience: Patience) -> None:
        self._client = client
        self._patience = patience

    def upload(self, path: Path, to: Item, moved: Callable[[int], None]) -> None:
        """Puts a file there; an attempt that was cut leaves nothing under the key."""
        import obstore

        def attempt() -> None:
            done = 0

            def pieces() -> Iterator[bytes]:
                nonlocal done
                with path.open("rb") as file:
                    while piece := file.read(PART):
                        yield piece
                        done += len(piece)
                        moved(done)

            with in_our_words(to.name):
                if to.size <= PART:
                    obstore.put(self._client, to.key, path.read_bytes(), use_multipart=False)
                else:
                    obstore.put(
                        self._client, to.key, pieces(), chunk_size=PART, max_concurrency=_PARTS_AT_ONCE
                    )

        self._patience.ask(attempt)
        moved(to.size)

    def download(self, source: Item, file: BinaryIO, moved: Callable[[int], None]) -> None:
        """Appends to `file` what it lacks, in order, so that what it holds counts.

        Raises what could not be waited out; then `file` holds all parts before the first that is missing.
        """
        for part in self._parts(source, file.tell()):
            file.write(part)
            moved(file.tell())

    def holds(self, item: Item, path: Path, moved: Callable[[int], None]) -> bool:
        """Whether the object is, byte by byte, the file. Reads it up to the first part that differs."""
        try:
            with path.open("rb") as file:
                for part in self._parts(item, 0):
                    if part != file.read(len(part)):
                        return False
                    moved(file.tell())
                return not file.read(1)
        except NotFound:
            return False  # somebody took it away meanwhile

    def _parts(self, source: Item, begin: int) -> Iterator[bytes]:
        """The object's bytes from `begin` on, in order, some parts read ahead."""
        threads = ThreadPoolExecutor(_PARTS_AT_ONCE)
        starts = iter(range(begin, source.size, PART))
        ahead: deque[Future[bytes]] = deque()
        try:
            while True:
                for start in starts:
                    ahead.append(threads.submit(self._part, source, start))
                    if len(ahead) == _PARTS_AT_ONCE:
                        break
                if not ahead:
                    return
                yield ahead.popleft().result()
        finally:
            threads.shutdown(cancel_futures=True)

    def _part(self, source: Item, start: int) -> bytes:
        import obstore

        length = min(PART, source.size - start)

        def attempt() -> bytes:
            with in_our_words(source.name):
                return bytes(obstore.get_range(self._client, source.key, start=start, length=length))

        return self._patience.ask(attempt)
