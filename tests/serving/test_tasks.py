"""The order in which what waits for a version's workers is taken."""

from concurrent.futures import ThreadPoolExecutor
from time import monotonic

import numpy as np
import pytest

from serinus.serving.batching import Batching
from serinus.serving.tasks import Outcome, Task, Tasks


def task(asked: float, *, rescue: bool = False) -> Task:
    return Task(np.zeros((1, 8, 8, 6), np.uint8), asked, asked + 10.0, True, rescue, Outcome())


def in_order(tasks: Tasks, given: list[Task]) -> bool:
    return all(tasks.take(0.0) is one for one in given) and tasks.take(0.0) is None


def test_who_came_first_is_taken_first() -> None:
    tasks, given = Tasks(2), [task(1.0), task(1.0), task(2.0)]
    for one in given:
        tasks.put(one)
    assert in_order(tasks, given)


def test_what_another_version_failed_lets_those_pass_who_come_within_a_second() -> None:
    tasks = Tasks(2)
    rescue, soon, sooner, late = task(0.0, rescue=True), task(0.9), task(0.5), task(1.1)
    for one in (rescue, soon, sooner, late):
        tasks.put(one)
    assert (tasks.waiting, tasks.own) == (4, 3)
    assert in_order(tasks, [sooner, soon, rescue, late])
    assert (tasks.waiting, tasks.own) == (0, 0)


def test_what_another_version_failed_takes_at_most_half_of_the_workers_for_its_first_second() -> None:
    now = monotonic()
    tasks = Tasks(4)
    given = [task(now + 1000.0, rescue=True) for _ in range(3)]
    for one in given:
        tasks.put(one)
    assert in_order(tasks, given[:2])
    tasks.done(given[0])
    assert in_order(tasks, given[2:])


def test_what_has_yielded_for_a_second_may_take_all_workers() -> None:
    tasks, given = Tasks(2), [task(monotonic() - 2.0, rescue=True) for _ in range(3)]
    for one in given:
        tasks.put(one)
    assert in_order(tasks, given)


def test_the_only_worker_takes_what_another_version_failed() -> None:
    tasks, given = Tasks(1), task(monotonic() + 1000.0, rescue=True)
    tasks.put(given)
    assert in_order(tasks, [given])


def test_who_waits_for_a_task_hears_of_a_worker_that_is_free() -> None:
    tasks, given = Tasks(2), [task(monotonic() + 1000.0, rescue=True) for _ in range(2)]
    for one in given:
        tasks.put(one)
    first = tasks.take(0.0)
    assert first is given[0]
    with ThreadPoolExecutor(1) as other:
        waits = other.submit(tasks.take, 60.0)
        tasks.done(first)
        assert waits.result(60.0) is given[1]


def test_how_long_one_will_wait_is_told_by_how_fast_others_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("serinus.serving.tasks.monotonic", lambda: now)
    tasks = Tasks(1)
    for _ in range(50):
        tasks.put(task(0.0))
    assert tasks.expected_seconds == 0.0, "nobody knows yet"
    for _ in range(40):
        tasks.take(0.0)
        now += 0.5
    assert tasks.expected_seconds == pytest.approx(10 * 0.5, rel=0.01)
    now += 2.5
    assert tasks.expected_seconds == pytest.approx(10 * 0.5 + 2.5, rel=0.01), "nobody was taken for so long"
    tasks.sift(lambda _: False, "nobody stays")
    now += 1000.0
    tasks.put(task(now))
    tasks.take(0.0)
    tasks.put(task(now))
    assert tasks.expected_seconds == pytest.approx(0.5, rel=0.01), "where nobody waits nobody is late"


def test_who_does_not_suit_has_not_begun_with_those_who_do() -> None:
    tasks, given = Tasks(1), [task(1.0), task(2.0), task(3.0)]
    given[2] = given[2]._replace(image=np.zeros((1, 16, 8, 6), np.uint8))
    for one in given:
        tasks.put(one)
    first = tasks.take(0.0)
    assert first is not None
    batch, left = tasks.gather(first, Batching(size=8))
    assert (batch, left) == (given[:2], given[2])
    for one in batch:
        one.begin()
    assert [one.answer.began is None for one in given] == [False, False, True]
