"""Users who ask at fixed times, whether earlier requests are answered or not, and all that they were told."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from tests.api.raw import form, predict_head

GIVE_UP_SECONDS = 120.0


class Answer(NamedTuple):
    """What one user was told. Times are monotonic seconds."""

    asked: float
    told: float
    status: int
    version: int
    assigned: str
    fallback: bool
    words: str
    found: str = ""
    """The detections, as they came."""

    @property
    def seconds(self) -> float:
        return self.told - self.asked


def request(size: int) -> bytes:
    """A whole /predict with a pair of pictures of that size, on a connection of its own."""
    body = form(size)
    return predict_head(body, "Connection: close") + body


class Load:
    """Who asks, as cheaply as can be, and everything that was answered."""

    def __init__(self, url: str, *, size: int = 64) -> None:
        host, port = url.removeprefix("http://").split(":")
        self._address = (host, int(port))
        self._request = request(size)
        self.answers: list[Answer] = []
        self.lost: list[str] = []
        """Requests without an answer, and 503 that do not say when to come back."""

    async def ask(self) -> None:
        asked = time.monotonic()
        try:
            async with asyncio.timeout(GIVE_UP_SECONDS):
                reader, writer = await asyncio.open_connection(*self._address)
                writer.write(self._request)
                reply = await reader.read(-1)
                writer.close()
                head, _, body = reply.partition(b"\r\n\r\n")
                status, document = int(head.split()[1]), json.loads(body)
        except (OSError, TimeoutError, ValueError, IndexError) as error:
            self.lost.append(repr(error))
            return
        if status == 503 and b"\r\nretry-after: " not in head.lower():
            self.lost.append(f"a 503 without Retry-After: {document}")
        self.answers.append(
            Answer(
                asked=asked,
                told=time.monotonic(),
                status=status,
                version=document.get("model", {}).get("version", 0),
                assigned=document.get("assigned", ""),
                fallback=document.get("fallback", False),
                words="" if status == 200 else str(document),
                found=json.dumps(document.get("detections", [])),
            )
        )

    async def capacity(self, users: int, seconds: float) -> float:
        """Answers a second when so many users ask one after the other."""
        until = time.monotonic() + seconds
        before = len(self.answers)

        async def user() -> None:
            while time.monotonic() < until:
                await self.ask()

        await asyncio.gather(*(user() for _ in range(users)))
        assert not self.lost
        return (len(self.answers) - before) / seconds

    async def press(
        self, rate: float, go_on: Callable[[int], bool], *, chance: np.random.Generator | None = None
    ) -> None:
        """`rate` requests a second, at their times, as long as `go_on` of the next one's number says so.
        `chance`: at times as of many users who do not know of one another (a Poisson process); None: evenly.
        """
        due = time.monotonic()
        under_way: set[asyncio.Task[None]] = set()
        number = 0
        while go_on(number):
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            due += chance.exponential(1 / rate) if chance else 1 / rate
            task = asyncio.create_task(self.ask())
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            number += 1
        await asyncio.gather(*under_way)

    @property
    def failed(self) -> list[object]:
        """What no user should see."""
        return [*self.lost, *(answer for answer in self.answers if answer.status != 200)]


@contextmanager
def pressed(
    url: str, rate: float, *, size: int = 64, chance: np.random.Generator | None = None
) -> Iterator[Load]:
    """Users ask all the while; at the end everybody has an answer, or is lost. `chance`: as of `press`."""
    load = Load(url, size=size)
    stop = threading.Event()
    thread = threading.Thread(
        target=lambda: asyncio.run(load.press(rate, lambda _: not stop.is_set(), chance=chance))
    )
    thread.start()
    try:
        yield load
    finally:
        stop.set()
        thread.join()
