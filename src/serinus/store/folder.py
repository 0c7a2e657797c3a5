"""A store in a folder of a local disk or a POSIX volume: `Backend` over the primitives of `local.Disk`."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeVar

from serinus.artifact.files import regular_files
from serinus.core.errors import NotFound
from serinus.store.backend import Moved, ignore
from serinus.store.local import TEMPORARY, Disk, open_file, touched

_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")
_PIECE = 1 << 20
_LOOKS = 20
"""At a folder, of which others take parts away meanwhile."""


class Folder:
    """The folder `root`; keys are paths below it."""

    remote = False
    away_since = None

    def __init__(self, root: Path, disk: Disk) -> None:
        self._root = root
        self._disk = disk

    def name(self, key: str) -> str:
        return f"{self._root}/{key}"  # made for each event that is read: paths would be most of its cost

    def each(self, ask: Callable[[_Item], _Answer], items: Sequence[_Item]) -> list[_Answer]:
        return [ask(item) for item in items]

    # -- documents -------------------------------------------------------------------------------------------

    def read(self, key: str) -> bytes | None:
        return self._disk.read(self._root / key)

    def exists(self, key: str) -> bool:
        return (self._root / key).exists()

    def names(self, folder: str, *, after: str = "") -> list[str]:
        return [name for name in self._disk.names(self._root / folder) if name > after]

    def put_if_absent(self, key: str, data: bytes) -> bool:
        return self._disk.put_if_absent(self._root / key, data)

    def settle(self, folder: str) -> None:
        self._disk.sync(self._root / folder)

    def replace(self, key: str, data: bytes, *, durable: bool) -> None:
        self._disk.replace(self._root / key, data, durable=durable)

    def remove(self, key: str) -> None:
        (self._root / key).unlink(missing_ok=True)

    def touched(self, key: str) -> float:
        return touched(self._root / key)

    # -- trees -----------------------------------------------------------------------------------------------

    def new_tree(self, key: str) -> AbstractContextManager[Path]:
        return self._disk.temporary_tree(self._root / key)

    def publish_tree(self, folder: Path, key: str, *, index: str, moved: Moved = ignore) -> bool:
        return self._disk.publish_tree(folder, self._root / key)

    def has_tree(self, key: str, *, index: str) -> bool:
        return (self._root / key).is_dir()

    def tree(self, key: str, *, index: str, check: Callable[[Path], None], moved: Moved = ignore) -> Path:
        path = self._root / key
        if not path.is_dir():
            raise NotFound(f"There is no {path}.")
        return path

    def local(self, key: str) -> Path | None:
        path = self._root / key
        return path if path.is_dir() else None

    def forget_local(self, key: str) -> bool:
        return False

    def trim_local(self, keep: frozenset[str]) -> None:
        return None

    def discard(self, key: str) -> None:
        self._disk.discard_tree(self._root / key)

    # -- all of it -------------------------------------------------------------------------------------------

    def files(self, folder: str) -> dict[str, int]:
        path = self._root / folder
        for _ in range(_LOOKS):
            with contextlib.suppress(FileNotFoundError):  # somebody took a part of it away meanwhile
                return self._files(path)
        return self._files(path)

    def _files(self, path: Path) -> dict[str, int]:
        if not path.is_dir():
            return {}
        return {
            name: file.stat().st_size
            for name, file in regular_files(path).items()
            if not any(part.startswith(TEMPORARY) for part in name.split("/"))
        }

    def chunks(self, key: str) -> Iterator[bytes]:
        try:
            with open_file(self._root / key) as file:
                while piece := file.read(_PIECE):
                    yield piece
        except FileNotFoundError as error:
            raise NotFound(f"There is no {self._root / key}.") from error
