"""Answers that were given, kept for a while so that ground truth which comes later can be held against them.

    predictions/<replica>/0000000007.json         the answers of about a second of one process
    predictions/<replica>/<sha256 of id>.pair     both pictures of one answer, where pictures are kept
    feedback/<artifact>/<sha256 of id>.json       ground truth for one answer, together with that answer
    feedback/pairs/<sha256 of id>.pair            its pictures, where they were kept

Answers are bounded per process and go first; feedback stays. Nothing here is durable on purpose: a power cut
may cost the last seconds of answers, which can then not be judged; feedback is synced before it is confirmed.
"""

import logging
import re
from collections import deque

import msgspec

from serinus.artifact.files import sha256_bytes
from serinus.core.enums import Arm
from serinus.core.errors import Corrupt
from serinus.core.ids import Digest, Version
from serinus.store.backend import Backend
from serinus.store.observations import check_replica
from serinus.store.sealed import seal, unseal

_LOG = logging.getLogger(__name__)
_FOLDER = "predictions"
_FEEDBACK = "feedback"
_PAIRS = f"{_FEEDBACK}/pairs"
_NUMBER = re.compile(r"(\d{10})\.json")
_DIGEST = re.compile(r"[0-9a-f]{64}")

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels of the user's pictures."""


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """What one request was answered."""

    request_id: str
    time: float
    """UTC seconds."""
    version: Version
    digest: Digest
    role: Arm
    rollout: int | None = None
    """The rollout whose coin chose this version; None without one, for testers, and for an answer in place of
    the canary."""
    width: int
    height: int
    """Of the pictures, in pixels."""
    boxes: tuple[Box, ...] = ()
    scores: tuple[float, ...] = ()
    classes: tuple[int, ...] = ()
    pictures: bool = False
    """Whether both pictures were kept."""


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """The pictures of one answer, as they were sent."""

    pre: bytes
    post: bytes


class Feedback(msgspec.Struct, frozen=True, kw_only=True):
    """Ground truth for one answer."""

    answered: Answered
    time: float
    """When it came, UTC seconds."""
    boxes: tuple[Box, ...] = ()
    classes: tuple[int, ...] = ()


class Predictions:
    """`predictions/`. One replica writes its own folder; anybody may look for an answer."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def keeper(self, replica: str, *, most: int) -> "Keeper":
        """Writes the answers of `replica` and keeps the newest `most`."""
        return Keeper(self._backend, f"{_FOLDER}/{check_replica(replica)}", most)

    def find(self, request_id: str) -> tuple[Answered, Pair | None] | None:
        """The answer that was given to a request, with its pictures where they were kept; None when it is not
        known any more. Looks through all that is kept, the newest first."""
        for folder in self._backend.names(_FOLDER):
            place = f"{_FOLDER}/{folder}"
            for name in sorted(filter(_NUMBER.fullmatch, self._backend.names(place)), reverse=True):
                for answered in self._read(f"{place}/{name}"):
                    if answered.request_id == request_id:
                        return answered, self._pair(place, answered)
        return None

    def forget(self, *, before: float) -> None:
        """Removes what processes that are gone left, untouched since `before` (UTC seconds)."""
        for folder in self._backend.names(_FOLDER):
            if self._backend.touched(f"{_FOLDER}/{folder}") < before:
                self._backend.discard(f"{_FOLDER}/{folder}")

    def _read(self, key: str) -> list[Answered]:
        data = self._backend.read(key)
        try:
            return [] if data is None else msgspec.json.decode(data, type=list[Answered])
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            _LOG.warning("Skipped the answers %s: %s", self._backend.name(key), error)
            return []

    def _pair(self, place: str, answered: Answered) -> Pair | None:
        data = self._backend.read(_pair_key(place, answered.request_id)) if answered.pictures else None
        return None if data is None else msgspec.msgpack.decode(data, type=Pair)


class Keeper:
    """The answers of one process, written a batch at a time; older ones go when there are too many."""

    def __init__(self, backend: Backend, folder: str, most: int) -> None:
        self._backend = backend
        self._folder = folder
        self._most = most
        self._next = 0
        self._kept: deque[tuple[int, list[str]]] = deque()
        """Number of each batch that is kept, and the ids in it whose pictures are."""
        self._sizes: deque[int] = deque()

    def put(self, batch: list[Answered], pairs: dict[str, Pair]) -> None:
        """Writes a batch; `pairs`: pictures by request id."""
        for request_id, pair in pairs.items():
            data = msgspec.msgpack.encode(pair)
            self._backend.replace(_pair_key(self._folder, request_id), data, durable=False)
        self._backend.replace(_batch(self._folder, self._next), msgspec.json.encode(batch), durable=False)
        self._kept.append((self._next, list(pairs)))
        self._sizes.append(len(batch))
        self._next += 1
        while sum(self._sizes) > self._most and len(self._kept) > 1:
            number, pictures = self._kept.popleft()
            self._sizes.popleft()
            self._backend.remove(_batch(self._folder, number))
            for request_id in pictures:
                self._backend.remove(_pair_key(self._folder, request_id))


class Feedbacks:
    """`feedback/`. Newer ground truth for the same answer replaces the older one."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def put(self, feedback: Feedback, pair: Pair | None) -> None:
        """Stores it durably; its pictures are kept with it where there are any."""
        answered = feedback.answered
        if pair is not None:
            self._backend.replace(
                _pair_key(_PAIRS, answered.request_id), msgspec.msgpack.encode(pair), durable=True
            )
        key = f"{_FEEDBACK}/{answered.digest}/{_hashed(answered.request_id)}.json"
        self._backend.replace(key, seal(msgspec.json.encode(feedback)), durable=True)

    def of(self, digest: Digest) -> list[Feedback]:
        """All that came for answers of one artifact, oldest answer first.

        Raises Corrupt, naming a damaged file.
        """
        folder = f"{_FEEDBACK}/{digest}"
        found = [
            one
            for name in self._backend.names(folder)
            if name.endswith(".json") and (one := self._read(f"{folder}/{name}")) is not None
        ]
        return sorted(found, key=lambda one: (one.answered.time, one.answered.request_id))

    def count(self, digest: Digest) -> int:
        """How many answers of one artifact were judged."""
        return sum(name.endswith(".json") for name in self._backend.names(f"{_FEEDBACK}/{digest}"))

    def digests(self) -> list[Digest]:
        """Artifacts that feedback came for, sorted."""
        return [Digest(name) for name in sorted(self._backend.names(_FEEDBACK)) if _DIGEST.fullmatch(name)]

    def pair(self, answered: Answered) -> Pair | None:
        """The pictures of an answer that feedback came for, where they were kept."""
        data = self._backend.read(_pair_key(_PAIRS, answered.request_id)) if answered.pictures else None
        return None if data is None else msgspec.msgpack.decode(data, type=Pair)

    def _read(self, key: str) -> Feedback | None:
        data = self._backend.read(key)
        if data is None:
            return None
        name = self._backend.name(key)
        try:
            return msgspec.json.decode(unseal(data, name), type=Feedback)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Corrupt(f"{name} is no feedback that this version of Serinus knows: {error}.") from error


def _hashed(request_id: str) -> str:
    """Request ids may come from clients: they name no file."""
    return sha256_bytes(request_id.encode())


def _pair_key(folder: str, request_id: str) -> str:
    return f"{folder}/{_hashed(request_id)}.pair"


def _batch(folder: str, number: int) -> str:
    return f"{folder}/{number:010d}.json"
