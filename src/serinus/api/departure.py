"""A client that leaves takes its request with it.

The server's connection looks for a `Departure` in the scope of the request that it serves, and calls it when
the client is gone: nothing is polled, and a request that stays pays for one entry in a dictionary. Servers
that do not know of it (in tests) change nothing.
"""

import asyncio
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

KEY = "serinus.departure"


class ClientLeft(Exception):
    """Nobody waits for the answer any more."""


class Departure:
    """Ends the work of the task that made it."""

    def __init__(self) -> None:
        self.happened = False
        self._task = asyncio.current_task()

    def __call__(self) -> None:
        self.happened = True
        if self._task is not None:
            self._task.cancel()


@contextmanager
def for_as_long_as_asked(scope: MutableMapping[str, Any]) -> Iterator[None]:
    """Work inside is cancelled when the client leaves; it then ends with ClientLeft."""
    departure = Departure()
    scope[KEY] = departure
    try:
        yield
    except asyncio.CancelledError as error:
        if departure.happened:
            raise ClientLeft from error
        raise
    finally:
        del scope[KEY]
