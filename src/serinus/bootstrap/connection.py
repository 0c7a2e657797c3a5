"""One HTTP connection, with the manners that uvicorn leaves to a proxy.

A client must get on with its request: a connection that stays silent, sends its head or body too slowly, or
does not read its answer, is closed (408 where an answer can still be sent). Connections are bounded. When a
client leaves, the work for it is cancelled (see `api.departure`). A half-closed connection counts as left.

Nothing is timed per request or per packet: packets are counted, and the server looks at all connections once
a second.
"""

import asyncio
import json
from collections.abc import Callable
from typing import Any, cast

import h11
from uvicorn.protocols.http.flow_control import CLOSE_HEADER

from serinus.api.departure import KEY, Departure
from serinus.api.errors import TABLE, TOO_SLOW, Kind
from serinus.bootstrap.intake import Reading
from serinus.core.errors import InvalidInput, Unavailable

HEAD_SECONDS = 20.0
"""How long a request's head may take, from the opening of the connection or the last answer."""
BODY_SECONDS = 20.0
"""How long a body may take, plus a second for each `SLOWEST_BYTES` that came."""
SLOWEST_BYTES = 16_000
READ_SECONDS = 20.0
"""How long a client may leave its answer, plus a second for each `SLOWEST_BYTES` that it took."""
MOST_CONNECTIONS = 1000
"""More are answered 503 and closed."""
MOST_REFUSED = 100
"""So many at once are told so; more are cut off, for each takes a descriptor as long as it is told."""
_LINGER_SECONDS = 1.0


class _Ending:
    """uvicorn's view of a transport: `note` hears of each `write`, and `close` asks the connection first."""

    def __init__(
        self, transport: asyncio.Transport, note: Callable[[int], None], end: Callable[[], None]
    ) -> None:
        self._write = transport.write
        self._note = note
        self.is_closing = transport.is_closing
        self.close = end

    def write(self, data: bytes) -> None:
        self._note(len(data))
        self._write(data)


class Connection(Reading):
    """uvicorn's connection with limits, also while a body is read past h11. `patience` scales the times."""

    patience = 1.0
    most = MOST_CONNECTIONS

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._phase: Any = h11.IDLE
        self._since = self.loop.time()
        self._came = 0
        self._sent = self._taken = 0
        """Bytes of answers: written, and of those taken when nothing was left to take."""
        self._owed_since = self._since
        self._over = False
        if len(self.connections) > self.most + MOST_REFUSED:
            self._over = True
            self.transport.abort()
        elif len(self.connections) > self.most:
            self._refuse(TABLE[Unavailable], "There are too many connections.", "Retry-After: 1\r\n")

    def data_received(self, data: bytes) -> None:
        if self._over:
            return
        self._came += len(data)
        super().data_received(data)
        self._note_phase()

    def handle_events(self) -> None:
        before = self.cycle
        super().handle_events()
        if self.cycle is not before:
            self.cycle.transport = cast(
                asyncio.Transport, _Ending(self.transport, self._note_sent, self._end)
            )

    def note_bytes(self, count: int) -> None:
        self._came += count

    def _note_sent(self, count: int) -> None:
        self._sent += count

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self.cycle is not None and not self.cycle.response_complete:
            departure = cast("dict[str, Any]", self.scope).get(KEY)
            if isinstance(departure, Departure):
                departure()

    def send_400_response(self, msg: str) -> None:
        """What the parser refuses."""
        if self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete:
            self.transport.close()
        else:
            self._refuse(TABLE[InvalidInput], msg)

    def end_soon(self) -> None:
        """The answer under way tells the client that it is the last one here."""
        if self.cycle is not None and not self.cycle.response_started:
            self.cycle.default_headers = [*self.cycle.default_headers, CLOSE_HEADER]

    def look(self, seconds: float) -> None:
        """Closes the connection if the client does not get on. Called every `seconds`."""
        now = self.loop.time()
        if self._is_left(now):
            self.transport.abort()
            return
        self._note_phase()
        if self._over or self._phase not in (h11.IDLE, h11.SEND_BODY) or self.transport.is_closing():
            return
        if self.flow.read_paused:
            self._since += seconds  # we are the slow side
            return
        allowed = HEAD_SECONDS if self._phase is h11.IDLE else BODY_SECONDS + self._came / SLOWEST_BYTES
        if now - self._since > allowed * self.patience:
            self._give_up()

    def _is_left(self, now: float) -> bool:
        """Whether the client takes its answer so slowly that it is no longer kept for it."""
        unread = self.transport.get_write_buffer_size()
        taken = self._sent - unread
        if unread == 0:
            self._taken, self._owed_since = taken, now
        allowed = READ_SECONDS + (taken - self._taken) / SLOWEST_BYTES
        return now - self._owed_since > allowed * self.patience

    def _note_phase(self) -> None:
        phase = self.conn.their_state
        if phase is not self._phase:
            self._phase, self._since, self._came = phase, self.loop.time(), 0

    def _give_up(self) -> None:
        begun = self._came > 0 or self._phase is h11.SEND_BODY
        answered = self._phase is h11.SEND_BODY and self.cycle.response_started
        if begun and not answered:
            self._refuse(TOO_SLOW, "The request did not arrive in time.")
        else:
            self.transport.close()

    def _end(self) -> None:
        """The answer was the last one here."""
        if self.cycle.more_body and not self.transport.is_closing():
            self._linger()
        else:
            self.transport.close()

    def _linger(self) -> None:
        """Closes a moment later: what still comes of the request would reset the answer on its way."""
        self.transport.write_eof()
        self._over = True
        self.flow.resume_reading()
        self.loop.call_later(_LINGER_SECONDS, self.transport.close)

    def _refuse(self, kind: Kind, words: str, more: str = "") -> None:
        """Answers without the app, and closes."""
        document = {
            "type": f"/errors/{kind.slug}",
            "title": kind.title,
            "status": kind.status,
            "detail": words,
            "remedy": "Try again.",
            "request_id": "",
            "error": words,
        }
        body = json.dumps(document)
        head = (
            f"HTTP/1.1 {kind.status} {kind.title}\r\nContent-Type: application/problem+json\r\n"
            f"Content-Length: {len(body)}\r\n{more}Connection: close\r\n\r\n"
        )
        self.transport.write((head + body).encode("ascii"))
        self._linger()
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.stop_reading()
