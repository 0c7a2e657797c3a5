"""The files of a folder and their hashes: regular files under portable names, nothing else."""

import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from serinus.artifact.manifest import FileEntry
from serinus.core.errors import InvalidInput
from serinus.core.ids import Digest

MAX_NAME_BYTES = 255


def sha256_bytes(data: bytes) -> Digest:
    return Digest(hashlib.sha256(data).hexdigest())


def sha256_file(path: Path) -> Digest:
    """Hash of a file's bytes, read in pieces. Raises OSError when it cannot be read."""
    with path.open("rb") as file:
        return Digest(hashlib.file_digest(file, "sha256").hexdigest())


def sha256_pieces(pieces: Iterable[bytes]) -> Digest:
    """Hash of bytes that come in pieces."""
    hashed = hashlib.sha256()
    for piece in pieces:
        hashed.update(piece)
    return Digest(hashed.hexdigest())


def check_relative(name: str) -> str:
    """`name` itself when it is a portable relative path that stays below its folder; else InvalidInput."""
    bad = (
        not name.isprintable()
        or "\\" in name
        or any(
            part in ("", ".", "..") or len(part.encode(errors="replace")) > MAX_NAME_BYTES
            for part in name.split("/")
        )
    )
    if bad:
        raise InvalidInput(
            f"{name!r} is not a usable file name.",
            remedy="Use a relative path of printable characters, without '..', backslashes or empty parts.",
        )
    return name


def regular_files(folder: Path) -> dict[str, Path]:
    """Every file below `folder` by its relative POSIX path, sorted.

    Raises InvalidInput, naming it, for a symbolic link, a device, a pipe, a socket or an odd name: a link
    could point outside, so what was hashed would not be what is read later.
    """
    return dict(sorted(_walk(folder, "")))


def _walk(folder: Path, prefix: str) -> Iterator[tuple[str, Path]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            name = check_relative(prefix + entry.name)
            mode = entry.stat(follow_symlinks=False).st_mode
            if stat.S_ISDIR(mode):
                yield from _walk(Path(entry.path), name + "/")
            elif stat.S_ISREG(mode):
                yield name, Path(entry.path)
            else:
                raise InvalidInput(
                    f"{entry.path} is a link or a special file.",
                    remedy="Only regular files and folders may be here: copy the file itself.",
                )


def file_entries(folder: Path) -> dict[str, FileEntry]:
    """Hash and size of every file below `folder`, by relative POSIX path. Raises as `regular_files` does."""
    return {
        name: FileEntry(sha256=sha256_file(path), size=path.stat().st_size)
        for name, path in regular_files(folder).items()
    }


def copy_regular(source: Path, target: Path) -> None:
    """Copies one regular file; its folder is made. Raises InvalidInput when `source` is a link by now."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise InvalidInput(f"{source} became a link while it was read.") from error
        raise
    with os.fdopen(descriptor, "rb") as reader, target.open("xb") as writer:
        shutil.copyfileobj(reader, writer, 1 << 20)
