"""Running an app on uvicorn: one place for its limits, and for how it stops."""

from collections.abc import Callable
from types import FrameType

import uvicorn
from fastapi import FastAPI

from serinus.bootstrap.intake import Connection

_DRAIN_SECONDS = 10
_IDLE_SECONDS = 15


class _Server(uvicorn.Server):
    """Tells the app at once that it is to stop, so that endless answers end instead of being waited for."""

    def __init__(self, config: uvicorn.Config, stopping: Callable[[], None]) -> None:
        super().__init__(config)
        self._stopping = stopping

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._stopping()
        super().handle_exit(sig, frame)


def _nothing() -> None:
    pass


def serve(app: FastAPI, host: str, port: int, *, stopping: Callable[[], None] = _nothing) -> None:
    """Serve until SIGTERM or SIGINT, then answer what is in flight and end.

    `stopping` is called when the signal arrives, in the main thread.
    """
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        http=Connection,
        timeout_keep_alive=_IDLE_SECONDS,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
    )
    _Server(config, stopping).run()
