"""The control app as a process of its own, on a stage: `python -m tests.api.serve_control ROOT PORT`."""

import signal
import sys
from pathlib import Path

from serinus.bootstrap.server import serve
from tests.api.inference import inference
from tests.api.stage import Stage

if __name__ == "__main__":
    stage = Stage(Path(sys.argv[1]), inference=inference())
    stage.base()
    stage.canary("a little better")
    stage.traffic((20, 0), (20, 0))
    stage.dataset()
    signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn raises it again when it is done
    serve(stage.app, "127.0.0.1", int(sys.argv[2]), stopping=stage.app.state.board.close)
    stage.end_jobs()
