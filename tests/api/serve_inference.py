"""The inference service as a process: `python -m tests.api.serve_inference ROOT PORT SECONDS OPTIONS`.

OPTIONS is a JSON object: settings of the service, and `patience`, `most` (of its connections),
`delay_seconds` and `descriptors` (that it may have).
"""

import json
import resource
import sys
from pathlib import Path

from serinus.api.inference_app import build_app
from serinus.api.replica import Replica
from serinus.bootstrap.connection import Connection
from serinus.bootstrap.edge import coin, new_id, now
from serinus.bootstrap.server import serve
from serinus.observe import logs
from serinus.serving.settings import InferenceSettings
from serinus.store import Store

LIMIT_BYTES = 4_000_000

if __name__ == "__main__":
    root = Path(sys.argv[1])
    options = json.loads(sys.argv[4])
    logs.setup(format=logs.LogFormat.JSON, level="INFO")
    Connection.patience = options.pop("patience", Connection.patience)
    Connection.most = options.pop("most", Connection.most)
    delay_seconds = options.pop("delay_seconds", 0.0)
    if descriptors := options.pop("descriptors", 0):
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
    defaults = {
        "poll_seconds": 0.05,
        "slice_seconds": 0.2,
        "heartbeat_seconds": 0.2,
        "predict_timeout_seconds": float(sys.argv[3]),
        "max_body_bytes": LIMIT_BYTES,
        "batch_wait_seconds": 0.0,  # the tests' models are so small that requests would share runs
        "shadow_nice": 0,  # the tests' machine is busy, and here somebody waits
        "shadow_report_seconds": 0.2,
    }
    settings = InferenceSettings(outputs=root / "outputs", **(defaults | options))
    store = Store.open(root / "store", clock=now, new_id=new_id)
    app = build_app(Replica(settings, store, clock=now, new_id=new_id, coin=coin))
    serve(
        app,
        "127.0.0.1",
        int(sys.argv[2]),
        stopping=app.state.replica.drain,
        delay_seconds=delay_seconds,
        drain_seconds=settings.longest_seconds,
    )
