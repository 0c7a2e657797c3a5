"""Streams of requests of many rollouts at once, drawn from a scenario.

Row r of every array is one rollout, column t its t-th request in the order of arrival. Random numbers come
from the generator that is passed in: the same generator, the same streams.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from serinus.evidence.counts import BINS_PER_MARGIN, FASTEST_SECONDS, LAST_BIN

Bools: TypeAlias = NDArray[np.bool_]
Ints: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]

MEDIAN_SECONDS = 0.1
TAIL_EXPONENT = 1.5


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """What is true of the two versions."""

    name: str
    words: str
    canary: float = 0.001
    """Error rate."""
    current: float = 0.001
    after: int | None = None
    """How many requests come before the error rates become `canary_then` and `current_then`: canary requests
    when only the canary changes, else requests of both."""
    canary_then: float = 0.0
    current_then: float | None = None
    """None: current does not change."""
    slower: float = 1.0
    """The canary's latencies are so many times current's."""
    sigma: float = 0.5
    """Latencies are log-normal around 0.1 s; this is the deviation of their logarithm."""
    tail: float = 0.05
    """Part of the requests that take a multiple, Pareto-distributed with exponent 1.5, of that."""
    share: float | None = None
    """Share of the canary; None: the policy's."""

    def share_of(self, policy_share: float) -> float:
        return policy_share if self.share is None else self.share


@dataclass(frozen=True)
class Streams:
    """Requests: [rollouts, requests] each."""

    canary: Bools
    """Assigned to the canary."""
    failed: Bools
    bins: NDArray[np.uint8]
    """Latency bin."""
    share: float
    """Canary probability in force."""

    def __len__(self) -> int:
        return len(self.canary)

    @property
    def requests(self) -> int:
        return int(self.canary.shape[1])

    def only(self, keep: Bools) -> "Streams":
        """Some of the rollouts."""
        return Streams(self.canary[keep], self.failed[keep], self.bins[keep], self.share)


def draw(scenario: Scenario, rollouts: int, requests: int, share: float, rng: np.random.Generator) -> Streams:
    """`share`: the policy's; a scenario may have its own."""
    share = scenario.share_of(share)
    shape = (rollouts, requests)
    canary = rng.random(shape) < share
    rates = np.where(canary, scenario.canary, scenario.current)
    if scenario.after is not None:
        if scenario.current_then is None:
            changed = canary & (np.cumsum(canary, axis=1) > scenario.after)
            rates[changed] = scenario.canary_then
        else:
            late = np.where(canary, scenario.canary_then, scenario.current_then)
            rates[:, scenario.after :] = late[:, scenario.after :]
    failed = rng.random(shape) < rates
    seconds = MEDIAN_SECONDS * np.exp(scenario.sigma * rng.standard_normal(shape))
    if scenario.tail:
        late = rng.random(shape) < scenario.tail
        seconds[late] *= np.exp(rng.standard_exponential(int(late.sum())) / TAIL_EXPONENT)
    seconds[canary] *= scenario.slower
    return Streams(canary, failed, latency_bins(seconds), share)


def latency_bins(seconds: Floats) -> NDArray[np.uint8]:
    """`evidence.counts.latency_bin` of every latency."""
    exact = BINS_PER_MARGIN * np.log(np.maximum(seconds, FASTEST_SECONDS) / FASTEST_SECONDS) / np.log(1.2)
    bins: NDArray[np.uint8] = np.minimum(np.floor(exact), LAST_BIN).astype(np.uint8)
    return bins
