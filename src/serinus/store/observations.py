"""What replicas report: closed slices, one file each, never changed. The controller merges and freezes them.

Not durable on purpose: a power cut may lose the last seconds of counters, which is less evidence, never wrong
evidence. A file that a power cut left torn is skipped with a warning.
"""

import logging
import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

from serinus.core.errors import InvalidInput
from serinus.evidence.counts import Slice
from serinus.store.local import Disk, touched

_LOG = logging.getLogger(__name__)
_REPLICA = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_NUMBER = re.compile(r"(\d{10})\.json")


def check_replica(replica: str) -> str:
    """`replica` itself when it can name a file; else InvalidInput."""
    if not _REPLICA.fullmatch(replica):
        raise InvalidInput(
            f"{replica!r} cannot name a replica.", remedy="Use letters, digits, dots, underscores and dashes."
        )
    return replica


class Observations:
    """The folder `observations/`: `<rollout>/<replica>/<n>.json`."""

    def __init__(self, folder: Path, disk: Disk) -> None:
        self._folder = folder
        self._disk = disk

    def put(self, rollout: int, replica: str, n: int, slice_: Slice) -> None:
        """Writes slice `n` of a process; a process counts n = 0, 1, 2 ... and writes them in this order."""
        path = self._folder / str(rollout) / check_replica(replica) / f"{n:010d}.json"
        self._disk.replace(path, msgspec.json.encode(slice_), durable=False)

    def new(self, rollout: int, seen: Mapping[str, int]) -> list[tuple[str, int, Slice]]:
        """Slices of a rollout with n above `seen[replica]` (all, where a replica is not in it), in order."""
        folder = self._folder / str(rollout)
        return [
            (replica, n, slice_)
            for replica in sorted(self._disk.names(folder))
            for n in self._complete_numbers(folder / replica, above=seen.get(replica, -1))
            if (slice_ := self._read(folder / replica / f"{n:010d}.json")) is not None
        ]

    def forget(self, *, keep: int | None, before: float) -> None:
        """Removes what was reported of rollouts other than `keep`, untouched since `before` (UTC seconds)."""
        for name in self._disk.names(self._folder):
            folder = self._folder / name
            if name.isdecimal() and name != str(keep) and touched(folder) < before:
                self._disk.discard_tree(folder)

    def _read(self, path: Path) -> Slice | None:
        try:
            return msgspec.json.decode(path.read_bytes(), type=Slice)
        except (msgspec.DecodeError, UnicodeDecodeError, FileNotFoundError) as error:
            _LOG.warning("Skipped the observation %s: %s", path, error)
            return None

    def _complete_numbers(self, folder: Path, *, above: int) -> list[int]:
        """Numbers in `folder`, without a hole that only the listing made.

        A listing that runs while files appear may miss an older one and show a newer one, and the older one
        would then count as seen. So: the highest of a first listing, and what a second one shows up to it.
        """
        highest = max(self._numbers(folder), default=-1)
        if highest <= above:
            return []
        return sorted(n for n in self._numbers(folder) if above < n <= highest)

    def _numbers(self, folder: Path) -> list[int]:
        matches = map(_NUMBER.fullmatch, self._disk.names(folder))
        return [int(match[1]) for match in matches if match]
