"""Ground truth on its way into a copy: what is new goes, and newer truth for the same answer replaces older.

Nothing else is replaced. Pictures go before the document that names them. What is damaged in the source is
named and stays out; what is damaged in the copy is left to the check that follows; where two sound documents
contradict each other the copy's stays, and both are named.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from serinus.artifact.files import sha256_pieces
from serinus.core.errors import Corrupt, NotFound
from serinus.store import pictures
from serinus.store.backend import Backend
from serinus.store.predictions import (
    FEEDBACK,
    PAIRS,
    Answered,
    Feedback,
    decode_feedback,
    pictures_key,
)

_DOCUMENTS_AT_ONCE = 8
_PICTURES_AT_ONCE = 4
_AHEAD = 64


class FeedbackCopy:
    """One pass over the feedback of `source`. `sent` is told files and their bytes, from several threads."""

    def __init__(self, source: Backend, target: Backend, sent: Callable[[str, int], None]) -> None:
        self._source = source
        self._target = target
        self._sent = sent
        self._there: frozenset[str] = frozenset()
        """Names of the pictures that the copy had."""
        self.damaged: list[str] = []
        """What is damaged in the source, in words that name it."""
        self.conflicts: list[str] = []
        """What the copy holds otherwise, in words that name both."""

    def run(self) -> None:
        self._there = frozenset(self._target.names(PAIRS))
        rest = self._keys()
        with (
            ThreadPoolExecutor(_DOCUMENTS_AT_ONCE, thread_name_prefix="read") as readers,
            ThreadPoolExecutor(_PICTURES_AT_ONCE, thread_name_prefix="copy") as senders,
        ):
            while keys := list(islice(rest, _AHEAD)):
                here = list(readers.map(self._source.read, keys))
                there = list(readers.map(self._target.read, keys))
                truths = [self._decode(key, data) for key, data in zip(keys, here, strict=True)]
                kept = {
                    pictures_key(PAIRS, truth.answered): truth.answered
                    for truth in truths
                    if truth is not None and truth.answered.pictures
                }
                list(senders.map(self._pair, kept, kept.values()))
                for key, truth, data, old in zip(keys, truths, here, there, strict=True):
                    if truth is not None and data is not None and data != old:
                        self._document(key, truth, data, old)

    def _keys(self) -> Iterator[str]:
        for folder in sorted(self._source.names(FEEDBACK)):
            names = sorted(self._source.names(f"{FEEDBACK}/{folder}"))
            yield from (f"{FEEDBACK}/{folder}/{name}" for name in names if name.endswith(".json"))

    def _decode(self, key: str, data: bytes | None) -> Feedback | None:
        try:
            return None if data is None else decode_feedback(data, self._source.name(key), key)
        except Corrupt as error:
            self.damaged.append(error.message)
            return None

    def _document(self, key: str, truth: Feedback, data: bytes, old: bytes | None) -> None:
        if old is not None:
            try:
                known = decode_feedback(old, self._target.name(key), key)
            except Corrupt:
                return  # the check names it, and its repair keeps what was there
            if known.time > truth.time:
                self._contradict(key, "and is newer")
                return
        self._target.replace(key, data, durable=True)
        self._sent(key, len(data))

    def _pair(self, key: str, answered: Answered) -> None:
        """Sends pictures that are lacking."""
        if key.rpartition("/")[2] in self._there:
            if key.endswith(pictures.UNNAMED) and self._differ(key):
                self._contradict(key, "and neither carries a hash")
            return
        data = self._source.read(key)
        if data is None:
            if answered.pictures_sha256:
                self.damaged.append(pictures.missing(self._source.name(key)).message)
            return
        try:
            pictures.decode(data, self._source.name(key), answered.pictures_sha256)
        except Corrupt as error:
            self.damaged.append(error.message)
            return
        if self._target.put_if_absent(key, data):
            self._sent(key, len(data))
        else:
            self._contradict(key, "which came there meanwhile")

    def _differ(self, key: str) -> bool:
        try:
            hashes = {sha256_pieces(place.chunks(key)) for place in (self._source, self._target)}
        except NotFound:
            return False
        return len(hashes) > 1

    def _contradict(self, key: str, why: str) -> None:
        here, there = self._source.name(key), self._target.name(key)
        self.conflicts.append(
            f"{there} differs from {here}, {why}: it stays. If it is the wrong one, delete it and copy again."
        )
