"""Local copies of trees that lie in a bucket, below MODEL_DIR under the same keys, up to a size.

A copy appears by one rename after its hashes were checked, and is read-only. The least recently asked for go
first when the limit is passed, never one that is needed or was asked for in the last ten minutes: who got a
path may still be reading it. Processes on one MODEL_DIR share the copies; a file lock lets one of them fetch.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from serinus.core.ids import Clock
from serinus.store.alive import locked
from serinus.store.local import TEMPORARY, Disk, volume_errors

_FOLDER = "artifacts"
_IN_USE_SECONDS = 600.0


class Cache:
    """`root`: MODEL_DIR. `limit`: bytes of all copies of artifacts together."""

    def __init__(self, root: Path, disk: Disk, *, limit: int, clock: Clock) -> None:
        self._root = root
        self._disk = disk
        self._limit = limit
        self._clock = clock

    def path(self, key: str) -> Path:
        """Where the copy lies, or would."""
        return self._root / key

    def get(self, key: str) -> Path | None:
        """The copy, if there is one; it counts as just asked for."""
        path = self.path(key)
        if not path.is_dir():
            return None
        self._asked(path)
        return path

    def add(self, folder: Path, key: str) -> None:
        """Makes the filled `folder` the copy; one that is there already stays."""
        with volume_errors("keep a copy", self._root):
            if not self._disk.publish_tree(folder, self.path(key), durable=False):
                self._disk.remove_tree(folder)
            self._asked(self.path(key))

    def _asked(self, path: Path) -> None:
        now = self._clock()
        with contextlib.suppress(OSError):
            os.utime(path, (now, now))

    def forget(self, key: str) -> bool:
        """Drops a copy. True: there was one."""
        there = self.path(key).is_dir()
        if there:
            self._disk.discard_tree(self.path(key))
        return there

    @contextlib.contextmanager
    def fetching(self, key: str) -> Iterator[Path]:
        """A folder to fetch into, for one process at a time; what a cut transfer left is still there."""
        final = self.path(key)
        # Beside its final place: a read-only folder may be renamed there only within its parent.
        partial = final.with_name(f"{TEMPORARY}{final.name}")
        with volume_errors("keep a copy", self._root):
            self._disk.make_folder(final.parent)
            self._disk.make_folder(self._disk.scratch)
            lock = locked(self._disk.scratch / final.name)
            try:
                partial.mkdir(exist_ok=True)
                yield partial
            except OSError:
                self._disk.remove_tree(partial)  # on a full volume what is useless must not stay
                raise
            finally:
                os.close(lock)

    def trim(self, keep: frozenset[str]) -> None:
        """Drops the least recently asked for until all copies fit; none of `keep` (keys)."""
        copies = sorted(self._copies())
        total = sum(size for _, size, _ in copies)
        for asked, size, key in copies:
            if total <= self._limit:
                return
            if key not in keep and self._clock() - asked > _IN_USE_SECONDS:
                self.forget(key)
                total -= size

    def _copies(self) -> Iterator[tuple[float, int, str]]:
        """When it was asked for last, its bytes, its key."""
        for name in self._disk.names(self._root / _FOLDER):
            path = self._root / _FOLDER / name
            with contextlib.suppress(FileNotFoundError):
                if path.is_dir() and not name.startswith(TEMPORARY):
                    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
                    yield path.stat().st_mtime, size, f"{_FOLDER}/{name}"
