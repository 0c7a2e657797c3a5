"""Twice the load that the service can carry, for a long while: `make test-long`.

SERINUS_PRESSURE_SECONDS shortens or lengthens it (600). Requests come at fixed times, whether earlier ones
are answered or not. Each must get an answer: 200, or 503 that says when to come back.
"""

import asyncio
import json
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest

from tests import models
from tests.api.live import Server, server
from tests.api.raw import predict

pytestmark = [pytest.mark.processes, pytest.mark.long]

SECONDS = float(os.environ.get("SERINUS_PRESSURE_SECONDS", "600"))
MEASURE_SECONDS = 10.0
TIMEOUT_SECONDS = 10.0
QUEUE = 16
GIVE_UP_SECONDS = 120.0
ROUNDS = 20_000
"""A model of about 0.2 s, so that the service is the bottleneck and not who asks it."""
GROWTH = 1.15
"""Largest memory after the first minute (or tenth), against the largest within it."""


class Answer(NamedTuple):
    status: int
    assigned: str
    seconds: float


class Load:
    """Who asks, as cheaply as can be, and everything that was answered."""

    def __init__(self, made: Server) -> None:
        self.made = made
        host, port = made.url.removeprefix("http://").split(":")
        self.address = (host, int(port))
        self.request = predict("Connection: close")
        self.answers: list[Answer] = []
        self.lost: list[str] = []
        self.memory: list[tuple[float, int]] = []

    async def ask(self) -> None:
        began = time.monotonic()
        try:
            async with asyncio.timeout(GIVE_UP_SECONDS):
                reader, writer = await asyncio.open_connection(*self.address)
                writer.write(self.request)
                reply = await reader.read(-1)
                writer.close()
                head, _, body = reply.partition(b"\r\n\r\n")
                status, document = int(head.split()[1]), json.loads(body)
        except (OSError, TimeoutError, ValueError, IndexError) as error:
            self.lost.append(repr(error))
            return
        if status == 503 and b"\r\nretry-after: " not in head.lower():
            self.lost.append(f"a 503 without Retry-After: {document}")
        self.answers.append(Answer(status, document.get("assigned", ""), time.monotonic() - began))

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

    async def press(self, rate: float, seconds: float) -> None:
        """`rate` requests a second, at their times."""
        began = time.monotonic()
        under_way: set[asyncio.Task[None]] = set()
        for number in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
            task = asyncio.create_task(self.ask())
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            if not self.memory or time.monotonic() - began - self.memory[-1][0] >= 1.0:
                self.memory.append((time.monotonic() - began, memory(self.made)))
        await asyncio.gather(*under_way)


def memory(made: Server) -> int:
    """Proportional set size of the service and its workers, bytes."""
    return sum(each.memory_full_info().pss for each in [made.psutil, *made.psutil.children(recursive=True)])


@pytest.mark.timeout(SECONDS + 600)
def test_twice_the_capacity_is_answered_without_growth(tmp_path: Path) -> None:
    with server(tmp_path, predict_seconds=TIMEOUT_SECONDS, queue_size=QUEUE, max_requests=4 * QUEUE) as made:
        made.start_canary(models.healthy(tmp_path / "second", 2))
        load = asyncio.run(pressed(made))
        statuses = Counter(answer.status for answer in load.answers)
        admitted = sorted(answer.seconds for answer in load.answers if answer.status == 200)
        arms = Counter(answer.assigned for answer in load.answers if answer.status == 200)
        early = max(SECONDS / 10, 1.0)
        begin = max(size for at, size in load.memory if at <= early)
        later = max(size for at, size in load.memory if at > early)
        sys.stdout.write(
            f"\n{len(load.answers)} answers {dict(statuses)}, arms {dict(arms)}, admitted: median "
            f"{admitted[len(admitted) // 2]:.2f} s, p99 {admitted[len(admitted) * 99 // 100]:.2f} s, longest "
            f"{admitted[-1]:.2f} s; memory {begin / 1e6:.0f} MB in the first {early:g} s, then at most "
            f"{later / 1e6:.0f} MB\n"
        )
        assert made.process.poll() is None
        assert load.lost == []
        assert set(statuses) == {200, 503}
        assert later <= GROWTH * begin
        assert admitted[-1] <= 4 * TIMEOUT_SECONDS  # the requirement itself: a bound
        assert 0.5 < arms["canary"] / arms["current"] < 2
        errors = [line for line in made.log() if line["level"] == "error"]
        assert errors == []


async def pressed(made: Server) -> Load:
    load = Load(made)
    rate = await load.capacity(8, MEASURE_SECONDS)
    load.answers.clear()
    sys.stdout.write(f"\ncapacity {rate:.1f}/s; pressing with {2 * rate:.1f}/s for {SECONDS:g} s\n")
    await load.press(2 * rate, SECONDS)
    return load
