"""Text that people typed: what can be stored, and how it is shown."""

import re

from serinus.core.errors import InvalidInput

_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""What a terminal obeys in place of showing it: control characters and marks that turn the direction of
writing; and lone surrogates, which cannot be written."""


def storable(text: str, what: str) -> str:
    """`text` itself. Raises InvalidInput, naming `what` it is, for lone surrogates: bytes that were no UTF-8
    where it came from, and that no file of the store can hold."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(
            f"{what} is not valid Unicode at character {error.start + 1}.",
            remedy="Type it anew; is the terminal's encoding UTF-8?",
        ) from error
    return text


def visible(text: str) -> str:
    r"""`text` as a terminal may get it: `\x1b` is written out, so that nothing in it is obeyed. New lines and
    tabs stay."""
    return _OBEYED.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
