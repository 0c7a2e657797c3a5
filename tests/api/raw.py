"""HTTP by hand: what no client library would send, in the order and the pieces that a test wants."""

import re
import select
import socket
from typing import NamedTuple, Self

from tests.serving.house import WAIT_SECONDS, pair

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class Reply(NamedTuple):
    """One response. `status` 0: the connection ended instead."""

    status: int
    head: str
    body: bytes

    def header(self, name: str) -> str | None:
        found = re.search(rf"^{name}: *(.*?)\r?$", self.head, re.IGNORECASE | re.MULTILINE)
        return found.group(1) if found else None


class Wire:
    """A connection to `url` that sends bytes as they are."""

    def __init__(self, url: str, *, receive_buffer: int | None = None) -> None:
        host, port = url.removeprefix("http://").split(":")
        self.socket = socket.socket()
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(WAIT_SECONDS)
        self.socket.connect((host, int(port)))
        self._rest = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> Self:
        self.socket.sendall(data)
        return self

    def reply(self) -> Reply:
        """The next response, also an interim one. Fails when none comes."""
        while b"\r\n\r\n" not in self._rest:
            if not self._more():
                return Reply(0, "", self._rest)
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        status = int(head.split()[1])
        found = _LENGTH.search(head)
        size = int(found.group(1)) if found and status >= 200 else 0
        while len(self._rest) < size:
            assert self._more(), "the body broke off"
        body, self._rest = self._rest[:size], self._rest[size:]
        return Reply(status, head.decode("latin-1"), body)

    def is_closed(self) -> bool:
        """Whether the server ends the connection, without another byte. Waits for that."""
        return not self._rest and not self._more()

    def has_bytes(self) -> bool:
        """Whether something, or the end, has come. Does not wait."""
        return bool(self._rest) or bool(select.select([self.socket], [], [], 0)[0])

    def trickle(self, data: bytes) -> bool:
        """Sends a little more; True when the server has answered or closed."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return True
        return self.has_bytes()

    def reply_or_end(self) -> bool:
        """Whether one more whole response came before the end."""
        try:
            return self.reply().status > 0
        except AssertionError:
            return False

    def _more(self) -> bool:
        try:
            got = self.socket.recv(1 << 16)
        except ConnectionResetError:
            return False
        self._rest += got
        return bool(got)


def head(method: str, path: str, *headers: str) -> bytes:
    """The head of a request to this machine."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost", *headers, "", ""]).encode("latin-1")


def form(size: int = 64, seed: int = 0) -> bytes:
    """The body of a /predict, with the boundary `x`."""
    parts = []
    for name, data in zip(("pre_disaster", "post_disaster"), pair(size, seed), strict=True):
        disposition = f'form-data; name="{name}"; filename="{name}.png"'
        parts.append(f"--x\r\nContent-Disposition: {disposition}\r\n\r\n".encode() + data + b"\r\n")
    return b"".join(parts) + b"--x--\r\n"


def predict_head(body: bytes, *headers: str) -> bytes:
    form_type = "Content-Type: multipart/form-data; boundary=x"
    return head("POST", "/predict?overlay=none", form_type, f"Content-Length: {len(body)}", *headers)


def predict(*headers: str) -> bytes:
    """A whole request to /predict."""
    body = form()
    return predict_head(body, *headers) + body
