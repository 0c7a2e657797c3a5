"""Closed slices: whole, in order, counted once."""

import threading

from hypothesis import given
from hypothesis import strategies as st

from serinus.core.enums import Arm, FailureKind, Signal, Stratum
from serinus.evidence.counts import latency_bin, merge
from serinus.observe.counters import Closed, Counters, Ticket

USERS = Stratum.USERS
ANSWER = ("2-3", "destroyed", "")


class Time:
    """A monotonic clock that only the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def make(slice_seconds: float = 1.0, deadline: float = 10.0) -> tuple[Counters, Time]:
    time = Time()
    return Counters(slice_seconds, time, deadline_seconds=deadline), time


def test_a_probe_in_flight_is_no_request_of_users() -> None:
    counters, _ = make()
    counters.arrive(1, Arm.CANARY, Stratum.PROBES, 0.5)
    assert counters.in_flight(Arm.CANARY, 1) == 0
    counters.arrive(1, Arm.CANARY, USERS, 0.5)
    assert counters.in_flight(Arm.CANARY, 1) == 1


def test_a_request_belongs_to_the_slice_of_its_arrival() -> None:
    counters, time = make()
    ticket = counters.arrive(1, Arm.CANARY, USERS, 0.5)
    time.now += 2.5
    later = counters.arrive(1, Arm.CURRENT, USERS, 0.5)
    counters.fail(later, FailureKind.CRASH)
    time.now += 1
    assert counters.close() == [], "the first slice still waits, so the later one waits too"
    assert counters.in_flight(Arm.CANARY, 1) == 1
    counters.succeed(ticket, ANSWER)
    first, second = counters.close()
    assert first.rollout == second.rollout == 1
    assert [(c.arm, c.share, c.ok, c.failed) for c in first.slice] == [
        (Arm.CANARY, 0.5, {latency_bin(3.5): 1}, {})
    ]
    assert [(c.arm, c.failed) for c in second.slice] == [(Arm.CURRENT, {FailureKind.CRASH: 1})]
    assert counters.close() == []
    assert counters.in_flight(Arm.CANARY, 1) == 0


def test_what_a_request_was_queued_is_no_latency() -> None:
    counters, time = make()
    ticket = counters.arrive(1, Arm.CANARY, USERS, 0.5)
    time.now += 3.5
    counters.succeed(ticket, ANSWER, queued=2.0)
    ((_, slice_),) = counters.close()
    assert slice_[0].ok == {latency_bin(1.5): 1}


def test_past_its_deadline_a_request_has_failed_and_a_late_answer_is_ignored() -> None:
    counters, time = make(deadline=5.0)
    ticket = counters.arrive(1, Arm.CANARY, USERS, 0.5)
    time.now += 5.5
    ((_, slice_),) = counters.close()
    assert slice_[0].failed == {FailureKind.TIMEOUT: 1}
    counters.succeed(ticket, ANSWER)
    counters.fail(ticket, FailureKind.CRASH)
    time.now += 5
    assert counters.close() == []


def test_the_open_slice_stays_open() -> None:
    counters, time = make()
    counters.succeed(counters.arrive(1, Arm.CURRENT, USERS, 0.5), ANSWER)
    time.now += 0.9
    assert counters.close() == []
    time.now += 0.1
    assert len(counters.close()) == 1


def test_bad_input_leaves_no_trace() -> None:
    counters, time = make()
    ticket = counters.arrive(1, Arm.CANARY, USERS, 0.5)
    counters.discard(ticket)
    counters.discard(ticket)
    time.now += 2
    assert counters.close() == []


def test_rollouts_strata_and_shares_are_kept_apart() -> None:
    counters, time = make()
    for rollout, stratum, share in (
        (1, USERS, 0.5),
        (2, USERS, 0.5),
        (2, Stratum.PROBES, 0.5),
        (2, USERS, 0.1),
    ):
        counters.succeed(counters.arrive(rollout, Arm.CANARY, stratum, share), ANSWER)
    time.now += 2
    found = {closed.rollout: closed.slice for closed in counters.close()}
    assert len(found[1]) == 1
    assert {(c.stratum, c.share) for c in found[2]} == {(USERS, 0.5), (Stratum.PROBES, 0.5), (USERS, 0.1)}


def test_the_end_of_the_process_closes_everything() -> None:
    counters, _ = make()
    counters.arrive(1, Arm.CANARY, USERS, 0.5)
    ((_, slice_),) = counters.close(everything=True)
    assert slice_[0].failed == {FailureKind.TIMEOUT: 1}


@given(
    st.lists(st.tuples(st.floats(0, 3), st.floats(0, 8), st.sampled_from(["ok", "fail", "bad"])), max_size=40)
)
def test_every_request_is_counted_exactly_once(requests: list[tuple[float, float, str]]) -> None:
    counters, time = make(deadline=6.0)
    waiting: list[tuple[float, str, Ticket]] = []
    slices: list[Closed] = []
    discarded = 0
    for pause, duration, outcome in requests:
        time.now += pause
        waiting.append((time.now + duration, outcome, counters.arrive(1, Arm.CANARY, USERS, 0.5)))
        for due in [each for each in waiting if each[0] <= time.now]:
            waiting.remove(due)
            discarded += due[1] == "bad" and not due[2].settled
            settle(counters, due[1], due[2])
        slices += counters.close()
    time.now += 100
    slices += counters.close()
    for _, outcome, ticket in waiting:
        settle(counters, outcome, ticket)
    time.now += 100
    assert counters.close() == []
    whole = merge(closed.slice for closed in slices)
    assert sum(c.successes + c.failures for c in whole) == len(requests) - discarded
    assert sum(c.successes for c in whole) <= sum(outcome == "ok" for *_, outcome in requests)
    for c in whole:
        told = {Signal.DETECTIONS: {"2-3": c.successes}, Signal.DOMINANT_CLASS: {"destroyed": c.successes}}
        assert c.signals == (told if c.successes else {}), (
            "every success has a category, and nothing else has"
        )


def settle(counters: Counters, outcome: str, ticket: Ticket) -> None:
    if outcome == "ok":
        counters.succeed(ticket, ANSWER)
    elif outcome == "fail":
        counters.fail(ticket, FailureKind.EXCEPTION)
    else:
        counters.discard(ticket)


def test_threads_lose_nothing() -> None:
    counters, time = make(slice_seconds=0.001)
    closed = []

    def work() -> None:
        for _ in range(500):
            counters.succeed(counters.arrive(1, Arm.CANARY, USERS, 0.5), ANSWER)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        time.now += 0.001
        closed += counters.close()
    time.now += 1
    closed += counters.close()
    assert sum(c.successes for c in merge(one.slice for one in closed)) == 8 * 500
