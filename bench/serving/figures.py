"""What is asked for, and what it cost."""

import statistics
from typing import NamedTuple


class Load(NamedTuple):
    """What is asked for."""

    pictures: str
    """`png`, `jpeg` or `tiny` (a few pixels in a body as long as png's)."""
    concurrency: int
    overlay: str = "none"
    canary: bool = False
    model: str = "base"
    """`base`, or `noop`, a network that does nothing."""

    @property
    def name(self) -> str:
        overlay = "no_overlay" if self.overlay == "none" else f"{self.overlay}_overlay"
        model = "" if self.model == "base" else f"{self.model}_"
        return f"{model}{self.pictures}_c{self.concurrency}_{overlay}{'_canary' if self.canary else ''}"


class Cost(NamedTuple):
    """Of one request."""

    cpu: float
    """Milliseconds of all its processes."""
    wall: float
    """Milliseconds between two answers: 1000 / (requests a second)."""
    p50: float = 0.0
    p99: float = 0.0


class Figure(NamedTuple):
    """One A/B/A repeated."""

    limit: list[Cost]
    server: list[Cost]

    def ratios(self, of: str) -> list[float]:
        """The limit's over the server's, by repetition."""
        pairs = zip(self._around(of), self.server, strict=True)
        return [around / getattr(server, of) for around, server in pairs]

    def over(self) -> list[float]:
        """CPU milliseconds above the limit, by repetition."""
        return [server.cpu - a for a, server in zip(self._around("cpu"), self.server, strict=True)]

    def median(self, of: str) -> float:
        """Of the server."""
        return statistics.median(getattr(cost, of) for cost in self.server)

    def _around(self, of: str) -> list[float]:
        """The mean of the limits before and after each repetition."""
        return [
            (getattr(a, of) + getattr(b, of)) / 2
            for a, b in zip(self.limit[:-1], self.limit[1:], strict=True)
        ]


class Cell(NamedTuple):
    """Who is asked what on how many cores."""

    cores: int
    who: str
    """`serinus`, a peer, or `loop`: the raw loop that keeps freed memory."""
    load: Load

    @property
    def name(self) -> str:
        who = "" if self.who == "serinus" else f"{self.who}_"
        return f"{who}{self.load.name}{'' if self.cores == 1 else f'_{self.cores}cores'}"
