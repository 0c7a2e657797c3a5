"""HTTP by uvicorn, but for long bodies, which are read straight into the memory they stay in.

uvicorn hands a body on in pieces of 64 KiB and copies each three times. Here the app may ask for the whole
body (`Intake.read`, in the scope's extension `serinus.body`) instead of receiving its pieces: the connection
then changes its protocol to one that reads into one buffer until the body is whole, and changes back. Whoever
does not ask is served as ever, and nothing is read before somebody asks.
"""

import asyncio
from typing import Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from serinus.api.forms import BODY, Disconnected


class Connection(HttpToolsProtocol):
    """A connection whose requests offer `Intake` when their body's length is declared."""

    def on_headers_complete(self) -> None:
        declared = dict(self.headers)
        length = declared.get(b"content-length", b"")
        offered = length.isdigit() and int(length) > 0 and b"transfer-encoding" not in declared
        intake = Intake(self, int(length)) if offered else None
        if intake is not None:
            cast("dict[str, Any]", self.scope).setdefault("extensions", {})[BODY] = intake
        super().on_headers_complete()
        if intake is not None:
            intake.cycle = self.cycle

    def go_on(self) -> None:
        """A body is whole: whatever comes next is another request."""
        self.parser = httptools.HttpRequestParser(self)
        self.transport.set_protocol(self)


class Intake:
    """The body of one request, for one reader."""

    cycle: RequestResponseCycle
    """Of its request; where a client sends several without waiting, the connection's may be a later one."""

    def __init__(self, connection: Connection, length: int) -> None:
        self._connection = connection
        self._length = length

    async def read(self) -> bytearray:
        """The whole body; raises Disconnected when the client leaves before its end."""
        connection, cycle = self._connection, self.cycle
        if cycle.disconnected:
            raise Disconnected
        if cycle.waiting_for_100_continue:
            connection.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            cycle.waiting_for_100_continue = False
        body = bytearray(self._length)
        got = len(cycle.body)
        body[:got] = cycle.body
        cycle.body = bytearray()
        if cycle.more_body:
            rest = _Rest(connection, memoryview(body)[got:])
            connection.transport.set_protocol(rest)
            connection.flow.resume_reading()
            await rest.done
            cycle.more_body = False
        return body


class _Rest(asyncio.BufferedProtocol):
    """Fills `room` from the connection."""

    def __init__(self, connection: Connection, room: memoryview) -> None:
        self._connection = connection
        self._room = room
        self.done: asyncio.Future[None] = connection.loop.create_future()

    def get_buffer(self, _sizehint: int) -> memoryview:
        return self._room

    def buffer_updated(self, nbytes: int) -> None:
        self._room = self._room[nbytes:]
        if not self._room:
            self._connection.go_on()
            if not self.done.done():
                self.done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.connection_lost(exc)
        if not self.done.done():
            self.done.set_exception(Disconnected())

    def pause_writing(self) -> None:
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        self._connection.resume_writing()
