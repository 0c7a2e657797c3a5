"""Bodies of decisions."""

from typing import TypeVar

import msgspec

from serinus.api.documents import ByHand
from serinus.core.errors import InvalidInput

_C = TypeVar("_C", bound=ByHand)


def read_command(body: bytes, kind: type[_C]) -> _C:
    """Raises InvalidInput."""
    try:
        command = msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError as error:
        raise InvalidInput(
            f"The decision cannot be read: {error}.", remedy='Send JSON: {"reason": "why", "expect": 42}.'
        ) from error
    if not command.reason.strip():
        raise InvalidInput("The decision has no reason.", remedy="Say why; it stands in the history.")
    return command
