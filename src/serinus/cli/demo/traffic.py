"""The users of the demo: threads that send pairs to /predict, and count what they get."""

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count

import httpx

Pair = tuple[bytes, bytes]
"""PNG bytes before and after."""


@dataclass
class Tally:
    """What the users saw, under a lock of its own."""

    answered: Counter[int] = field(default_factory=Counter)
    """Version -> answers."""
    fallbacks: Counter[int] = field(default_factory=Counter)
    """Version that answered instead of the canary -> answers."""
    failed: list[str] = field(default_factory=list)
    """One line for each request without a good answer."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def good(self, version: int, fallback: bool) -> None:
        with self.lock:
            self.answered[version] += 1
            if fallback:
                self.fallbacks[version] += 1

    def bad(self, what: str) -> None:
        with self.lock:
            self.failed.append(what)

    @property
    def total(self) -> int:
        with self.lock:
            return sum(self.answered.values()) + len(self.failed)


class Traffic:
    """`users` threads that together send `rate` requests a second until `stop`."""

    def __init__(self, url: str, pairs: Sequence[Pair], *, users: int = 3, rate: float = 8.0) -> None:
        self.tally = Tally()
        self.pairs = pairs
        """What they look at; replace it and the world has changed."""
        self._url = url
        self._pause = users / rate
        self._stop = threading.Event()
        self._next = count()
        self._threads = [threading.Thread(target=self._user, daemon=True) for _ in range(users)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop and wait until every request has its answer."""
        self._stop.set()
        for thread in self._threads:
            if thread.ident is not None:  # was started
                thread.join()

    def _user(self) -> None:
        with httpx.Client(timeout=60.0, trust_env=False) as client:
            while not self._stop.is_set():
                pairs = self.pairs
                before, after = pairs[next(self._next) % len(pairs)]
                self._send(client, before, after)
                self._stop.wait(self._pause)

    def _send(self, client: httpx.Client, before: bytes, after: bytes) -> None:
        try:
            reply = client.post(
                f"{self._url}/predict",
                params={"overlay": "none"},
                files={"pre_disaster": ("pre.png", before), "post_disaster": ("post.png", after)},
            )
        except httpx.HTTPError as error:
            self.tally.bad(f"{type(error).__name__}: {error}")
            return
        if reply.status_code != httpx.codes.OK:
            self.tally.bad(f"{reply.status_code}: {reply.text[:200]}")
            return
        body = reply.json()
        self.tally.good(body["model"]["version"], body["fallback"])
