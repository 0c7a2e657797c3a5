"""Who makes the request that is being served: for the history, the pages and the log."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import msgspec

from serinus.core.enums import Role


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody, as far as it is known."""

    name: str = ""
    """Of the token that was brought; empty without one."""
    role: Role | None = None
    """What it may do; None: nobody said."""
    here: bool = False
    """Whether the request comes from this machine, and not through a proxy."""


NOBODY = Principal()
_PRINCIPAL: ContextVar[Principal] = ContextVar("serinus_principal", default=NOBODY)


@contextmanager
def principal_context(who: Principal) -> Iterator[None]:
    """What is done inside is done for `who`, also in threads that copy the context."""
    token = _PRINCIPAL.set(who)
    try:
        yield
    finally:
        _PRINCIPAL.reset(token)


def principal() -> Principal:
    """Who makes the request that is being served; NOBODY outside of one."""
    return _PRINCIPAL.get()


def acting(said: str) -> str:
    """The actor for the history, given the name that a person typed.

    With a token its name comes first and `via token` last, so what was typed cannot pass for it.
    """
    typed, name = said.strip(), principal().name
    if not name:
        return f"{typed or 'operator'} via ui"
    return f"{name} via token" if typed in ("", name) else f"{name} (as {typed}) via token"
