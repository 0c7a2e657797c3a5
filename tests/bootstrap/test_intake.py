"""Bodies that are read into one piece, over real sockets."""

import asyncio
import os
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvicorn

from serinus.api.forms import BODY, Disconnected
from serinus.bootstrap.connection import Connection

SEEN: list[str] = []


async def app(scope: dict[str, Any], receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
    """Answers how many bytes came and their sum; `/ignored` reads nothing, `/pieces` receives."""
    if scope["type"] != "http":
        return
    body = bytearray()
    if scope["path"] == "/pieces":
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
    elif scope["path"] != "/ignored" and BODY in scope.get("extensions", {}):
        try:
            body = await scope["extensions"][BODY].read()
        except Disconnected:
            SEEN.append("left")
            return
    text = f"{len(body)} {sum(body)}".encode()
    length = str(len(text)).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
    await send({"type": "http.response.body", "body": text})


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(app, http=Connection, lifespan="off", log_config=None, access_log=False)
    )
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])))
    thread.start()
    yield int(listener.getsockname()[1])
    server.should_exit = True
    thread.join()


class Client:
    """One connection."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.held = b""

    def answer(self) -> str:
        while b"\r\n\r\n" not in self.held:
            self.held += self._more()
        head, self.held = self.held.split(b"\r\n\r\n", 1)
        self.ends = b"connection: close" in head.lower()
        if b" 100 " in head.split(b"\r\n")[0]:
            return "continue"
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        while len(self.held) < length:
            self.held += self._more()
        body, self.held = self.held[:length], self.held[length:]
        return body.decode()

    def _more(self) -> bytes:
        data = self.socket.recv(1 << 16)
        assert data, "the server hung up"
        return data


def request(body: bytes, path: str = "/", *lines: str) -> bytes:
    head = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", *lines]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def of(body: bytes) -> str:
    return f"{len(body)} {sum(body)}"


BODIES = [b"x", b"ab" * 100, os.urandom(70_000), os.urandom(3_000_000)]


@pytest.mark.parametrize("path", ["/", "/pieces"])
def test_each_body_comes_whole_on_one_connection(port: int, path: str) -> None:
    client = Client(port)
    for body in BODIES + BODIES[::-1]:
        client.socket.sendall(request(body, path))
        assert client.answer() == of(body)


def test_requests_sent_without_waiting_are_answered_in_order(port: int) -> None:
    client = Client(port)
    paths = ["/", "/pieces", "/", "/", "/pieces", "/", "/", "/pieces"]
    everything = b"".join(request(body, path) for body, path in zip(BODIES * 2, paths, strict=True))
    sending = threading.Thread(target=client.socket.sendall, args=[everything])
    sending.start()
    for body in BODIES * 2:
        assert client.answer() == of(body)
    sending.join()


def test_a_body_that_comes_byte_by_byte(port: int) -> None:
    client = Client(port)
    message = request(b"0123456789")
    for at in range(len(message)):
        client.socket.sendall(message[at : at + 1])
    assert client.answer() == of(b"0123456789")


def test_a_body_read_past_the_parser_leaves_the_connection_as_its_head_asked(port: int) -> None:
    body = BODIES[3]
    for head, stays in [
        (request(body), True),
        (request(body).replace(b"POST", b"BREW"), True),
        (request(body, "/", "Connection: Upgrade", "Upgrade: h2c"), True),
        (request(body, "/", "Connection: keep-alive"), True),
        (request(body, "/", "Connection: TE, Close"), False),
        (request(body).replace(b"HTTP/1.1", b"HTTP/1.0"), False),
    ]:
        client = Client(port)
        client.socket.sendall(head)
        assert client.answer() == of(body)
        if stays:
            client.socket.sendall(request(b"next") + request(b"last"))
            assert [client.answer(), client.answer()] == [of(b"next"), of(b"last")]
        else:
            assert client.ends
            assert client.socket.recv(1) == b""


def test_what_comes_behind_a_body_read_past_the_parser_is_parsed(port: int) -> None:
    client = Client(port)
    client.socket.sendall(request(BODIES[3]) + b"no request\r\n\r\n")
    assert client.answer() == of(BODIES[3])
    while client.held.find(b"\r\n\r\n") < 0:
        client.held += client._more()
    assert client.held.startswith(b"HTTP/1.1 400 ")


def test_a_body_that_nobody_reads_does_not_disturb_the_next(port: int) -> None:
    client = Client(port)
    client.socket.sendall(request(BODIES[2], "/ignored"))
    assert client.answer() == "0 0"
    client.socket.sendall(request(b"next"))
    assert client.answer() == of(b"next")


def test_who_waits_for_a_word_gets_it_when_the_body_is_wanted(port: int) -> None:
    client = Client(port)
    client.socket.sendall(request(b"body", "/", "Expect: 100-continue")[:-4])
    assert client.answer() == "continue"
    client.socket.sendall(b"body")
    assert client.answer() == of(b"body")


def test_a_body_without_a_declared_length_is_no_offer(port: int) -> None:
    client = Client(port)
    client.socket.sendall(
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    )
    assert client.answer() == "0 0"


def test_who_leaves_in_the_middle_is_noticed(port: int) -> None:
    SEEN.clear()
    client = Client(port)
    client.socket.sendall(request(BODIES[3])[:1_000_000])
    client.socket.close()
    other = Client(port)
    for _ in range(1000):
        other.socket.sendall(request(b"x"))
        assert other.answer() == of(b"x")
        if SEEN:
            break
    assert SEEN == ["left"]
