"""Clients of one S3-compatible server, and its errors in our words: whose fault, and what to do next."""

import contextlib
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from serinus.core.errors import Misconfigured, NotFound, Unavailable
from serinus.store.patience import Waiting, go_on

if TYPE_CHECKING:
    from obstore.store import S3Store

_SERVER = "Is STORE_URL right, and does the server answer? Nothing half-written is used."
_LONGEST_ANSWER = 10.0
"""A document that takes longer counts as not answered, seconds."""
_PAGE_RETRIES = 2.0
_PART_RETRIES = 10.0
_LONGEST_PART = 120.0
_LONGEST_STALL = 30.0
_REFUSED = re.compile(r"status code: (4(?!08|29)\d\d|501)")
"""What asking again does not change: not a time-out (408), nor too many requests (429)."""


class Address(NamedTuple):
    """Where a bucket is and how long to wait for it."""

    url: str
    """`s3://bucket/prefix`; credentials, region and endpoint come from the usual environment (AWS_...)."""
    patience: float
    """How long a request is tried again, seconds."""
    allow_http: bool = False
    """Whether the endpoint is plain http."""
    waiting: Waiting = go_on
    """Told while a request waits to be tried again; may give up by raising Cancelled."""


class Clients(NamedTuple):
    """Ways to ask the same server."""

    once: "S3Store"
    """Tries once, and not for long: for documents, which `Patience` asks for again."""
    listing: "S3Store"
    """Tries each page again for a moment, so that one failure does not undo the others."""
    steady: "S3Store"
    """As patient as it gets: for the parts of long transfers."""


def connect(address: Address) -> Clients:
    """Raises Misconfigured for an address that is none, or without the extra `s3`."""
    try:
        from obstore.exceptions import BaseError
        from obstore.store import S3Store
    except ImportError as error:
        raise Misconfigured(
            "STORE_URL names a bucket, but the client for it is not installed.",
            remedy="pip install 'serinus[s3]'",
        ) from error
    answer = max(1.0, min(address.patience, _LONGEST_ANSWER))

    def client(timeout: float, stalled: float, retrying: float) -> S3Store:
        return S3Store.from_url(
            address.url,
            checksum_algorithm="SHA256",  # a server may keep what came of an upload whose connection ended
            client_options={
                "allow_http": address.allow_http,
                "connect_timeout": timedelta(seconds=min(3.0, answer)),
                "read_timeout": timedelta(seconds=stalled),
                "timeout": timedelta(seconds=timeout),
            },
            retry_config={
                "max_retries": 1000 if retrying else 0,
                "retry_timeout": timedelta(seconds=min(address.patience, retrying)),
                "backoff": {
                    "init_backoff": timedelta(milliseconds=100),
                    "max_backoff": timedelta(seconds=2),
                    "base": 2,
                },
            },
        )

    try:
        return Clients(
            client(answer, answer, 0.0),
            client(answer, answer, _PAGE_RETRIES),
            client(_LONGEST_PART, _LONGEST_STALL, _PART_RETRIES),
        )
    except (BaseError, ValueError) as error:
        raise Misconfigured(
            f"STORE_URL {address.url!r} cannot be used: {_reason(error)}.", remedy=_SERVER
        ) from error


@contextlib.contextmanager
def in_our_words(name: str) -> Iterator[None]:
    """Turns the client's errors into NotFound, Misconfigured (an operator must act) or Unavailable.

    `name`: what was asked for. AlreadyExistsError passes.
    """
    from obstore import exceptions

    try:
        yield
    except exceptions.AlreadyExistsError:
        raise
    except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError, PermissionError) as error:
        raise Misconfigured(
            f"The server refuses {name} with these credentials{_code(error)}.",
            remedy="Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or a role) that may read, list, write "
            "and delete there.",
        ) from error
    except (exceptions.BaseError, FileNotFoundError) as error:
        words = str(error)
        if "NoSuchBucket" in words:
            raise Misconfigured(
                f"There is no bucket for {name}.", remedy="Create it, or correct STORE_URL."
            ) from error
        if isinstance(error, FileNotFoundError | exceptions.NotFoundError):
            raise NotFound(f"There is no {name}.") from error
        if _REFUSED.search(words):
            raise Misconfigured(
                f"The server refuses {name}: {_reason(error)}.",
                remedy="Are AWS_REGION and AWS_ENDPOINT_URL right for this bucket, and does this server know "
                "`If-None-Match: *`?",
            ) from error
        raise Unavailable(
            f"The store cannot be reached: {name}: {_reason(error)}.", remedy=_SERVER, retry_after=5.0
        ) from error


def _reason(error: Exception) -> str:
    """The client's words without addresses and times, so that the same trouble reads the same each time."""
    words = str(error)
    status = re.search(r"status code: (\d{3}[ \w]*)", words)
    if status:
        return status[1].strip() + _code(error)
    if "TimedOut" in words:
        return "no answer in time"
    innermost = re.search(r'(?:message|error): "([^"]+)"', words)
    if innermost:
        return innermost[1]
    first = (words.splitlines() or [type(error).__name__])[0]
    return first.rpartition(" - ")[2][:300].rstrip(".")


def _code(error: Exception) -> str:
    found = re.search(r"<Code>(\w+)</Code>", str(error))
    return f" ({found[1]})" if found else ""
