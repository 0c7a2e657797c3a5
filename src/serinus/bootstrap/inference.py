"""The inference process: predictions, each version in worker processes of its own."""

import os
import socket
from typing import Any

from fastapi import FastAPI

from serinus.api.inference_app import build_app
from serinus.bootstrap import edge
from serinus.bootstrap.process import die_with_parent
from serinus.bootstrap.server import serve
from serinus.bootstrap.settings import MEGABYTE, Settings
from serinus.bootstrap.wiring import ensure_base, open_store
from serinus.observe import logs
from serinus.serving.settings import InferenceSettings


def build(settings: Settings) -> FastAPI:
    """The app; its lifespan starts the workers."""
    return build_app(
        InferenceSettings(
            outputs=settings.outputs,
            replica=socket.gethostname(),
            url=f"http://{settings.infer_host}:{settings.infer_port}",
            poll_seconds=settings.poll_seconds,
            slice_seconds=settings.slice_seconds,
            predict_timeout_seconds=settings.predict_timeout_seconds,
            load_timeout_seconds=settings.load_timeout_seconds,
            workers=settings.workers,
            queue_size=settings.queue_size,
            decode_threads=len(os.sched_getaffinity(0)),
            keep_predictions=settings.keep_predictions,
            keep_pictures=settings.keep_pictures,
            max_body_bytes=int(settings.max_body_mb * MEGABYTE),
            max_image_pixels=int(settings.max_image_mp * MEGABYTE) - 1,
            max_pixels_held=int(settings.max_held_mp * MEGABYTE),
            max_upload_bytes=int(settings.max_upload_mb * MEGABYTE),
            allowed_hosts=settings.allowed_hosts,
        ),
        open_store(settings),
        clock=edge.now,
        new_id=edge.new_id,
        coin=edge.coin,
    )


def describe(settings: Settings) -> dict[str, Any]:
    """The OpenAPI document."""
    return build(settings).openapi()


def run(settings: Settings, parent: int | None = None) -> None:
    """Serve until SIGTERM."""
    die_with_parent(parent)
    logs.setup(format=settings.log_format, level=settings.log_level)
    app = build(settings)
    ensure_base(open_store(settings), settings)
    serve(app, settings.infer_host, settings.infer_port)
