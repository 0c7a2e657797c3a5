"""Who may come in: a bounded number of requests, and of bytes that their bodies take in memory."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from starlette.requests import Request

from serinus.core.errors import Unavailable


class Admission:
    """Places in the service, taken before a body is read. For one event loop."""

    def __init__(self, *, places: int, max_bytes: int, refused: Callable[[], None]) -> None:
        self._places = places
        self._max_bytes = max_bytes
        self._refused = refused
        self._inside = 0
        self._bytes = 0

    @contextmanager
    def place(self, size: int = 0) -> Iterator[None]:
        """Room for one request with `size` bytes. One alone always finds room for its bytes.

        Raises Unavailable when there is none.
        """
        crowded = self._bytes and self._bytes + size > self._max_bytes
        if self._inside >= self._places or crowded:
            self._refused()
            raise Unavailable("The service is busy.", remedy="Try again soon.", retry_after=1.0)
        self._inside += 1
        self._bytes += size
        try:
            yield
        finally:
            self._inside -= 1
            self._bytes -= size


def body_bytes(request: Request, most: int) -> int:
    """How long the request's body may become, bytes; `most` where it does not say."""
    declared = request.headers.get("content-length", "")
    return min(int(declared), most) if declared.isdecimal() else most
