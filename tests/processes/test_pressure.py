"""Twice the load that the service can carry, for a long while: `make test-long`.

SERINUS_PRESSURE_SECONDS shortens or lengthens it (600). Requests come at fixed times, whether earlier ones
are answered or not. Each must get an answer: 200, or 503 that says when to come back.
"""

import asyncio
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from tests import models
from tests.api.live import Server, server
from tests.serving.house import pair

pytestmark = [pytest.mark.processes, pytest.mark.long]

SECONDS = float(os.environ.get("SERINUS_PRESSURE_SECONDS", "600"))
MEASURE_SECONDS = 10.0
TIMEOUT_SECONDS = 10.0
QUEUE = 16
ROUNDS = 10_000
"""A model of about 0.1 s, so that the service is the bottleneck and not who asks it."""
GROWTH = 1.15
"""Largest memory after the first minute (or tenth), against the largest within it."""


class Answer(NamedTuple):
    status: int
    assigned: str
    seconds: float


class Load:
    """A client, and everything that it was answered."""

    def __init__(self, made: Server, client: httpx.AsyncClient) -> None:
        self.made = made
        self.client = client
        names = ("pre_disaster", "post_disaster")
        self.files = {name: ("x.png", data) for name, data in zip(names, pair(64), strict=True)}
        self.answers: list[Answer] = []
        self.lost: list[str] = []
        self.memory: list[tuple[float, int]] = []

    async def ask(self) -> None:
        began = time.monotonic()
        try:
            reply = await self.client.post("/predict?overlay=none", files=self.files)
        except httpx.HTTPError as error:
            self.lost.append(repr(error))
            return
        assigned = reply.json()["assigned"] if reply.status_code == 200 else ""
        if reply.status_code == 503:
            assert int(reply.headers["retry-after"]) >= 1
        self.answers.append(Answer(reply.status_code, assigned, time.monotonic() - began))

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
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=32)
    async with httpx.AsyncClient(base_url=made.url, trust_env=False, timeout=120, limits=limits) as client:
        load = Load(made, client)
        rate = await load.capacity(8, MEASURE_SECONDS)
        load.answers.clear()
        sys.stdout.write(f"\ncapacity {rate:.0f}/s; pressing with {2 * rate:.0f}/s for {SECONDS:g} s\n")
        await load.press(2 * rate, SECONDS)
        return load
