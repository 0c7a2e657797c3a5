"""Small volumes that are full or read-only, for tests."""

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def volume(folder: Path, megabytes: int) -> Iterator[Path]:
    """A volume of its own on `folder`; the test is left out where this user may not mount one."""
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "serinus-test", str(folder)],
        capture_output=True,
        check=False,
        text=True,
    )
    if made.returncode != 0:
        pytest.skip(f"a volume cannot be mounted here: {made.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill_up(folder: Path) -> Path:
    """Takes all the room of the volume; gives the file that does."""
    ballast = folder / "ballast"
    with ballast.open("ab", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError as error:
            assert error.errno == errno.ENOSPC
    return ballast


def read_only(folder: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)


def picture(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Every entry with size, mode and time of change."""
    entries = [Path(path) / name for path, folders, files in os.walk(folder) for name in (*folders, *files)]
    seen = ((entry, entry.lstat()) for entry in entries)
    return {str(entry): (found.st_size, found.st_mode, found.st_mtime_ns) for entry, found in seen}
