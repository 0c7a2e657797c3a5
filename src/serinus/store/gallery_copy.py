"""The gallery on its way into a copy: each disagreement with its pictures, and what people said of it.

A picture goes only when it is what its document names, and before that document. What is damaged in the
source is named and stays out: a document without its pictures, a picture without keeping the others back.
A newer mark replaces an older one. Everything else that lies in the copy stays.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from serinus.artifact.files import sha256_bytes
from serinus.core.errors import Corrupt
from serinus.store.backend import Backend
from serinus.store.gallery import (
    ENDING,
    GALLERY,
    MARK_ENDING,
    Disagreement,
    decode_disagreement,
    decode_mark,
)

_AT_ONCE = 4


class GalleryCopy:
    """One pass over the gallery of `source`. `sent` is told files and their bytes, from several threads."""

    def __init__(self, source: Backend, target: Backend, sent: Callable[[str, int], None]) -> None:
        self._source = source
        self._target = target
        self._sent = sent
        self.damaged: list[str] = []
        """What is damaged in the source, in words that name it."""
        self.conflicts: list[str] = []
        """What the copy holds otherwise, in words that name both."""

    def run(self) -> None:
        here = sorted(f"{GALLERY}/{name}" for name in self._source.files(GALLERY))
        there = {f"{GALLERY}/{name}" for name in self._target.files(GALLERY)}
        lacking = {key.rpartition(".")[0] for key in here if key not in there}
        stems = [key.removesuffix(ENDING) for key in here if key.endswith(ENDING)]
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="copy") as pool:
            list(pool.map(lambda stem: self._item(stem, there), filter(lacking.__contains__, stems)))
            list(pool.map(self._mark, (key for key in here if key.endswith(MARK_ENDING))))

    def _item(self, stem: str, there: set[str]) -> None:
        """Sends what the copy lacks of one disagreement."""
        key = stem + ENDING
        data = self._source.read(key)
        if data is None:
            return  # milder than others, it went meanwhile
        try:
            item = decode_disagreement(data, self._source.name(key))
        except Corrupt as error:
            self.damaged.append(error.message)
            return
        self._pictures(stem, item, there)
        if key not in there:
            self._send(key, data)

    def _pictures(self, stem: str, item: Disagreement, there: set[str]) -> None:
        for kind, expected in sorted(item.files.items()):
            key = f"{stem}.{kind}"
            if key in there:
                continue
            data = self._source.read(key)
            if data is not None and sha256_bytes(data) == expected:
                self._send(key, data)
            elif self._source.exists(stem + ENDING):  # else both went meanwhile
                why = "missing" if data is None else "not what was kept: its hash does not match"
                self.damaged.append(f"{self._source.name(key)} is {why}.")

    def _mark(self, key: str) -> None:
        """Sends what was said of a disagreement that the copy has, unless something later is there."""
        data, old = self._source.read(key), self._target.read(key)
        if data is None or data == old or not self._target.exists(key.removesuffix(MARK_ENDING) + ENDING):
            return
        try:
            said = decode_mark(data, self._source.name(key))
        except Corrupt as error:
            self.damaged.append(error.message)
            return
        if old is not None:
            try:
                known = decode_mark(old, self._target.name(key))
            except Corrupt:
                return  # the check names it, and its repair keeps what was there
            if known.time >= said.time:
                self.conflicts.append(
                    f"{self._target.name(key)} differs from {self._source.name(key)}, and is not older: "
                    "it stays. If it is the wrong one, delete it and copy again."
                )
                return
        self._send(key, data)

    def _send(self, key: str, data: bytes) -> None:
        self._target.replace(key, data, durable=True)
        self._sent(key, len(data))
