"""JSON bodies: what cannot be read, however deep or broken it is, is the caller's fault."""

from typing import TypeVar

import msgspec

from serinus.api.decisions import ByHand
from serinus.api.memory import Memory
from serinus.core.errors import InvalidInput

_C = TypeVar("_C", bound=ByHand)
_T = TypeVar("_T")


def read_json(body: Memory, kind: type[_T], *, what: str, remedy: str) -> _T:
    """Raises InvalidInput that says what is wrong with `what`."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"The {what} cannot be read: {error}.", remedy=remedy) from error
    except RecursionError as error:
        raise InvalidInput(f"The {what} is nested too deeply.", remedy=remedy) from error


def read_command(body: bytes, kind: type[_C]) -> _C:
    """A decision. Raises InvalidInput, also for one without a reason."""
    remedy = 'Send JSON: {"reason": "why", "expect": 42}.'
    command = read_json(body, kind, what="decision", remedy=remedy)
    if not command.reason.strip():
        raise InvalidInput("The decision has no reason.", remedy="Say why; it stands in the history.")
    return command
