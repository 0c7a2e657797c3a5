"""The inference service as a process of its own: `python -m tests.api.serve_inference ROOT PORT SECONDS`."""

import sys
from pathlib import Path

from serinus.api.inference_app import build_app
from serinus.bootstrap.edge import coin, new_id, now
from serinus.bootstrap.server import serve
from serinus.observe import logs
from serinus.serving.settings import InferenceSettings
from serinus.store import Store

LIMIT_BYTES = 4_000_000

if __name__ == "__main__":
    root = Path(sys.argv[1])
    logs.setup(format=logs.LogFormat.JSON, level="INFO")
    settings = InferenceSettings(
        outputs=root / "outputs",
        poll_seconds=0.05,
        slice_seconds=0.2,
        heartbeat_seconds=0.2,
        predict_timeout_seconds=float(sys.argv[3]),
        max_body_bytes=LIMIT_BYTES,
        shadow_nice=0,  # the tests' machine is busy, and here somebody waits
        shadow_report_seconds=0.2,
    )
    store = Store.open(root / "store", clock=now, new_id=new_id)
    serve(build_app(settings, store, clock=now, new_id=new_id, coin=coin), "127.0.0.1", int(sys.argv[2]))
