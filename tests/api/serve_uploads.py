"""The control app on an empty stage, to be killed and started again.

`python -m tests.api.serve_uploads ROOT PORT LIMIT`
"""

import signal
import sys
import time
import uuid
from pathlib import Path

from serinus.bootstrap.server import serve
from tests.api.stage import Stage


class Real(Stage):
    """With a clock that goes on and ids that no other process gives."""

    def clock(self) -> float:
        return time.time()

    def new_id(self) -> str:
        return uuid.uuid4().hex


if __name__ == "__main__":
    stage = Real(Path(sys.argv[1]), max_upload_bytes=int(sys.argv[3]))
    signal.signal(signal.SIGTERM, lambda *_: None)
    serve(stage.app, "127.0.0.1", int(sys.argv[2]), stopping=stage.app.state.board.close)
