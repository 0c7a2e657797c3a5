"""Rules that others use, on the same streams: a plain threshold, Flagger-like and Argo-like analysis.

All have the same objective: an error rate of at most p0 and, where they look at latency, 90 % of the answers
within 0.25 s (1.26 times what current needs in the scenarios: an absolute limit that somebody set well). The
numbers of checks are of the size that their documentations' examples have, over the same window.

- **threshold**: every second, more than p0 failures among all canary requests so far (20 at least): roll
  back; at the end of the window promote. It does not look at latency.
- **Flagger-like**: a check every 18th of the window, over the canary requests since the last one. A failed
  check (also one without requests) is counted and does not advance: at 5 roll back, after 18 passed ones
  promote.
- **Argo-like**: an analysis with `count: 6`, an `interval` of a sixth of the window, `failureLimit: 1`: the
  second failed measurement rolls back, else the end of the window promotes.

None of them looks at current: what both versions suffer is blamed on the canary.
"""

from collections.abc import Callable, Mapping

import numpy as np

from serinus.evidence.counts import latency_bin
from serinus.simulation.engine import Code, Judged
from serinus.simulation.streams import Bools, Streams

SLOW_SECONDS = 0.25
SLOW_SHARE = 0.1
THRESHOLD_AT_LEAST = 20
FLAGGER_CHECKS, FLAGGER_THRESHOLD = 18, 5
ARGO_COUNT, ARGO_FAILURE_LIMIT = 6, 1
SECONDS_PER_WINDOW = 180


def threshold(streams: Streams, p0: float, window: int) -> Judged:
    """More than p0 failures so far, looked at every second."""
    return counting(streams, p0, window, THRESHOLD_AT_LEAST)


def counting(streams: Streams, p0: float, window: int, at_least: int) -> Judged:
    """The same with another number of requests that roll nothing back (`evidence.counting`)."""
    judged = _undecided(streams)
    going = np.ones(len(streams), np.bool_)
    for end in _ends(window, SECONDS_PER_WINDOW):
        part = streams.canary[:, :end]
        requests, failures = part.sum(axis=1), (part & streams.failed[:, :end]).sum(axis=1)
        bad = going & (requests >= at_least) & (failures > p0 * requests)
        _end(judged, streams, bad, end, Code.ROLLED_BACK)
        going &= ~bad
    _end(judged, streams, going, window, Code.PROMOTED)
    return judged


def flagger(streams: Streams, p0: float, window: int) -> Judged:
    """Interval checks; failed ones are counted and do not advance."""
    judged = _undecided(streams)
    going = np.ones(len(streams), np.bool_)
    failed, passed = (np.zeros(len(streams), np.int64) for _ in range(2))
    begin = 0
    for end in _ends(window, FLAGGER_CHECKS, most=FLAGGER_CHECKS + FLAGGER_THRESHOLD):
        if end > streams.requests:
            break
        fine = _fine(streams, p0, begin, end)
        failed += going & ~fine
        passed += going & fine
        bad, good = going & (failed >= FLAGGER_THRESHOLD), going & (passed >= FLAGGER_CHECKS)
        _end(judged, streams, bad, end, Code.ROLLED_BACK)
        _end(judged, streams, good, end, Code.PROMOTED)
        going &= ~bad & ~good
        begin = end
    return judged


def argo(streams: Streams, p0: float, window: int) -> Judged:
    """A number of measurements, of which few may fail."""
    judged = _undecided(streams)
    going = np.ones(len(streams), np.bool_)
    failed = np.zeros(len(streams), np.int64)
    begin = 0
    for end in _ends(window, ARGO_COUNT):
        failed += ~_fine(streams, p0, begin, end)
        bad = going & (failed > ARGO_FAILURE_LIMIT)
        _end(judged, streams, bad, end, Code.ROLLED_BACK)
        going &= ~bad
        begin = end
    _end(judged, streams, going, window, Code.PROMOTED)
    return judged


RIVALS: Mapping[str, Callable[[Streams, float, int], Judged]] = {
    "threshold": threshold,
    "Flagger-like": flagger,
    "Argo-like": argo,
}


def _undecided(streams: Streams) -> Judged:
    judged = Judged.undecided(streams)
    judged.canary[:] = streams.canary.sum(axis=1)
    return judged


def _ends(window: int, checks: int, most: int | None = None) -> list[int]:
    """After how many requests the checks are made; `most` checks, past the window too."""
    ends = [round(window * (n + 1) / checks) for n in range(most or checks)]
    return sorted({end for end in ends if end > 0})


def _fine(streams: Streams, p0: float, begin: int, end: int) -> Bools:
    canary, failed = streams.canary[:, begin:end], streams.failed[:, begin:end]
    answered = canary & ~failed
    slow = answered & (streams.bins[:, begin:end] > latency_bin(SLOW_SECONDS))
    requests, failures = canary.sum(axis=1), (canary & failed).sum(axis=1)
    fine: Bools = (
        (requests > 0)
        & (failures <= p0 * requests)
        & (slow.sum(axis=1) <= SLOW_SHARE * np.maximum(answered.sum(axis=1), 1))
    )
    return fine


def _end(judged: Judged, streams: Streams, which: Bools, end: int, code: Code) -> None:
    judged.code[which] = code
    judged.position[which] = end
    judged.canary[which] = streams.canary[which, :end].sum(axis=1)
