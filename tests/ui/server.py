"""A stage behind a real server, for the browser tests."""

import socket
import threading
import time

import uvicorn

from tests.api.inference import inference
from tests.api.stage import Stage

ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class Site:
    """A stage behind a real server, and a way to stop and start it."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.names: dict[str, str] = {}
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.start(self.socket)

    def at(self, path: str) -> str:
        """The address of a page; `{...}` in its path is one of `names`."""
        return self.url + path.format(**self.names)

    def start(self, listening: socket.socket) -> None:
        """Serves on that socket."""
        config = uvicorn.Config(
            self.stage.app, log_level="warning", timeout_graceful_shutdown=1, lifespan="on"
        )
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [listening]}, daemon=True)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)

    def stop(self) -> None:
        """Ends it, and with it every open stream."""
        self.stage.app.state.board.close()
        self.server.should_exit = True
        self.thread.join()

    def restart(self) -> None:
        """A new server on the same store and port, after a stop."""
        old = self.stage
        self.stage = Stage(old.root, inference=inference(), **old.options)
        self.stage.now, self.stage._ids = old.now, old._ids
        self.start(socket.create_server(("127.0.0.1", int(self.url.rpartition(":")[2]))))
