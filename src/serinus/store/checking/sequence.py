"""Documents that are numbered without a gap: read in order, with each run of missing numbers folded into one.

What is listed says how far the numbers go, and one stray file may name any number. So of a long run only the
first numbers are asked for one by one: a listing may lag behind whoever appends, but not by so many.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from serinus.core.errors import Corrupt
from serinus.store.checking.ground import Ground

_ASKED = 1000
"""Numbers of a run that are asked for before the listing is believed."""


class Part(NamedTuple):
    """One document that is there, or a run of missing ones."""

    first: int
    last: int
    found: bytes | Corrupt | None
    """None: `first` to `last` are missing."""

    def words(self, what: str) -> str:
        """'Event 7 is', 'Events 7 to 98 are'."""
        if self.first == self.last:
            return f"{what} {self.first} is"
        return f"{what}s {self.first} to {self.last} are"


def parts(ground: Ground, key: Callable[[int], str], told: Iterable[int], *, start: int) -> Iterator[Part]:
    """From number `start` to the greatest that is `told` of, which need not be there."""
    asked = list(_asked(told, start))
    end = start
    """The number after what was given, or the first of the run that is gone through."""
    for number, (_, found) in zip(asked, ground.read_all(map(key, asked)), strict=True):
        if found is None:
            continue
        if number > end:
            yield Part(end, number - 1, None)
        yield Part(number, number, found)
        end = number + 1
    if asked and asked[-1] >= end:
        yield Part(end, asked[-1], None)


def _asked(told: Iterable[int], start: int) -> Iterator[int]:
    following = start
    for number in sorted({number for number in told if number >= start}):
        yield from range(following, min(number, following + _ASKED))
        yield number
        following = number + 1
