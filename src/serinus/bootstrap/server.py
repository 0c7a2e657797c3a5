"""Running an app on uvicorn: one place for its limits, and for how it stops."""

import asyncio
import resource
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.flow_control import CLOSE_HEADER

from serinus.bootstrap.connection import MOST_REFUSED, Connection

_DRAIN_SECONDS = 10.0
_IDLE_SECONDS = 15
_LOOK_SECONDS = 1.0
_OWN_DESCRIPTORS = 100
"""Kept for files, workers and pictures on their way to them; connections get the rest."""
_ACCEPTED_AT_ONCE = 100
"""asyncio accepts so many before it looks at the first of them."""


class _Server(uvicorn.Server):
    """Stops in three steps: says so, goes on for a while, then answers what is in flight.

    The app hears at once that it is to stop, so that it says that it is not ready, and endless answers end
    instead of being waited for. For `delay_seconds` requests are still taken, each answer with
    `Connection: close`; a second signal ends the wait.
    """

    def __init__(self, config: uvicorn.Config, stopping: Callable[[], None], delay_seconds: float) -> None:
        super().__init__(config)
        self._stopping = stopping
        self._delay = delay_seconds
        self._heard: tuple[int, FrameType | None, float] | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._heard is None and self._delay > 0 and self.started:
            self._stopping()
            self._heard = (sig, frame, asyncio.get_running_loop().time() + self._delay)
            self.config.encoded_headers.append(CLOSE_HEADER)
            self.server_state.default_headers = [*self.server_state.default_headers, CLOSE_HEADER]
            for connection in self._connections():
                connection.end_soon()
            return
        self._stopping()
        super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._looking = asyncio.create_task(self._look())  # until the loop ends, also while it drains

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            for connection in self._connections():
                connection.look(_LOOK_SECONDS)

    def _connections(self) -> list[Connection]:
        return [each for each in list(self.server_state.connections) if isinstance(each, Connection)]

    async def on_tick(self, counter: int) -> bool:
        if self._heard is not None and asyncio.get_running_loop().time() >= self._heard[2]:
            super().handle_exit(*self._heard[:2])
        return await super().on_tick(counter)


def _nothing() -> None:
    pass


def serve(
    app: FastAPI,
    host: str,
    port: int,
    *,
    stopping: Callable[[], None] = _nothing,
    delay_seconds: float = 0.0,
    drain_seconds: float = _DRAIN_SECONDS,
) -> None:
    """Serve until SIGTERM or SIGINT, then answer what is in flight and end.

    `stopping` is called when the signal arrives, in the main thread; requests are taken for `delay_seconds`
    more, and those in flight get `drain_seconds`.
    """
    Connection.most = min(Connection.most, _room_for_connections())
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # whose address a header names is not whose the connection is: see api.access
        http=Connection,
        backlog=_ACCEPTED_AT_ONCE,
        timeout_keep_alive=_IDLE_SECONDS,
        timeout_graceful_shutdown=round(drain_seconds),
    )
    _Server(config, stopping, delay_seconds).run()


def _room_for_connections() -> int:
    """How many the descriptors allow, of which this process then has as many as it may.

    Beyond, a connection is told so. Without descriptors it could not even be accepted, and asyncio would try
    again and again.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return max(1, hard - _OWN_DESCRIPTORS - _ACCEPTED_AT_ONCE - MOST_REFUSED)
