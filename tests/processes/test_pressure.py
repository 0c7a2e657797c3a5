"""Twice the load that the service can carry, for a while in `make test` and for long in `make test-long`.

SERINUS_PRESSURE_SECONDS shortens or lengthens the long one (600). Requests come at fixed times, whether
earlier ones are answered or not. Each must get an answer: 200, or 503 that says when to come back.
"""

import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import models
from tests.api.live import Server, server
from tests.processes.load import Load
from tests.serving.house import publish, start_canary, wait_for

pytestmark = pytest.mark.processes

SECONDS = float(os.environ.get("SERINUS_PRESSURE_SECONDS", "600"))
MEASURE_SECONDS = 5.0
SHORT_SECONDS = 8.0
TIMEOUT_SECONDS = 10.0
ROUNDS = 5000
"""A model of about 50 ms, so that the service is the bottleneck and not who asks it."""
GROWTH = 1.15
"""Largest memory after the first tenth, against the largest within it."""


@contextmanager
def slow_server(root: Path, queue_size: int) -> Iterator[Server]:
    """A current and a canary that both take their time."""
    with server(
        root,
        predict_seconds=TIMEOUT_SECONDS,
        first=models.slow(root / "first", 1, rounds=ROUNDS),
        queue_size=queue_size,
    ) as made:
        version = publish(made.store, models.slow(root / "second", 2, rounds=ROUNDS))
        start_canary(made.store, version)
        wait_for(lambda: made.canary() == version, "the canary")
        yield made


def memory(made: Server) -> int:
    """Proportional set size of the service and its workers, bytes."""
    return sum(each.memory_full_info().pss for each in [made.psutil, *made.psutil.children(recursive=True)])


async def doubled(made: Server, seconds: float) -> tuple[Load, list[tuple[float, int]]]:
    """What was answered under twice the capacity, and what memory was used at which second."""
    load = Load(made.url)
    rate = 2 * await load.capacity(8, MEASURE_SECONDS)
    load.answers.clear()
    sys.stdout.write(f"\ncapacity {rate / 2:.1f}/s; pressing with {rate:.1f}/s for {seconds:g} s\n")
    used: list[tuple[float, int]] = []
    began = time.monotonic()

    def go_on(number: int) -> bool:
        since = time.monotonic() - began
        if not used or since - used[-1][0] >= 1.0:
            used.append((since, memory(made)))
        return number < rate * seconds

    await load.press(rate, go_on)
    return load, used


def test_twice_the_capacity_is_answered_or_told_to_come_back(tmp_path: Path) -> None:
    with slow_server(tmp_path, 8) as made:
        load, _ = asyncio.run(doubled(made, SHORT_SECONDS))
        assert made.process.poll() is None
        assert load.lost == []
        assert {answer.status for answer in load.answers} == {200, 503}
        assert {answer.assigned for answer in load.answers if answer.status == 200} == {"current", "canary"}


@pytest.mark.long
@pytest.mark.timeout(SECONDS + 600)
def test_twice_the_capacity_is_answered_without_growth(tmp_path: Path) -> None:
    with slow_server(tmp_path, 64) as made:
        load, used = asyncio.run(doubled(made, SECONDS))
        statuses = Counter(answer.status for answer in load.answers)
        admitted = sorted(answer.seconds for answer in load.answers if answer.status == 200)
        arms = Counter(answer.assigned for answer in load.answers if answer.status == 200)
        early = max(SECONDS / 10, 10.0)
        begin = max(size for at, size in used if at <= early)
        later = max(size for at, size in used if at > early)
        sys.stdout.write(
            f"\n{len(load.answers)} answers {dict(statuses)}, arms {dict(arms)}, admitted: median "
            f"{admitted[len(admitted) // 2]:.2f} s, p99 {admitted[len(admitted) * 99 // 100]:.2f} s, longest "
            f"{admitted[-1]:.2f} s; memory {begin / 1e6:.0f} MB in the first {early:g} s, then at most "
            f"{later / 1e6:.0f} MB\n"
        )
        for line in made.log():
            if "on its own" in line["message"] or line["level"] == "error":
                sys.stdout.write(f"{line}\n")
        assert made.process.poll() is None
        assert load.lost == []
        assert set(statuses) == {200, 503}
        assert later <= GROWTH * begin
        assert admitted[-1] <= 4 * TIMEOUT_SECONDS  # the requirement itself: a bound
        assert 0.5 < arms["canary"] / arms["current"] < 2
        assert [line for line in made.log() if line["level"] == "error"] == []
