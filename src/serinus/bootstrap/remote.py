"""Decisions that are sent to a dashboard elsewhere, instead of being written to the store from here."""

from typing import Any
from urllib.parse import urlsplit

import httpx

from serinus.core.errors import (
    Conflict,
    Forbidden,
    InvalidInput,
    Misconfigured,
    NotFound,
    SerinusError,
    Unavailable,
)

_SECONDS = 60.0
_KINDS: dict[int, type[SerinusError]] = {
    400: InvalidInput,
    401: Misconfigured,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    503: Unavailable,
}


def decide(server: str, token: str, action: str, command: dict[str, Any]) -> dict[str, Any]:
    """The reply of the control API to `POST /api/rollout/<action>`.

    Raises what the API answered with, in its words; Unavailable when nobody answers.
    """
    if urlsplit(server).scheme not in ("http", "https"):
        raise Misconfigured(f"{server!r} is no http(s) address.", remedy="See SERVER_URL and --server.")
    headers = {b"authorization": f"Bearer {token}".encode()} if token else {}
    url = f"{server.rstrip('/')}/api/rollout/{action}"
    try:
        reply = httpx.post(url, json=command, headers=headers, timeout=_SECONDS, trust_env=False)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Unavailable(
            f"{server} does not answer: {error}.", remedy="See SERVER_URL and --server."
        ) from error
    try:
        document = reply.json()
    except ValueError as error:
        raise Unavailable(f"{url} answers with {reply.status_code} and no JSON.") from error
    if reply.is_success:
        return dict(document)
    kind = _KINDS.get(reply.status_code, SerinusError)
    words = document.get("detail") or f"{url} answers with {reply.status_code}."
    remedy = (
        "Set API_TOKEN to a token of an operator." if reply.status_code == 401 else document.get("remedy", "")
    )
    raise kind(words, remedy=remedy)
