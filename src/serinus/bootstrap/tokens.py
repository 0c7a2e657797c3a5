"""The tokens that count here."""

from serinus.api.tokens import Tokens, read
from serinus.bootstrap.settings import Settings
from serinus.core.errors import Misconfigured


def known_tokens(settings: Settings) -> Tokens:
    """Those of TOKENS_FILE and API_TOKEN. Raises Misconfigured for a file that cannot be read, or that was
    named and is not there."""
    if settings.tokens_file is not None and not settings.tokens_file.exists():
        raise Misconfigured(
            f"TOKENS_FILE {settings.tokens_file} is not there.",
            remedy="`serinus token create` makes it; in a cluster, mount the Secret.",
        )
    read(settings.tokens)  # said now, not at the first request
    return Tokens(settings.tokens, operator=settings.token)
