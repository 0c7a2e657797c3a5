"""Long bodies are read straight into the memory they stay in.

uvicorn hands a body on in pieces and copies each several times. Here the app may ask for the whole body
(`Intake.read`, in the scope's extension `serinus.body`) instead of receiving its pieces: the connection then
changes its protocol to one that reads into one buffer until the body is whole, and changes back. Whoever does
not ask is served as ever, and nothing is read before somebody asks.

Heads and framing stay h11's. It cannot be told that a body was read past it, so when one was, another h11
connection takes its place, which has seen the same request without a body.
"""

import asyncio
import threading
from typing import Any, cast

import h11
from uvicorn._types import HTTPScope
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from serinus.api.forms import BODY, Disconnected

_PIECE_BYTES = 1 << 18
_FIRST_BYTES = 1 << 14
_ROOM = threading.local()


class Reading(H11Protocol, asyncio.BufferedProtocol):
    """uvicorn's connection, whose requests offer an `Intake` where their body's length is declared."""

    rest: "_Rest | None" = None
    """Who has the transport meanwhile."""

    def get_buffer(self, _sizehint: int) -> memoryview:
        """One room for all connections of a thread: what comes is copied at once.

        Of what comes with a head little is read, for it goes through h11, which copies it thrice.
        """
        if not hasattr(_ROOM, "view"):
            _ROOM.view = memoryview(bytearray(_PIECE_BYTES))
        room: memoryview = _ROOM.view
        return room if self.cycle is not None and self.cycle.more_body else room[:_FIRST_BYTES]

    def buffer_updated(self, nbytes: int) -> None:
        self.data_received(bytes(_ROOM.view[:nbytes]))

    def handle_events(self) -> None:
        before = self.cycle
        super().handle_events()
        if self.cycle is before:
            return
        declared = dict(self.headers)
        length = int(declared.get(b"content-length", 0))  # h11 lets nothing but digits pass
        if length and b"transfer-encoding" not in declared:
            extensions = cast("dict[str, Any]", self.scope).setdefault("extensions", {})
            extensions[BODY] = Intake(self, self.cycle, length)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.stop_reading()

    def note_bytes(self, count: int) -> None:
        """So many bytes came past `data_received`."""

    def stop_reading(self) -> None:
        """The body that is being read, if any, is given up: its reader hears Disconnected."""
        if self.rest is not None:
            self.rest.give_up()


class Intake:
    """The body of one request, for one reader."""

    def __init__(self, connection: Reading, cycle: RequestResponseCycle, length: int) -> None:
        self._connection = connection
        self._cycle = cycle
        self._length = length

    async def read(self) -> memoryview:
        """The whole body; raises Disconnected when the client leaves, or is cut off, before its end."""
        connection, cycle = self._connection, self._cycle
        if cycle.disconnected:
            raise Disconnected
        if cycle.waiting_for_100_continue:
            go_on = h11.InformationalResponse(status_code=100, headers=[], reason="Continue")
            connection.transport.write(cycle.conn.send(go_on) or b"")
            cycle.waiting_for_100_continue = False
        came, cycle.body = cycle.body, bytearray()
        if not cycle.more_body:
            return memoryview(came)
        import numpy as np  # only who serves pictures asks for whole bodies

        body = np.empty(self._length, np.uint8).data  # bytearray would fill it with zeros first
        body[: len(came)] = came
        await _Rest(connection, cycle, body[len(came) :]).whole()
        return body


class _Rest(asyncio.BufferedProtocol):
    """Fills `room` from the connection's transport."""

    def __init__(self, connection: Reading, cycle: RequestResponseCycle, room: memoryview) -> None:
        self._connection = connection
        self._cycle = cycle
        self._room = room
        self._whole: asyncio.Future[None] = connection.loop.create_future()

    async def whole(self) -> None:
        """Returns when `room` is full; raises Disconnected."""
        connection = self._connection
        connection.rest = self
        connection.transport.set_protocol(self)
        connection.flow.resume_reading()
        try:
            await self._whole
        except asyncio.CancelledError:
            connection.transport.close()  # h11 could not tell where the next request begins
            raise

    def give_up(self) -> None:
        """Gives the transport back; the reader hears Disconnected."""
        self._give_back()
        if not self._whole.done():
            self._whole.set_exception(Disconnected())

    def get_buffer(self, _sizehint: int) -> memoryview:
        return self._room

    def buffer_updated(self, nbytes: int) -> None:
        self._connection.note_bytes(nbytes)
        self._room = self._room[nbytes:]
        if self._room:
            return
        # At once, not when the reader wakes: what comes next may be the next request.
        self._cycle.more_body = False
        self._cycle.conn = self._connection.conn = _without_body(self._cycle.scope)
        self._give_back()
        if not self._whole.done():
            self._whole.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.connection_lost(exc)

    def pause_writing(self) -> None:
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        self._connection.resume_writing()

    def _give_back(self) -> None:
        self._connection.rest = None
        self._connection.transport.set_protocol(self._connection)


def _without_body(scope: HTTPScope) -> h11.Connection:
    """h11 after the whole of a request like this one, where that matters for what follows."""
    names = [b"Connection: %s\r\n" % value for name, value in scope["headers"] if name == b"connection"]
    line = f"{scope['method']} / HTTP/{scope['http_version']}\r\nHost: localhost\r\n"
    conn = h11.Connection(h11.SERVER)
    conn.receive_data(line.encode("ascii") + b"".join(names) + b"\r\n")
    while conn.their_state in (h11.IDLE, h11.SEND_BODY):
        conn.next_event()
    return conn
