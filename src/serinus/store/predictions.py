"""Answers that were given, kept for a while so that ground truth which comes later can be held against them.

    predictions/<replica>/0000000007.json             the answers of about a second of one process
    predictions/<replica>/<sha256 of it>.pictures     both pictures of an answer, where pictures are kept
    feedback/<artifact>/<sha256 of id>.json           ground truth for one answer, together with that answer
    feedback/pairs/<sha256 of it>.pictures            its pictures, where they were kept

Documents are sealed, pictures are named by their hash (`store.pictures`). Older versions sealed no answers
and named pictures by the request; such files are still read.

Answers are bounded per process and go first; feedback stays. Answers are not durable on purpose: a power cut
may cost the last seconds of them, which can then not be judged; feedback is synced before it is confirmed.
"""

import logging
import re
from collections import Counter, deque
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from serinus.artifact.files import sha256_bytes
from serinus.core.enums import Arm
from serinus.core.errors import Corrupt
from serinus.core.ids import Digest, Version
from serinus.store import pictures
from serinus.store.backend import Backend
from serinus.store.observations import check_replica
from serinus.store.pictures import Pair
from serinus.store.sealed import seal, unseal

_LOG = logging.getLogger(__name__)
_FOLDER = "predictions"
FEEDBACK = "feedback"
PAIRS = f"{FEEDBACK}/pairs"
_NUMBER = re.compile(r"(\d{10})\.json")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_RESTORE = (
    "Restore it from a backup (`serinus store check --repair --from BACKUP`), or move it away: then the "
    "answer counts as not judged."
)

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
    pictures_sha256: str = ""
    """Of their file; empty where there is none, and where an older version wrote it."""


class Feedback(msgspec.Struct, frozen=True, kw_only=True):
    """Ground truth for one answer."""

    answered: Answered
    time: float
    """When it came, UTC seconds."""
    boxes: tuple[Box, ...] = ()
    classes: tuple[int, ...] = ()


class _Batch(msgspec.Struct, frozen=True):
    answers: list[Answered]


class Answers(NamedTuple):
    """What a file of answers holds."""

    answers: list[Answered]
    sealed: bool
    """False: an older version wrote it, and nothing vouches for its bytes."""


def decode_answers(data: bytes, name: str) -> Answers:
    """Raises Corrupt, naming the file `name`."""
    try:
        if data.startswith(b"["):
            return Answers(msgspec.json.decode(data, type=list[Answered]), sealed=False)
        return Answers(msgspec.json.decode(unseal(data, name), type=_Batch).answers, sealed=True)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Corrupt(f"{name} holds no answers that can be read: {error}.") from error


def decode_feedback(data: bytes, name: str, key: str) -> Feedback:
    """What lies under `key`. Raises Corrupt, naming the file `name`, also for what belongs elsewhere."""
    try:
        feedback = msgspec.json.decode(unseal(data, name), type=Feedback)
    except Corrupt as error:
        raise Corrupt(error.message, remedy=_RESTORE) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Corrupt(
            f"{name} is no feedback that this version of Serinus knows: {error}.",
            remedy="Was it written by a newer version? Then run that one.",
        ) from error
    if feedback_key(feedback.answered) != key:
        raise Corrupt(f"{name} holds the ground truth for another answer.", remedy=_RESTORE)
    return feedback


def feedback_key(answered: Answered) -> str:
    """Request ids may come from clients: they name no file."""
    return f"{FEEDBACK}/{answered.digest}/{sha256_bytes(answered.request_id.encode())}.json"


def pictures_key(folder: str, answered: Answered) -> str:
    """Where the pictures of an answer lie, if they were kept."""
    if answered.pictures_sha256:
        return pictures.key(folder, answered.pictures_sha256)
    return pictures.unnamed_key(folder, answered.request_id)


class Predictions:
    """`predictions/`. One replica writes its own folder; anybody may look for an answer."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def keeper(self, replica: str, *, most: int) -> "Keeper":
        """Writes the answers of `replica` and keeps the newest `most`."""
        return Keeper(self._backend, f"{_FOLDER}/{check_replica(replica)}", most)

    def find(self, request_id: str) -> tuple[Answered, Pair | None] | None:
        """The answer that was given to a request, with its pictures where they were kept; None when it is not
        known any more. Looks through all that is kept, the newest first. What is damaged counts as not kept.
        """
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
        try:
            data = self._backend.read(key)
            return [] if data is None else decode_answers(data, self._backend.name(key)).answers
        except Corrupt as error:
            _LOG.warning("Skipped answers: %s", error)
            return []

    def _pair(self, place: str, answered: Answered) -> Pair | None:
        try:
            return _read_pair(self._backend, place, answered)
        except Corrupt as error:
            _LOG.warning("Skipped the pictures of an answer: %s", error)
            return None


class Keeper:
    """The answers of one process, written a batch at a time; older ones go when there are too many."""

    def __init__(self, backend: Backend, folder: str, most: int) -> None:
        self._backend = backend
        self._folder = folder
        self._most = most
        self._next = 0
        self._kept: deque[tuple[int, set[Digest]]] = deque()
        """Number of each batch that is kept, and the pictures that it names."""
        self._sizes: deque[int] = deque()
        self._uses: Counter[Digest] = Counter()
        """How many of the batches name these pictures: who sends the same ones again shares their file."""

    def put(self, batch: list[Answered], pairs: dict[str, Pair]) -> None:
        """Writes a batch; `pairs`: pictures by request id."""
        encoded = {request_id: pictures.encode(pair) for request_id, pair in pairs.items()}
        for digest, data in encoded.values():
            self._backend.replace(pictures.key(self._folder, digest), data, durable=False)
        named = [
            msgspec.structs.replace(answered, pictures_sha256=encoded[answered.request_id].digest)
            if answered.pictures and answered.request_id in encoded
            else answered
            for answered in batch
        ]
        document = seal(msgspec.json.encode(_Batch(named)))
        self._backend.replace(_batch(self._folder, self._next), document, durable=False)
        digests = {one.digest for one in encoded.values()}
        self._kept.append((self._next, digests))
        self._uses.update(digests)
        self._sizes.append(len(batch))
        self._next += 1
        while sum(self._sizes) > self._most and len(self._kept) > 1:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        number, digests = self._kept.popleft()
        self._sizes.popleft()
        self._backend.remove(_batch(self._folder, number))
        self._uses.subtract(digests)
        for digest in digests:
            if self._uses[digest] <= 0:
                del self._uses[digest]
                self._backend.remove(pictures.key(self._folder, digest))


class Feedbacks:
    """`feedback/`. Newer ground truth for the same answer replaces the older one."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def put(self, feedback: Feedback, pair: Pair | None) -> None:
        """Stores it durably; its pictures are kept with it where there are any."""
        answered = feedback.answered
        if pair is not None:
            digest, data = pictures.encode(pair)
            key = pictures.key(PAIRS, digest)
            if not self._backend.put_if_absent(key, data):
                self._backend.replace(
                    key, data, durable=True
                )  # what lies there is damaged: it is named by these
            answered = msgspec.structs.replace(answered, pictures=True, pictures_sha256=digest)
        elif answered.pictures and not self._backend.exists(pictures_key(PAIRS, answered)):
            answered = msgspec.structs.replace(answered, pictures=False, pictures_sha256="")
        document = msgspec.json.encode(msgspec.structs.replace(feedback, answered=answered))
        self._backend.replace(feedback_key(answered), seal(document), durable=True)

    def of(self, digest: Digest) -> list[Feedback]:
        """All that came for answers of one artifact, oldest answer first.

        Raises Corrupt, naming a damaged file.
        """
        found = []
        for one in self.each(digest):
            if isinstance(one, Corrupt):
                raise one
            found.append(one)
        return sorted(found, key=lambda one: (one.answered.time, one.answered.request_id))

    def count(self, digest: Digest) -> int:
        """How many answers of one artifact were judged."""
        return sum(name.endswith(".json") for name in self._backend.names(f"{FEEDBACK}/{digest}"))

    def each(self, digest: Digest) -> Iterator[Feedback | Corrupt]:
        """As `of`, in no order, with what is wrong in the place of what is damaged."""
        folder = f"{FEEDBACK}/{digest}"
        for name in self._backend.names(folder):
            key = f"{folder}/{name}"
            try:
                data = self._backend.read(key) if name.endswith(".json") else None
                if data is not None:
                    yield decode_feedback(data, self._backend.name(key), key)
            except Corrupt as error:
                yield error

    def digests(self) -> list[Digest]:
        """Artifacts that feedback came for, sorted."""
        return [Digest(name) for name in sorted(self._backend.names(FEEDBACK)) if _DIGEST.fullmatch(name)]

    def pair(self, answered: Answered) -> Pair | None:
        """The pictures of an answer that feedback came for; None when they were not kept.

        Raises Corrupt, naming the file, when it is damaged or missing.
        """
        pair = _read_pair(self._backend, PAIRS, answered)
        if pair is None and answered.pictures and answered.pictures_sha256:
            raise pictures.missing(self._backend.name(pictures_key(PAIRS, answered)))
        return pair


def _read_pair(backend: Backend, folder: str, answered: Answered) -> Pair | None:
    """None when it is not there. Raises Corrupt."""
    key = pictures_key(folder, answered)
    data = backend.read(key) if answered.pictures else None
    return None if data is None else pictures.decode(data, backend.name(key), answered.pictures_sha256)


def _batch(folder: str, number: int) -> str:
    return f"{folder}/{number:010d}.json"
