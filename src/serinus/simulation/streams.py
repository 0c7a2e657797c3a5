"""Streams of requests of many rollouts at once, drawn from a scenario.

Row r of every array is one rollout, column t its t-th request in the order of arrival. Random numbers come
from the generator that is passed in: the same generator, the same streams.
"""

from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias

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


class Source(Protocol):
    """Requests of many rollouts, one after the other."""

    @property
    def shares(self) -> tuple[float, ...]:
        """Of each step of the rollout."""

    @property
    def requests(self) -> int:
        """Of each rollout, both arms."""

    def __len__(self) -> int:
        """Rollouts."""

    def at(self, t: int, step: Ints, seen: Ints) -> tuple[Bools, Bools, Ints]:
        """The t-th request of each: whether it is the canary's, whether it failed, its latency bin.

        `step`: where each rollout is; `seen`: how many requests its canary has had.
        """

    def span(self) -> tuple[int, int]:
        """Lowest and highest latency bin."""

    def floored(self, floor: int) -> "Source":
        """The same with no latency bin below `floor`."""

    def only(self, keep: Bools) -> "Source":
        """Some of the rollouts."""


@dataclass(frozen=True)
class Streams:
    """Requests under one share: [rollouts, requests] each."""

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
    def shares(self) -> tuple[float, ...]:
        return (self.share,)

    @property
    def requests(self) -> int:
        return int(self.canary.shape[1])

    def at(self, t: int, step: Ints, seen: Ints) -> tuple[Bools, Bools, Ints]:
        return self.canary[:, t], self.failed[:, t], self.bins[:, t].astype(np.int64)

    def span(self) -> tuple[int, int]:
        return int(self.bins.min(initial=255)), int(self.bins.max(initial=0))

    def floored(self, floor: int) -> "Streams":
        return replace(self, bins=np.maximum(self.bins, np.uint8(floor)))

    def only(self, keep: Bools) -> "Streams":
        return Streams(self.canary[keep], self.failed[keep], self.bins[keep], self.share)


@dataclass(frozen=True)
class Lots:
    """Requests under shares that rise in steps: which arm one belongs to is known once its step is."""

    scenario: Scenario
    shares: tuple[float, ...]
    coins: Floats
    """[rollouts, requests]: the canary's where it lies below the share in force."""
    luck: Floats
    """[rollouts, requests]: it fails where this lies below the arm's error rate."""
    bins: NDArray[np.uint8]
    """[2, rollouts, requests]: latency bins as current's and as the canary's request."""

    def __len__(self) -> int:
        return len(self.coins)

    @property
    def requests(self) -> int:
        return int(self.coins.shape[1])

    def at(self, t: int, step: Ints, seen: Ints) -> tuple[Bools, Bools, Ints]:
        canary = self.coins[:, t] < np.array(self.shares)[step]
        failed = self.luck[:, t] < self._rates(t, canary, seen)
        return canary, failed, np.where(canary, self.bins[1, :, t], self.bins[0, :, t]).astype(np.int64)

    def _rates(self, t: int, canary: Bools, seen: Ints) -> Floats:
        of, after = self.scenario, self.scenario.after
        rates = np.where(canary, of.canary, of.current)
        if after is None:
            return rates
        if of.current_then is None:
            return np.where(canary & (seen >= after), of.canary_then, rates)
        return np.where(canary, of.canary_then, of.current_then) if t >= after else rates

    def span(self) -> tuple[int, int]:
        return int(self.bins.min(initial=255)), int(self.bins.max(initial=0))

    def floored(self, floor: int) -> "Lots":
        return replace(self, bins=np.maximum(self.bins, np.uint8(floor)))

    def only(self, keep: Bools) -> "Lots":
        return replace(self, coins=self.coins[keep], luck=self.luck[keep], bins=self.bins[:, keep])


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
    seconds = _latencies(scenario, shape, rng)
    seconds[canary] *= scenario.slower
    return Streams(canary, failed, latency_bins(seconds), share)


def draw_lots(
    scenario: Scenario, rollouts: int, requests: int, shares: tuple[float, ...], rng: np.random.Generator
) -> Lots:
    """`shares`: the policy's steps; a scenario that has a share of its own has that one alone."""
    shape = (rollouts, requests)
    coins, luck = rng.random(shape), rng.random(shape)
    seconds = _latencies(scenario, shape, rng)
    bins = np.stack([latency_bins(seconds), latency_bins(seconds * scenario.slower)])
    return Lots(scenario, shares if scenario.share is None else (scenario.share,), coins, luck, bins)


def _latencies(scenario: Scenario, shape: tuple[int, int], rng: np.random.Generator) -> Floats:
    """Of current, seconds."""
    seconds: Floats = MEDIAN_SECONDS * np.exp(scenario.sigma * rng.standard_normal(shape))
    if scenario.tail:
        late = rng.random(shape) < scenario.tail
        seconds[late] *= np.exp(rng.standard_exponential(int(late.sum())) / TAIL_EXPONENT)
    return seconds


def latency_bins(seconds: Floats) -> NDArray[np.uint8]:
    """`evidence.counts.latency_bin` of every latency."""
    exact = BINS_PER_MARGIN * np.log(np.maximum(seconds, FASTEST_SECONDS) / FASTEST_SECONDS) / np.log(1.2)
    bins: NDArray[np.uint8] = np.minimum(np.floor(exact), LAST_BIN).astype(np.uint8)
    return bins
