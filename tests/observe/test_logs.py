"""Log lines for people and for machines."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from serinus.observe import logs

log = logging.getLogger("serinus.test")


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(format: str, level: str = "INFO") -> io.StringIO:
    stream = io.StringIO()
    logs.setup(format=format, level=level, stream=stream)
    return stream


def test_text_keeps_the_documented_words() -> None:
    stream = lines("text")
    with logs.request_context("abc"):
        log.info("Using model: %s", "canary", extra=logs.fields(version=2, note="two words"))
    (line,) = stream.getvalue().splitlines()
    assert 'Using model: canary request_id=abc version=2 note="two words"' in line


def test_json_carries_request_version_and_the_chain_of_causes() -> None:
    stream = lines("json")
    with logs.request_context("abc"):
        try:
            try:
                raise OSError("disk gone")
            except OSError as error:
                raise ValueError("no answer") from error
        except ValueError:
            log.exception("It failed.", extra=logs.fields(version=2))
    line = json.loads(stream.getvalue())
    assert line["request_id"] == "abc"
    assert (line["level"], line["message"], line["version"]) == ("error", "It failed.", 2)
    assert line["error"] == "ValueError: no answer <- OSError: disk gone"
    assert "Traceback" in line["traceback"]


def test_outside_of_a_request_there_is_no_id() -> None:
    stream = lines("json")
    log.info("hello")
    assert "request_id" not in json.loads(stream.getvalue())
    assert logs.request_id() == ""


@pytest.mark.parametrize("format", ["text", "json"])
def test_a_clients_name_cannot_forge_a_line(format: str) -> None:
    stream = lines(format)
    log.info("file %s", "a.png\n2026 INFO forged", extra=logs.fields(name="b\nforged"))
    assert len(stream.getvalue().splitlines()) == 1


def test_the_level_and_the_format_are_checked() -> None:
    stream = lines("text", level="warning")
    log.info("quiet")
    assert stream.getvalue() == ""
    with pytest.raises(ValueError, match="xml"):
        logs.setup(format="xml")


def test_a_terminal_obeys_nothing_in_a_line() -> None:
    stream = lines("text")
    log.info("\x1b[2J%s", "\x07", extra=logs.fields(note="\x9b31m"))
    assert not {"\x1b", "\x07", "\x9b"} & set(stream.getvalue())
    assert r"\x1b[2J\x07" in stream.getvalue()


@pytest.mark.parametrize("client", ["httpx", "httpx2"])
def test_the_lines_of_http_clients_do_not_bury_the_rest(client: str) -> None:
    stream = lines("text")
    logging.getLogger(client).info("HTTP Request: PUT ... 200 OK")
    assert stream.getvalue() == ""
