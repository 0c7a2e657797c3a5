"""What replicas report: closed slices, one file each, never changed. The controller merges and freezes them.

    observations/<rollout>/<replica>/<n>.json     counters of requests
    pairs/<rollout>/<replica>/<n>.json            counters of shadow pairs

Not durable on purpose: a power cut may lose the last seconds of counters, which is less evidence, never wrong
evidence. A file that a power cut left torn is skipped with a warning.
"""

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from enum import Enum, auto
from typing import Final, Generic, Literal, TypeVar

import msgspec

from serinus.core.errors import Corrupt, InvalidInput
from serinus.evidence.counts import Slice
from serinus.evidence.pairs import PairCounts
from serinus.store.backend import Backend
from serinus.store.sealed import seal, unseal

_LOG = logging.getLogger(__name__)
OBSERVATIONS, PAIRS = "observations", "pairs"
_T = TypeVar("_T")
_REPLICA = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_NUMBER = re.compile(r"(\d{10})\.json")


class _Absent(Enum):
    ABSENT = auto()


_ABSENT: Final = _Absent.ABSENT


class _Observation(msgspec.Struct, frozen=True):
    slice: Slice


class _Pairs(msgspec.Struct, frozen=True):
    pairs: PairCounts


def decode_observation(data: bytes, name: str) -> Slice:
    """Raises Corrupt, naming the file `name`."""
    return _decode(data, name, _Observation).slice


def decode_pairs(data: bytes, name: str) -> PairCounts:
    """Raises Corrupt, naming the file `name`."""
    return _decode(data, name, _Pairs).pairs


def _decode(data: bytes, name: str, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(unseal(data, name), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Corrupt(f"{name} is no observation: {error}.") from error


def check_replica(replica: str) -> str:
    """`replica` itself when it can name a file; else InvalidInput."""
    if not _REPLICA.fullmatch(replica):
        raise InvalidInput(
            f"{replica!r} cannot name a replica.", remedy="Use letters, digits, dots, underscores and dashes."
        )
    return replica


class Reported(Generic[_T]):
    """`<folder>/<rollout>/<replica>/<n>.json`; see `observations` and `pairs` below."""

    def __init__(
        self,
        backend: Backend,
        folder: str,
        encode: Callable[[_T], bytes],
        decode: Callable[[bytes, str], _T],
    ) -> None:
        self._backend = backend
        self._folder = folder
        self._encode = encode
        self._decode = decode

    def put(self, rollout: int, replica: str, n: int, slice_: _T) -> None:
        """Writes slice `n` of a process; a process counts n = 0, 1, 2 ... and writes them in this order."""
        key = f"{self._of(rollout)}/{check_replica(replica)}/{_file(n)}"
        self._backend.replace(key, seal(self._encode(slice_)), durable=False)

    def new(self, rollout: int, seen: Mapping[str, int]) -> list[tuple[str, int, _T]]:
        """Slices of a rollout with n above `seen[replica]` (all, where a replica is not in it), in order."""
        folder = self._of(rollout)

        def of(replica: str) -> list[tuple[str, int, _T]]:
            place, above = f"{folder}/{replica}", seen.get(replica, -1)
            # The next ones by their names: a listing costs more with every slice there is, and in a bucket
            # twelve times as much. It is asked when there is no next one: behind a hole others may lie.
            found = list(self._in_a_row(place, above + 1)) or [
                (n, self._read(f"{place}/{_file(n)}")) for n in self._complete_numbers(place, above=above)
            ]
            return [(replica, n, slice_) for n, slice_ in found if slice_ is not None]

        return [one for some in self._backend.each(of, sorted(self._backend.names(folder))) for one in some]

    def forget(self, *, keep: int | None, before: float) -> None:
        """Removes what was reported of rollouts other than `keep`, untouched since `before` (UTC seconds)."""
        for name in self._backend.names(self._folder):
            folder = f"{self._folder}/{name}"
            if name.isdecimal() and name != str(keep) and self._backend.touched(folder) < before:
                self._backend.discard(folder)

    def _in_a_row(self, folder: str, n: int) -> Iterator[tuple[int, _T | None]]:
        """Slice `n` and those that follow it without a hole; None for one that is damaged."""
        while (found := self._look(f"{folder}/{_file(n)}")) is not _ABSENT:
            yield n, found
            n += 1

    def _read(self, key: str) -> _T | None:
        found = self._look(key)
        return None if found is _ABSENT else found

    def _look(self, key: str) -> "_T | Literal[_Absent.ABSENT] | None":
        """A slice; None for a damaged one, which is said; _ABSENT when there is none."""
        try:
            data = self._backend.read(key)
            return _ABSENT if data is None else self._decode(data, self._backend.name(key))
        except Corrupt as error:
            _LOG.warning("Skipped an observation: %s", error)
            return None

    def _complete_numbers(self, folder: str, *, above: int) -> list[int]:
        """Numbers in `folder`, without a hole that only the listing made.

        A listing that runs while files appear may miss an older one and show a newer one, and the older one
        would then count as seen. So: the highest of a first listing, and what a second one shows up to it.
        """
        highest = max(self._numbers(folder, above), default=-1)
        if highest <= above:
            return []
        return sorted(n for n in self._numbers(folder, above) if n <= highest)

    def _of(self, rollout: int) -> str:
        return f"{self._folder}/{rollout}"

    def _numbers(self, folder: str, above: int) -> list[int]:
        after = _file(above) if above >= 0 else ""
        matches = map(_NUMBER.fullmatch, self._backend.names(folder, after=after))
        return [int(match[1]) for match in matches if match]


def observations(backend: Backend) -> Reported[Slice]:
    """What was counted of requests."""
    return Reported(backend, OBSERVATIONS, lambda s: msgspec.json.encode(_Observation(s)), decode_observation)


def pairs(backend: Backend) -> Reported[PairCounts]:
    """What was counted of shadow pairs."""
    return Reported(backend, PAIRS, lambda p: msgspec.json.encode(_Pairs(p)), decode_pairs)


def _file(n: int) -> str:
    return f"{n:010d}.json"
