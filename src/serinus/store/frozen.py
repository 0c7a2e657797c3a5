"""Frozen evidence: slice k as merged and judged, put if absent: two controllers judge the same thing."""

import re
import threading
from pathlib import Path

import msgspec

from serinus.artifact.files import sha256_bytes
from serinus.core.errors import Conflict, Corrupt, InvalidInput
from serinus.core.ids import Digest
from serinus.evidence.analysis import Analysis
from serinus.evidence.counts import Slice
from serinus.store.local import Disk, volume_errors
from serinus.store.sealed import seal, unseal

_NAME = re.compile(r"(\d{10})\.json")


class FrozenSlice(msgspec.Struct, frozen=True, kw_only=True):
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
    prev: str
    """`digest` of slice k - 1; empty for k = 0."""

    @property
    def digest(self) -> Digest:
        """sha256 of the file that holds this slice: what a decision cites."""
        return sha256_bytes(_encode(self))


def _encode(frozen: FrozenSlice) -> bytes:
    return seal(msgspec.json.encode(frozen))


def _decode(data: bytes, path: Path) -> FrozenSlice:
    try:
        return msgspec.json.decode(unseal(data, str(path)), type=FrozenSlice)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Corrupt(
            f"{path} is no evidence that this version of Serinus knows: {error}.",
            remedy="Was it written by a newer version? Then run that one.",
        ) from error


class FrozenEvidence:
    """The folder `evidence/`: `<rollout>/<k>.json`. Thread-safe."""

    def __init__(self, folder: Path, disk: Disk) -> None:
        self._folder = folder
        self._disk = disk
        self._lock = threading.Lock()
        self._last: dict[int, FrozenSlice] = {}

    def path(self, rollout: int, k: int) -> Path:
        return self._folder / str(rollout) / f"{k:010d}.json"

    def freeze(self, frozen: FrozenSlice) -> bool:
        """True: slice k is this one, durably. False: somebody else froze another one; read it and go on from
        it.

        Raises Conflict when `prev` is not the digest of slice k - 1, InvalidInput when a number is not
        finite.
        """
        path = self.path(frozen.rollout, frozen.k)
        before = self.get(frozen.rollout, frozen.k - 1) if frozen.k > 0 else None
        if frozen.prev != (before.digest if before else "") or (frozen.k > 0 and before is None):
            raise Conflict(
                f"Slice {frozen.k} of rollout {frozen.rollout} does not follow what is frozen.",
                remedy="Read the last frozen slice and judge from there.",
            )
        data = _encode(frozen)
        try:
            _decode(data, path)
        except Corrupt as error:
            raise InvalidInput(
                f"Slice {frozen.k} of rollout {frozen.rollout} cannot be stored: a number is not finite."
            ) from error
        with volume_errors("freeze evidence", self._folder):
            return self._disk.put_if_absent(path, data)

    def get(self, rollout: int, k: int) -> FrozenSlice | None:
        """Slice k, None when it is not frozen yet. Raises Corrupt, naming the file."""
        path = self.path(rollout, k)
        data = self._disk.read(path)
        if data is None:
            return None
        frozen = _decode(data, path)
        if (frozen.rollout, frozen.k) != (rollout, k):
            raise Corrupt(f"{path} holds slice {frozen.k} of rollout {frozen.rollout}.")
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
                    raise Corrupt(f"{self.path(rollout, following.k)} does not follow slice {last.k}.")
                last = following
            self._last = {rollout: last}  # one rollout is active at a time; older ones are rarely asked for
            return last

    def _find_last(self, rollout: int) -> FrozenSlice | None:
        folder = self._folder / str(rollout)
        matches = map(_NAME.fullmatch, self._disk.names(folder))
        numbers = [int(match[1]) for match in matches if match]
        return self.get(rollout, max(numbers)) if numbers else None
