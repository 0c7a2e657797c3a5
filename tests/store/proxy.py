"""A bad network: a proxy before an S3 server that does to each request what a test says.

It speaks as much HTTP/1.1 as it must to know where a message ends, and changes no header: the signature of
a request covers them.
"""

import contextlib
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

_PIECE = 1 << 16
_SLOW_DOWN = (
    b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Please reduce your rate.</Message></Error>"
)


class Request(NamedTuple):
    number: int
    """0, 1, 2 ... since the proxy was made."""
    method: str
    path: str
    """With the query."""
    start: int
    """The first byte that is asked for."""


class Fault(NamedTuple):
    """What happens to a request; nothing, when all is as it stands here."""

    delay: float = 0.0
    """Seconds before it is handed on."""
    slow_down: bool = False
    """It is answered 503 SlowDown and never reaches the server."""
    hang: bool = False
    """It is taken and never answered."""
    lose_answer: bool = False
    """The server handles it; the connection ends before the answer."""
    cut_upload: int | None = None
    """The connection ends after so many bytes of its body."""
    cut_download: int | None = None
    """The connection ends after so many bytes of the answer's body."""
    flip: int | None = None
    """This byte of the answer's body is another one, if it has as many."""


class Passed(NamedTuple):
    """What went through."""

    method: str
    path: str
    up: int
    """Bytes of the body that reached the server."""
    down: int
    """Bytes of the answer's body that reached the client."""


FINE = Fault()
Rule = Callable[[Request], Fault]


class Proxy:
    """Listens on a port of its own, of loopback or of `host`; `rule` may be changed at any time."""

    def __init__(self, server: int, host: str = "127.0.0.1") -> None:
        self._server = server
        self._host = host
        self.rule: Rule = lambda _: FINE
        self.passed: list[Passed] = []
        self._number = 0
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener: socket.socket | None = None
        self.port = 0
        self.listen()

    @property
    def endpoint(self) -> str:
        return f"http://{self._host}:{self.port}"

    def listen(self) -> None:
        """Takes connections (again)."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((self._host, self.port))
        listener.listen(64)
        self.port = int(listener.getsockname()[1])
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def refuse(self) -> None:
        """Refuses connections from now on, and drops those that there are."""
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        with self._lock:
            sockets, self._open = list(self._open), set()
        for each in sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with (
            contextlib.suppress(OSError),
            client,
            socket.create_connection(("127.0.0.1", self._server)) as server,
        ):
            for each in (client, server):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._open |= {client, server}
            reader, answers = _Reader(client), _Reader(server)
            while (head := reader.head()) is not None and self._exchange(
                head, reader, client, answers, server
            ):
                pass

    def _exchange(
        self, head: bytes, reader: "_Reader", client: socket.socket, answers: "_Reader", server: socket.socket
    ) -> bool:
        """One request and its answer; False when the connection is over."""
        method, path, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
        span = re.search(rb"\r\nrange: *bytes=(\d+)", head, re.IGNORECASE)
        with self._lock:
            request = Request(self._number, method, path, int(span[1]) if span else 0)
            self._number += 1
        fault = self.rule(request)
        if fault.delay:
            time.sleep(fault.delay)
        up = down = 0
        try:
            if fault.hang:
                while client.recv(_PIECE):
                    pass
                return False
            if fault.slow_down:
                for _ in reader.body(head):
                    pass
                client.sendall(
                    b"HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nContent-Length: %d\r\n\r\n"
                    % len(_SLOW_DOWN)
                    + (b"" if method == "HEAD" else _SLOW_DOWN)
                )
                return True
            server.sendall(head)
            for piece in reader.body(head):
                part = piece if fault.cut_upload is None else piece[: max(0, fault.cut_upload - up)]
                server.sendall(part)
                up += len(part)
                if len(part) < len(piece):
                    return False
            answer = answers.head()
            if answer is None:
                return False
            bodiless = method == "HEAD" or answer.split(b" ")[1] in (b"204", b"304")
            body = iter(()) if bodiless else answers.body(answer)
            if fault.lose_answer:
                for _ in body:
                    pass
                return False
            client.sendall(answer)
            for piece in body:
                part = piece if fault.cut_download is None else piece[: max(0, fault.cut_download - down)]
                if fault.flip is not None and down <= fault.flip < down + len(part):
                    at = fault.flip - down
                    part = part[:at] + bytes([part[at] ^ 1]) + part[at + 1 :]
                client.sendall(part)
                down += len(part)
                if len(part) < len(piece):
                    return False
            return b"connection: close" not in (head + answer).lower()
        finally:
            self.passed.append(Passed(method, path, up, down))


class _Reader:
    """Reads messages from a socket."""

    def __init__(self, source: socket.socket) -> None:
        self._source = source
        self._held = b""

    def head(self) -> bytes | None:
        """Up to the empty line; None at the end of the connection."""
        while b"\r\n\r\n" not in self._held:
            if not self._more():
                return None
        head, self._held = self._held.split(b"\r\n\r\n", 1)
        return head + b"\r\n\r\n"

    def body(self, head: bytes) -> Iterator[bytes]:
        """The body that `head` announces, as it comes; a chunked one with its framing."""
        length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
        if length:
            yield from self._exactly(int(length[1]))
        elif re.search(rb"\r\ntransfer-encoding: *chunked", head, re.IGNORECASE):
            while True:
                while b"\r\n" not in self._held:
                    if not self._more():
                        return
                line = self._held.split(b"\r\n", 1)[0]
                size = int(line.split(b";")[0], 16)
                yield from self._exactly(len(line) + 2 + size + 2)
                if size == 0:
                    return

    def _exactly(self, count: int) -> Iterator[bytes]:
        while count > 0:
            if not self._held and not self._more():
                return
            piece, self._held = self._held[:count], self._held[count:]
            count -= len(piece)
            yield piece

    def _more(self) -> bool:
        data = self._source.recv(_PIECE)
        self._held += data
        return bool(data)
