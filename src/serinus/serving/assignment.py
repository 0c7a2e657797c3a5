"""Which arm a request is assigned to: by a coin, by who asks, or because a tester says so. Pure.

Without sticky routing each request tosses its own coin. With it the toss is a hash of who asks, so every
replica comes to the same arm, before and after a restart, and nothing is stored. The hash is uniform in
[0, 1) and the canary takes what lies below its share: who is in the canary at 5 % stays there at 25 %, and
who is beside it stays beside it until the share passes his place. The rollout is a part of what is hashed, so
that the next one picks others.

A tester's wish is obeyed and is no evidence: he chose, no coin did.
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

from serinus.core.enums import Arm
from serinus.core.errors import InvalidInput
from serinus.rollout.policy import ByHeader, Sticky
from serinus.serving.routing import RouteSnapshot

_HALF = 8


class Caller(NamedTuple):
    """What a request says of who sent it."""

    headers: Mapping[str, str] = {}
    """By name; lower case, or a mapping that does not care."""
    cookies: Mapping[str, str] = {}


NOBODY = Caller()


class Assignment(NamedTuple):
    """Where a request goes."""

    arm: Arm
    unit: int | None = None
    """The pinned user, as 64 bits of a hash; None where the request's own coin decided."""
    override: bool = False
    """A tester's wish decided: no evidence."""


def assign(snapshot: RouteSnapshot, caller: Caller, coin: Callable[[], float]) -> Assignment:
    """The arm of one request. `coin` gives a number uniform in [0, 1).

    Raises InvalidInput for a wish that names no arm.
    """
    wish = _wish(snapshot, caller)
    if wish is not None:
        # Without a canary (not loaded yet, or over) there is only current.
        return Assignment(wish if snapshot.target(wish) is not None else Arm.CURRENT, override=True)
    value = _value(snapshot.sticky, caller)
    if value is None or snapshot.sticky is None:
        return Assignment(snapshot.assign(coin()))
    place, unit = pinned(snapshot.salt, snapshot.sticky, value)
    return Assignment(snapshot.assign(place), unit)


def pinned(salt: str, sticky: Sticky, value: str) -> tuple[float, int]:
    """A user's place in [0, 1), and who he is for counting: two independent halves of one hash."""
    said = f"{salt}\0{type(sticky).__name__}\0{sticky.name.lower()}\0{value}"
    hashed = hashlib.blake2b(said.encode("utf-8", "surrogateescape"), digest_size=2 * _HALF).digest()
    place = (int.from_bytes(hashed[:_HALF]) >> 11) * 2.0**-53
    return place, int.from_bytes(hashed[_HALF:])


def _value(sticky: Sticky | None, caller: Caller) -> str | None:
    if sticky is None:
        return None
    if isinstance(sticky, ByHeader):
        return caller.headers.get(sticky.name.lower()) or None
    return caller.cookies.get(sticky.name) or None


def _wish(snapshot: RouteSnapshot, caller: Caller) -> Arm | None:
    name = snapshot.override_header
    said = caller.headers.get(name.lower()) if name else None
    if said is None:
        return None
    try:
        return Arm(said.strip().lower())
    except ValueError as error:
        raise InvalidInput(
            f"The header {name} says {said[:40]!r}.", remedy="It may say canary or current."
        ) from error
