"""Frozen evidence: slice k as merged and judged, put if absent: two controllers judge the same thing."""

import re
import threading

import msgspec

from serinus.artifact.files import sha256_bytes
from serinus.core.errors import Conflict, Corrupt, InvalidInput
from serinus.core.ids import Digest
from serinus.evidence.analysis import Analysis
from serinus.evidence.counts import Slice
from serinus.evidence.pairs import PairCounts, PairEvidence
from serinus.store.backend import Backend
from serinus.store.sealed import seal, unseal

_FOLDER = "evidence"
_NAME = re.compile(r"(\d{10})\.json")
_FILE = "file"


class FrozenSlice(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """Evidence of a rollout up to and with slice `k` (0, 1, 2 ...)."""

    rollout: int
    k: int
    sources: dict[str, int]
    """Highest observation number merged so far, per replica."""
    slice: Slice
    """What this slice adds."""
    clock_increment: float
    """Seconds that the window's clock advanced in this slice (0 while paused)."""
    clock: float
    """Sum of all increments up to here, in seconds."""
    time: float
    """When it was frozen, UTC seconds by the writer's clock."""
    in_flight: int
    """Canary requests that were not settled then."""
    ready: bool = True
    """Every replica had the canary loaded then."""
    tripped: bool = False
    """A replica had stopped the canary on its own evidence."""
    analysis: Analysis
    """The state of all tests after this slice."""
    pairs: PairCounts | None = None
    """Shadow pairs in this slice; None where there were none."""
    pair_sources: dict[str, int] = {}
    """Replica -> the highest number of its slices of shadow pairs that is in here or before."""
    shadow: PairEvidence | None = None
    """What shadow pairs say after this slice."""
    prev: str
    """`digest` of slice k - 1; empty for k = 0."""

    @property
    def digest(self) -> Digest:
        """sha256 of the file that holds this slice: what a decision cites.

        Of the bytes that were read, where it was read: another version of Serinus may write it otherwise.
        """
        read: Digest | None = self.__dict__.get(_FILE)
        return sha256_bytes(_encode(self)) if read is None else read


def _encode(frozen: FrozenSlice) -> bytes:
    return seal(msgspec.json.encode(frozen))


def decode_slice(data: bytes, name: str) -> FrozenSlice:
    """Raises Corrupt, naming the file `name`."""
    try:
        frozen = msgspec.json.decode(unseal(data, name), type=FrozenSlice)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Corrupt(
            f"{name} is no evidence that this version of Serinus knows: {error}.",
            remedy="Was it written by a newer version? Then run that one.",
        ) from error
    frozen.__dict__[_FILE] = sha256_bytes(data)
    return frozen


class FrozenEvidence:
    """`evidence/<rollout>/<k>.json`. Thread-safe."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._lock = threading.Lock()
        self._last: dict[int, FrozenSlice] = {}
        self._settled: dict[int, int] = {}
        """Slices of a rollout up to here are durable for certain."""

    def freeze(self, frozen: FrozenSlice) -> bool:
        """True: slice k is this one, durably. False: somebody else froze another one; read it and go on from
        it.

        Raises Conflict when `prev` is not the digest of slice k - 1, Corrupt when that one was read and is
        there no more, InvalidInput when a number is not finite.
        """
        before = self.get(frozen.rollout, frozen.k - 1) if frozen.k > 0 else None
        read = self._last.get(frozen.rollout)
        if before is None and read is not None and frozen.prev == read.digest:
            raise Corrupt(
                f"{self._name(frozen.rollout, read.k)} is missing: this process has read it.",
                remedy="Restore it from a backup, or start this process anew: it goes on from what is left.",
            )
        if frozen.prev != (before.digest if before else "") or (frozen.k > 0 and before is None):
            raise Conflict(
                f"Slice {frozen.k} of rollout {frozen.rollout} does not follow what is frozen.",
                remedy="Read the last frozen slice and judge from there.",
            )
        data = _encode(frozen)
        try:
            decode_slice(data, self._name(frozen.rollout, frozen.k))
        except Corrupt as error:
            raise InvalidInput(
                f"Slice {frozen.k} of rollout {frozen.rollout} cannot be stored: a number is not finite."
            ) from error
        if before is not None:
            self._settle(before)
        if not self._backend.put_if_absent(_key(frozen.rollout, frozen.k), data):
            return False
        self._settled = {frozen.rollout: frozen.k}
        return True

    def _settle(self, slice_: FrozenSlice) -> None:
        """Before anything rests on a slice that somebody else may have frozen."""
        if self._settled.get(slice_.rollout, -1) < slice_.k:
            self._backend.settle(f"{_FOLDER}/{slice_.rollout}")
            self._settled = {slice_.rollout: slice_.k}

    def get(self, rollout: int, k: int) -> FrozenSlice | None:
        """Slice k, None when it is not frozen yet. Raises Corrupt, naming the file."""
        data = self._backend.read(_key(rollout, k))
        if data is None:
            return None
        frozen = decode_slice(data, self._name(rollout, k))
        if (frozen.rollout, frozen.k) != (rollout, k):
            raise Corrupt(f"{self._name(rollout, k)} holds slice {frozen.k} of rollout {frozen.rollout}.")
        return frozen

    def last(self, rollout: int) -> FrozenSlice | None:
        """The newest slice, None when there is none. Lists the folder once; later looks ask for the next
        number.

        Raises Corrupt, naming the file, when a slice does not follow its predecessor.
        """
        with self._lock:
            last = self._last.get(rollout) or self._find_last(rollout)
            if last is None:
                return None
            while (following := self.get(rollout, last.k + 1)) is not None:
                if following.prev != last.digest:
                    raise Corrupt(f"{self._name(rollout, following.k)} does not follow slice {last.k}.")
                last = following
            self._settle(last)
            self._last = {rollout: last}  # one rollout is active at a time; older ones are rarely asked for
            return last

    def _find_last(self, rollout: int) -> FrozenSlice | None:
        numbers = self.numbers(rollout)
        return self.get(rollout, max(numbers)) if numbers else None

    def numbers(self, rollout: int) -> list[int]:
        """Which slices of a rollout are there, in no order."""
        matches = map(_NAME.fullmatch, self._backend.names(f"{_FOLDER}/{rollout}"))
        return [int(match[1]) for match in matches if match]

    def rollouts(self) -> list[int]:
        """Rollouts with evidence, ascending."""
        return sorted(int(name) for name in self._backend.names(_FOLDER) if name.isdecimal())

    def _name(self, rollout: int, k: int) -> str:
        return self._backend.name(_key(rollout, k))


def _key(rollout: int, k: int) -> str:
    return f"{_FOLDER}/{rollout}/{k:010d}.json"
