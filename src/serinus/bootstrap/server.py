"""Running an app on uvicorn: one place for its limits."""

import uvicorn
from fastapi import FastAPI

_DRAIN_SECONDS = 10
_IDLE_SECONDS = 15


def serve(app: FastAPI, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT, then answer what is in flight and end."""
    uvicorn.run(
        app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=_IDLE_SECONDS,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
    )
