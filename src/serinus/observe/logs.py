"""Structured logs on the standard `logging`: text for people, JSON lines by setting.

Every line written while a request is served carries its id, from a context variable. Extra members go into
`extra={"fields": {...}}`; the text form prints them as `name=value` after the message, which stays as written
(`Using model: canary` can be grepped for).
"""

import json
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TextIO

from serinus.core.text import visible

_REQUEST_ID: ContextVar[str] = ContextVar("serinus_request_id", default="")


class LogFormat(StrEnum):
    """How log lines look."""

    TEXT = "text"
    JSON = "json"


@contextmanager
def request_context(request_id: str) -> Iterator[None]:
    """Lines logged inside carry `request_id`, also in threads that copy the context."""
    token = _REQUEST_ID.set(request_id)
    try:
        yield
    finally:
        _REQUEST_ID.reset(token)


def request_id() -> str:
    """The id of the request being served; empty outside of one."""
    return _REQUEST_ID.get()


def fields(**values: Any) -> dict[str, dict[str, Any]]:
    """For `logger.info("...", extra=fields(version=2))`."""
    return {"fields": values}


def cause_of(error: BaseException) -> str:
    """The error and what caused it, outermost first, on one line."""
    words: list[str] = []
    seen: BaseException | None = error
    while seen is not None and len(words) < 8:
        text = str(seen)
        words.append(f"{type(seen).__name__}: {text}" if text else type(seen).__name__)
        seen = seen.__cause__
    return " <- ".join(words)


def setup(
    *, format: LogFormat | str = LogFormat.TEXT, level: str = "INFO", stream: TextIO | None = None
) -> None:
    """Makes the root logger write to `stream` (standard error by default), replacing earlier handlers.

    Raises ValueError for a format or level that does not exist.
    """
    handler = logging.StreamHandler(stream if stream is not None else sys.stderr)
    handler.addFilter(_add_request_id)
    handler.setFormatter(JsonFormatter() if LogFormat(format) is LogFormat.JSON else TextFormatter())
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    for chatty in ("httpx", "httpcore", "httpx2", "httpcore2", "uvicorn.error"):  # a line for each request
        logging.getLogger(chatty).setLevel(max(root.level, logging.WARNING))


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, request_id, the extra fields, error."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _utc(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update(_members(record))
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = cause_of(record.exc_info[1])
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """`time LEVEL logger: message name=value ...`, a traceback below where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        members = "".join(f" {name}={_word(value)}" for name, value in _members(record).items())
        # A client's file name must not be able to start a line of its own.
        message = record.getMessage().replace("\r", "\\r").replace("\n", "\\n")
        line = f"{_utc(record.created)} {record.levelname} {record.name}: {message}{members}"
        return visible(f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line)


def _members(record: logging.LogRecord) -> Mapping[str, Any]:
    members: dict[str, Any] = {}
    request = getattr(record, "request_id", "")
    if request:
        members["request_id"] = request
    extra = getattr(record, "fields", None)
    if isinstance(extra, Mapping):
        members.update(extra)
    return members


def _add_request_id(record: logging.LogRecord) -> bool:
    if not hasattr(record, "request_id"):
        record.request_id = _REQUEST_ID.get()
    return True


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def _word(value: Any) -> str:
    text = str(value)
    plain = text.isprintable() and text != "" and not set(text) & set(' "=')
    return text if plain else json.dumps(text, ensure_ascii=False)
