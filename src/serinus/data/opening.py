"""Which kind of archive a file is: by its first bytes, never by its name."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from serinus.data.archive import HEAD, Archive, ArchiveLimits, is_tar
from serinus.data.tars import Moved, open_tar
from serinus.data.zips import open_zip


@contextmanager
def open_archive(
    path: Path, limits: ArchiveLimits, *, scratch: Path | None = None, moved: Moved | None = None
) -> Iterator[Archive]:
    """The archive at `path` (zip, tar, tar.gz, tar.zst), checked.

    `scratch`: folder with room for a packed tar, unpacked; `moved` is told meanwhile. Raises InvalidInput or
    TooLarge.
    """
    with path.open("rb") as file:
        head = file.read(HEAD)
    opened = open_tar(path, limits, scratch=scratch, moved=moved) if is_tar(head) else open_zip(path, limits)
    with opened as archive:
        yield archive
