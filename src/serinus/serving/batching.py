"""Whether requests of one version share a run of its model: decided from what its first worker measured."""

from typing import NamedTuple

from serinus.engine.pace import Pace

_GAIN = 0.8
"""A picture must take less than this share of its time alone: waiting for others has its price."""


class Batching(NamedTuple):
    """How many requests may share a run, and how long the first of them waits for others."""

    size: int = 1
    wait_seconds: float = 0.0
    why: str = "not measured"
    milliseconds: dict[int, float] = {}  # noqa: RUF012
    """Pictures in a batch -> the batch's time, as measured."""

    @property
    def on(self) -> bool:
        return self.size > 1


def choose(pace: Pace, budget_seconds: float) -> Batching:
    """The size at which a picture takes least, if that is worth it; else off. Never waits longer than a
    picture alone takes, nor longer than the budget.
    """
    took = pace.milliseconds
    if budget_seconds <= 0:
        return Batching(why="BATCH_WAIT_SECONDS is 0", milliseconds=took)
    if len(took) < 2:
        return Batching(why=pace.stopped or "not measured", milliseconds=took)
    each = {size: time / size for size, time in took.items()}
    best = min((size for size in each if size > 1), key=lambda size: each[size])
    words = f"a picture takes {each[1]:.2f} ms alone and {each[best]:.2f} ms in a batch of {best}"
    if each[best] > _GAIN * each[1]:
        return Batching(why=words, milliseconds=took)
    return Batching(best, min(budget_seconds, each[1] / 1000), words, took)
