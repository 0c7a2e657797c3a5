"""Puts a data set on disk: durable before it is visible, and nothing half-done stays."""

import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from serinus.core.errors import Unavailable, VolumeFull
from serinus.data.dataset import IMAGES, ISSUES, MANIFEST, REPORT, Dataset, Manifest
from serinus.data.draft import Draft
from serinus.data.report import Issue, Report, issues_csv
from serinus.imagery.decode import encode_png

_PREFIX = ".import-"
_ATTEMPTS = 100
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY


def store(work: Path, manifest: Manifest, draft: Draft, report: Report, issues: Sequence[Issue]) -> Dataset:
    """Makes the workspace durable and visible under its id, unless the id is there already.

    `manifest` without pairs; they are in `draft`.
    """
    datasets_dir = work.parent
    final = datasets_dir / manifest.id
    if not (final / MANIFEST).is_file():
        _settle_pictures(work, draft.pictures)
        write(work / REPORT, msgspec.json.format(msgspec.json.encode(report), indent=1))
        write(work / ISSUES, issues_csv(issues).encode())
        with (work / MANIFEST).open("wb") as file:
            draft.write(file, manifest)
            file.flush()
            os.fsync(file.fileno())
        for directory in (work / IMAGES, work):
            _sync(directory, _DIRECTORY)
        try:
            work.rename(final)
        except OSError:
            # Somebody else stored the same content meanwhile; theirs is as good as ours.
            if not (final / MANIFEST).is_file():
                raise
        _sync(datasets_dir, _DIRECTORY)
    return Dataset(final)


def _settle_pictures(work: Path, used: Set[str]) -> None:
    """Makes pictures durable, and removes those of pairs that were dropped after one of them was written.

    All at once and last: by then the system has written most of them, and waiting for each takes minutes.
    """
    for file in (work / IMAGES).iterdir():
        if file.stem not in used:
            file.unlink()
        else:
            _sync(file, os.O_RDONLY)


def write_image(work: Path, image: NDArray[np.uint8]) -> str:
    """Stores a picture under the hash of its PNG, and gives the hash."""
    data = encode_png(image)
    digest = hashlib.sha256(data).hexdigest()
    (work / IMAGES / f"{digest}.png").write_bytes(data)
    return digest


def write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def workspace(datasets_dir: Path) -> Iterator[Path]:
    """A hidden folder beside the data sets, gone in the end whatever happens; sweeps those of killed imports.

    A living import holds a lock on its folder.
    """
    for left in datasets_dir.glob(f"{_PREFIX}*"):
        if (descriptor := _lock(left)) is not None:
            shutil.rmtree(left, ignore_errors=True)
            os.close(descriptor)
    work, descriptor = _claim(datasets_dir)
    try:
        yield work
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise VolumeFull(
            f"No space is left for the data set in {datasets_dir}.",
            remedy="Make room, or let DATA_DIR be on a larger volume; nothing half-done was kept.",
        ) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
        os.close(descriptor)


def _claim(datasets_dir: Path) -> tuple[Path, int]:
    """A new folder and the lock on it; another import's sweep may come between the two."""
    for _ in range(_ATTEMPTS):
        work = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=datasets_dir))
        descriptor = _lock(work)
        if descriptor is not None:
            try:
                (work / IMAGES).mkdir()
            except FileNotFoundError:
                os.close(descriptor)
            else:
                return work, descriptor
    raise Unavailable("Too many imports start at once.", remedy="Try again.")


def _lock(directory: Path) -> int | None:
    """A descriptor that locks the folder while it is open; None when another does, or the folder is gone."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
