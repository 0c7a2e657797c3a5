"""What the evidence costs: counting a request on the hot path, and judging a slice, whatever it holds.

`make bench-evidence`. Each figure stands beside a baseline from the same run: counting beside the least that
a thread-safe counter can do (an increment under a lock), a slice of 1e9 requests beside a slice of two. Shown
is the median of several rounds; the goal for counting is 5 us a request.
"""

import statistics
import sys
import threading
import time
from collections.abc import Callable

import numpy as np

from serinus.core.enums import Arm, FailureKind, Signal, Stratum
from serinus.evidence.analysis import Analysis, Params, begin, judge, observe
from serinus.evidence.counts import Answer, Cell, Slice, latency_bin
from serinus.observe.counters import Counters
from serinus.serving.answers import answer_of

ANSWER = np.random.default_rng(1).random((20, 6), np.float32) * 4
CLASSES = ("no-damage", "minor-damage", "major-damage", "destroyed")
REQUESTS = 20_000
ROUNDS = 9


def microseconds(work: Callable[[int], None], times: int) -> float:
    """Of processor time, for one of `times`; median over the rounds."""
    rounds = []
    for _ in range(ROUNDS):
        begun = time.thread_time()
        work(times)
        rounds.append((time.thread_time() - begun) / times * 1e6)
    return statistics.median(rounds)


def locked_increments(times: int) -> None:
    lock, count = threading.Lock(), 0
    for _ in range(times):
        with lock:
            count += 1


def requests_without_signals(times: int) -> None:
    _count(times, lambda: ("", "", ""))


def counted_requests(times: int) -> None:
    _count(times, lambda: answer_of(ANSWER, CLASSES, golden=False))


def _count(times: int, answered: Callable[[], Answer]) -> None:
    counters = Counters(1.0, time.monotonic, deadline_seconds=10.0)
    for n in range(times):
        ticket = counters.arrive(1, Arm.CANARY if n % 2 else Arm.CURRENT, Stratum.USERS, 0.5)
        if n % 50:
            counters.succeed(ticket, answered())
        else:
            counters.fail(ticket, FailureKind.EXCEPTION)


def slice_of(requests: int) -> Slice:
    each = requests // 2 // 40
    bins = {latency_bin(0.02) + n: each for n in range(40)} if each else {latency_bin(0.1): requests // 2}
    answers = {"2-3": requests // 4, "4-7": requests // 2 - requests // 4}
    signals = dict.fromkeys((Signal.DETECTIONS, Signal.DOMINANT_CLASS), answers)
    return tuple(Cell(arm=arm, stratum=Stratum.USERS, share=0.5, ok=bins, signals=signals) for arm in Arm)


def judged(slice_: Slice) -> Callable[[int], None]:
    params = Params()
    before: Analysis = observe(begin(params), slice_of(10_000), params)

    def work(times: int) -> None:
        for _ in range(times):
            judge(observe(before, slice_, params), params)

    return work


def main() -> None:
    rows = [
        ("an increment under a lock", "baseline", microseconds(locked_increments, REQUESTS)),
        ("a request counted without signals", "baseline", microseconds(requests_without_signals, REQUESTS)),
        ("a request counted", "goal: 5", microseconds(counted_requests, REQUESTS)),
        ("a slice of 2 requests judged", "baseline", microseconds(judged(slice_of(2)), 200)),
        ("a slice of 1,000 requests judged", "", microseconds(judged(slice_of(1_000)), 200)),
        ("a slice of 1e9 requests judged", "", microseconds(judged(slice_of(10**9)), 200)),
    ]
    for words, note, value in rows:
        sys.stdout.write(f"{words:34} {value:10.2f} us   {note}\n")


if __name__ == "__main__":
    main()
