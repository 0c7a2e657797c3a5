"""The few names that cross every room, and the two things of the edge that are passed in as values."""

from collections.abc import Callable
from typing import NewType, TypeAlias

Digest = NewType("Digest", str)
"""sha256 in lower-case hex, 64 characters."""

Version = NewType("Version", int)
"""A version's number: 1, 2, 3 ...; given once, never reused."""

Clock: TypeAlias = Callable[[], float]
"""Gives the time now: seconds since 1970-01-01 UTC."""

NewId: TypeAlias = Callable[[], str]
"""Gives a fresh random id: 32 hex characters."""

Coin: TypeAlias = Callable[[], float]
"""Gives a uniform random number in [0, 1)."""

INSIDE = "inside"
"""What stands in place of a peer's address when a process asks its own HTTP app. A server only ever puts an
address there, so nobody else can be taken for it."""
