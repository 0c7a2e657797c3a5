"""The harness on disks that break a promise, so that we know that it would find it.

python -m tests.store.crash.broken FOLDER DISK OPERATION MODE WORDS

As `cuts`, with one of the disks `BROKEN`, up to the first violation that has these words.
"""

import contextlib
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from serinus.store import Store
from serinus.store.local import Disk
from tests.store.crash.cuts import Harness
from tests.store.crash.operations import Place, unopened
from tests.store.drafts import new_id


class WritesInPlace(Disk):
    """A document is written where it is read: no link of something complete."""

    def put_if_absent(self, path: Path, data: bytes) -> bool:
        if path.exists():
            return path.read_bytes() == data
        path.write_bytes(data)
        return True


class LinksFirst(Disk):
    """The name comes before the content."""

    def put_if_absent(self, path: Path, data: bytes) -> bool:
        temporary = self.scratch / new_id()
        temporary.touch()
        self.link(temporary, path)
        temporary.write_bytes(data)
        temporary.unlink()
        return True


class MovesFileByFile(Disk):
    """A tree appears piece by piece."""

    def publish_tree(self, temporary: Path, final: Path, *, durable: bool = True) -> bool:
        if final.exists():
            return False
        final.mkdir()
        for path in sorted(temporary.iterdir()):
            self.rename(path, final / path.name)
        return True


class SwallowsErrors(Disk):
    """What could not be written counts as written."""

    def put_if_absent(self, path: Path, data: bytes) -> bool:
        with contextlib.suppress(OSError):
            return super().put_if_absent(path, data)
        return True


class KeepsWhatFailed(Disk):
    """A failed write leaves its half behind."""

    def _write(self, data: bytes, *, durable: bool) -> Path:
        temporary = self.scratch / new_id()
        temporary.write_bytes(data)
        return temporary


class RemovesFirst(Disk):
    """A link is swapped by taking the old one away."""

    def point(self, link: Path, target: str) -> None:
        link.unlink(missing_ok=True)
        link.symlink_to(f"{target}-half")
        link.unlink()
        link.symlink_to(target)


BROKEN: Mapping[str, type[Disk]] = {
    kind.__name__: kind
    for kind in (WritesInPlace, LinksFirst, MovesFileByFile, SwallowsErrors, KeepsWhatFailed, RemovesFirst)
}


def main(folder: str, kind: str, operation: str, mode: str, words: str) -> None:
    def make(place: Place) -> Store:
        return unopened(place, BROKEN[kind](place.root, new_id))

    row = Harness(Path(folder), make).until(operation, mode, words)
    sys.stdout.write(msgspec.json.encode(row).decode())


if __name__ == "__main__":
    main(*sys.argv[1:])
