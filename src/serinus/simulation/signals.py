"""The families of model signals for many rollouts at once, request by request, on drawn answers.

How often are rollouts held whose versions answer alike, or rolled back for answers that are allowed; and how
many requests does a real change take. Users only: of the families' tests those of probes stay at 1, as they
do where nobody probes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import msgspec
import numpy as np
from numpy.typing import NDArray

from serinus.core.enums import Arm
from serinus.evidence import errors, signals
from serinus.evidence.answers import SHIFTING, Tolerated
from serinus.evidence.signals import LIMIT, MARGIN, ONE_BET, PRIOR
from serinus.simulation.streams import Bools, Floats, Ints
from serinus.simulation.wealths import Wealths

MIXES: tuple[tuple[float, ...], ...] = ((0.2, 0.3, 0.25, 0.15, 0.08, 0.02), (0.2, 0.4, 0.25, 0.1, 0.05))
"""Of each signal the frequencies of its categories."""
_OF_PROBES = len(SHIFTING)
"""Tests of the family of shifts that stay at 1."""
_OTHER_ACCUSATIONS = 2
ALPHA = 1.0 / LIMIT


class End(StrEnum):
    """What a family does at its limit."""

    SHIFT = "held: other answers"
    DRIFT = "held: drift"
    BLAME = "rolled back: invalid answers"


@dataclass(frozen=True, kw_only=True)
class SignalCell:
    """What is true of the answers."""

    name: str
    words: str
    end: End
    odds: float = 1.0
    """The odds of the first category in the canary's answers, as a multiple of those in current's."""
    now: float = 1.0
    """The same in both versions' answers, as a multiple of those of the past."""
    past: int = 5000
    """Requests of the past."""
    canary: float = 0.0
    """Rate of the canary's requests without a valid answer."""
    current: float = 0.0
    share: float = 0.5
    windows: int = 1
    at_most: float | None = ALPHA
    """Goal: the largest rate of this end; None where it is the right one."""


CELLS = (
    SignalCell(name="alike", words="both answer alike", end=End.SHIFT),
    SignalCell(name="alike-long", words="both answer alike, for five windows", end=End.SHIFT, windows=5),
    SignalCell(name="alike-5", words="both answer alike, 5 % canary", end=End.SHIFT, share=0.05),
    SignalCell(name="margin", words="odds of one category x1.5: no shift", end=End.SHIFT, odds=MARGIN),
    SignalCell(name="failing", words="alike; the canary fails 5 %", end=End.SHIFT, canary=0.05),
    SignalCell(name="shift-3", words="odds of one category x3", end=End.SHIFT, odds=3.0, at_most=None),
    SignalCell(name="shift-10", words="odds of one category x10", end=End.SHIFT, odds=10.0, at_most=None),
    SignalCell(name="as-before", words="as in a past of 5,000 requests", end=End.DRIFT),
    SignalCell(name="short-past", words="as in a past of 100 requests", end=End.DRIFT, past=100),
    SignalCell(name="drift-5", words="odds x5 against a past of 5,000", end=End.DRIFT, now=5.0, at_most=None),
    SignalCell(name="invalid-1", words="1 % of the canary's answers are invalid", end=End.BLAME, canary=0.01),
    SignalCell(name="both-10", words="10 % of both are invalid", end=End.BLAME, canary=0.1, current=0.1),
    SignalCell(name="both-100", words="all of both are invalid", end=End.BLAME, canary=1.0, current=1.0),
    SignalCell(name="invalid-5", words="5 % of the canary's", end=End.BLAME, canary=0.05, at_most=None),
    SignalCell(name="invalid-100", words="all of the canary's", end=End.BLAME, canary=1.0, at_most=None),
)


class SignalFigures(msgspec.Struct, frozen=True, kw_only=True):
    """How often a cell came to its end, and when."""

    name: str
    words: str
    end: End
    requests: int
    """Of each rollout, both arms."""
    rate: float
    """Of the rollouts that came to it."""
    median: float | None
    """Requests of both arms until then; None where it never came."""
    at_most: float | None
    met: bool


def simulate(
    cells: tuple[SignalCell, ...], *, window: int, rollouts: int, seed: int, progress: Callable[[str], None]
) -> list[SignalFigures]:
    """Every cell with so many rollouts of `window` requests (times the cell's windows)."""
    found = []
    for cell in cells:
        progress(cell.name)
        rng = np.random.default_rng([seed, int.from_bytes(cell.name.encode(), "big")])
        requests = window * cell.windows
        first = _Course(cell, rollouts, requests, rng).run()
        came = first < requests
        rate = float(came.mean())
        found.append(
            SignalFigures(
                name=cell.name,
                words=cell.words,
                end=cell.end,
                requests=requests,
                rate=rate,
                median=float(np.median(first[came] + 1)) if came.any() else None,
                at_most=cell.at_most,
                met=cell.at_most is None or rate <= cell.at_most,
            )
        )
    return found


def markdown(figures: list[SignalFigures], *, command: str) -> str:
    """The table, with the command line that makes it again."""
    lines = [
        f"Made by `{command}`.",
        "",
        "| Cell | Truth | End | Rate | Goal | Requests until then, median |",
    ]
    lines.append("|---|---|---|---|---|---|")
    for one in figures:
        goal = "-" if one.at_most is None else f"at most {100 * one.at_most:g} %"
        missed = "" if one.met else " **missed**"
        median = "-" if one.median is None else f"{one.median:.0f} of {one.requests}"
        lines.append(
            f"| {one.name} | {one.words} | {one.end} | {100 * one.rate:g} %{missed} | {goal} | {median} |"
        )
    return "\n".join(lines) + "\n"


def tilted(mix: tuple[float, ...], odds: float) -> Floats:
    """`mix` with the odds of its first category so many times larger, the others in proportion."""
    of_first = mix[0] / (1.0 - mix[0]) * odds
    first = of_first / (1.0 + of_first)
    rest = np.array(mix[1:]) / (1.0 - mix[0]) * (1.0 - first)
    return np.concatenate([[first], rest])


class _Course:
    """The rollouts of one cell."""

    def __init__(self, cell: SignalCell, rollouts: int, requests: int, rng: np.random.Generator) -> None:
        self._cell = cell
        self._rng = rng
        self._rollouts, self._requests = rollouts, requests
        self._tests: list[ShiftTest | DriftTest] = []
        if cell.end is End.SHIFT:
            self._tests = [ShiftTest(len(mix), rollouts, requests, cell.share) for mix in MIXES]
        elif cell.end is End.DRIFT:
            pasts = (rng.multinomial(cell.past, mix, size=rollouts) for mix in MIXES)
            self._tests = [DriftTest(past, requests) for past in pasts]
        self._blame = BlameTest(rollouts, requests, cell.share)

    def run(self) -> Ints:
        """The request at which each rollout came to the cell's end; as many as there are where it did not."""
        cell, shape = self._cell, self._rollouts
        first = np.full(shape, self._requests)
        mixes = [(tilted(mix, cell.now), tilted(mix, cell.now * cell.odds)) for mix in MIXES]
        edges = [(np.cumsum(current), np.cumsum(canary)) for current, canary in mixes]
        for t in range(self._requests):
            canary = self._rng.random(shape) < cell.share
            failed = self._rng.random(shape) < np.where(canary, cell.canary, cell.current)
            if cell.end is End.BLAME:
                self._blame.step(canary, failed)
            for test, (of_current, of_canary) in zip(self._tests, edges, strict=False):
                place = self._rng.random(shape)
                drawn = np.where(
                    canary, np.searchsorted(of_canary, place), np.searchsorted(of_current, place)
                )
                test.step(canary, np.minimum(drawn, len(of_current) - 1), ~failed)
            first[(self._e_value() >= LIMIT) & (first == self._requests)] = t
        return first

    def _e_value(self) -> Floats:
        if self._cell.end is End.BLAME:
            return _average([self._blame.values], beside=_OTHER_ACCUSATIONS)
        if self._cell.end is End.SHIFT:
            return _average([test.values[0] for test in self._tests], beside=_OF_PROBES)
        current, canary = (_average([test.values[arm] for test in self._tests]) for arm in (0, 1))
        found: Floats = np.minimum(current, canary)
        return found


def _average(e_values: list[Floats], beside: int = 0) -> Floats:
    """Of these e-values and `beside` others that are 1."""
    found: Floats = (np.sum(e_values, axis=0) + beside) / (len(e_values) + beside)
    return found


class ShiftTest:
    """`evidence.signals.observe_shift` of one signal, with one share."""

    def __init__(self, categories: int, rollouts: int, most: int, share: float) -> None:
        self._share = share
        self._high = share * MARGIN / (share * MARGIN + 1.0 - share)
        self._low = share / (share + (1.0 - share) * MARGIN)
        self._canary = np.zeros((rollouts, categories))
        self._both = np.zeros((rollouts, categories))
        self._wealths = Wealths(ONE_BET, rollouts, most)

    def step(self, canary: Bools, category: Ints, answered: Bools) -> None:
        """One request of each rollout; without an answer it counts for nothing."""
        rows = np.arange(len(canary))
        guess = (self._canary[rows, category] + PRIOR * self._share) / (self._both[rows, category] + PRIOR)
        nearest = np.clip(guess, self._low, self._high)
        factor = np.where(canary, guess / nearest, (1.0 - guess) / (1.0 - nearest))
        self._wealths.step(np.where(answered, factor, 1.0)[None], answered)
        self._canary[rows, category] += canary & answered
        self._both[rows, category] += answered

    @property
    def values(self) -> tuple[Floats, ...]:
        return (self._wealths.values,)


class DriftTest:
    """`evidence.signals.observe_drift` of one signal in both arms."""

    def __init__(self, pasts: NDArray[np.int64], most: int) -> None:
        begun = [
            signals.begin_drift({str(n): int(requests) for n, requests in enumerate(past)}) for past in pasts
        ]
        names = [*map(str, range(pasts.shape[1])), signals.OTHER]
        self._past = np.array([[one.past[name] for name in names] for one in begun])
        allowed = np.array([[one.allowed[name] for name in names] for one in begun])
        self._low, self._high = allowed[..., 0], allowed[..., 1]
        rollouts, categories = self._past.shape
        self._seen = np.zeros((2, rollouts, categories))
        self._wealths = [Wealths(ONE_BET, rollouts * categories, most) for _ in range(2)]

    def step(self, canary: Bools, category: Ints, answered: Bools) -> None:
        for arm, of_arm in enumerate((~canary & answered, canary & answered)):
            seen = self._seen[arm]
            guess = (seen + PRIOR * self._past) / (seen.sum(axis=1, keepdims=True) + PRIOR)
            nearest = np.clip(guess, self._low, self._high)
            hit = category[:, None] == np.arange(seen.shape[1])
            # Where nothing is bet, both are the same and may be 0 or 1.
            bet = nearest != guess
            ratio = np.where(hit, guess, 1.0 - guess) / np.where(
                bet, np.where(hit, nearest, 1.0 - nearest), 1.0
            )
            factor = np.where(bet & of_arm[:, None], ratio, 1.0)
            counted = np.repeat(of_arm, seen.shape[1])
            self._wealths[arm].step(factor.reshape(1, -1), counted)
            seen += hit & of_arm[:, None]

    @property
    def values(self) -> tuple[Floats, ...]:
        return tuple(one.values.reshape(self._past.shape).mean(axis=1) for one in self._wealths)


class BlameTest:
    """The accusation of invalid answers: E_abs and E_rel of `evidence.errors` at its own p0."""

    def __init__(self, rollouts: int, most: int, share: float) -> None:
        p0 = Tolerated().invalid
        absolute = np.exp(np.array(errors.absolute_logs(p0)))
        fair = np.ones(len(absolute))
        self._absolute_factors = np.stack([fair, fair, absolute[:, 1], absolute[:, 0]], axis=1)
        relative = {arm: np.exp(np.array(errors.relative_logs(p0, share, arm))) for arm in Arm}
        self._relative_factors = np.stack(
            [relative[arm][:, outcome] for arm in (Arm.CURRENT, Arm.CANARY) for outcome in (1, 0)], axis=1
        )
        self._absolute = Wealths(errors.ABS, rollouts, most)
        self._relative = Wealths(errors.REL, rollouts, most)

    def step(self, canary: Bools, failed: Bools) -> None:
        outcome = 2 * canary + failed
        self._absolute.step(self._absolute_factors[:, outcome], canary)
        self._relative.step(self._relative_factors[:, outcome], np.ones(len(canary), np.bool_))
        self._relative.restart(self._absolute.values <= errors.LOOKS_FINE)

    @property
    def values(self) -> Floats:
        found: Floats = np.minimum(self._absolute.values, self._relative.values)
        return found
