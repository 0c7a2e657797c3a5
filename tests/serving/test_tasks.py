"""The order in which what waits for a version's workers is taken."""

from concurrent.futures import Future

import numpy as np

from serinus.serving.tasks import Task, Tasks


def task(asked: float, *, rescue: bool = False) -> Task:
    return Task(np.zeros((1, 8, 8, 6), np.uint8), asked + 10.0, True, rescue, Future())


def in_order(tasks: Tasks, given: list[Task]) -> bool:
    return all(tasks.take(0.0) is one for one in given) and tasks.take(0.0) is None


def test_who_came_first_is_taken_first() -> None:
    tasks, given = Tasks(), [task(1.0), task(1.0), task(2.0)]
    for one in given:
        tasks.put(one)
    assert in_order(tasks, given)


def test_what_another_version_failed_lets_those_pass_who_come_within_a_second() -> None:
    tasks = Tasks()
    rescue, soon, sooner, late = task(0.0, rescue=True), task(0.9), task(0.5), task(1.1)
    for one in (rescue, soon, sooner, late):
        tasks.put(one)
    assert (tasks.waiting, tasks.own) == (4, 3)
    assert in_order(tasks, [sooner, soon, rescue, late])
    assert (tasks.waiting, tasks.own) == (0, 0)
