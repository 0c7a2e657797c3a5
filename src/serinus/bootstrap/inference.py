"""The inference process: predictions, each version in worker processes of its own.

It starts without the store too: it then serves what it knew last, or becomes ready when the store is there.
"""

import logging
import socket
from typing import Any

from serinus.api.replica import Replica
from serinus.bootstrap import edge, machine
from serinus.bootstrap.device import device_of
from serinus.bootstrap.process import (
    die_with_parent,
    freeze_objects,
    keep_freed_memory,
    require_free_port,
)
from serinus.bootstrap.settings import MEGABYTE, Settings
from serinus.bootstrap.tokens import known_tokens
from serinus.bootstrap.wiring import ensure_base, open_for_loop, open_store
from serinus.core.enums import Device
from serinus.core.errors import Unavailable
from serinus.observe import logs
from serinus.serving.settings import InferenceSettings
from serinus.store import Store

log = logging.getLogger("serinus.infer")


def _replica(settings: Settings, store: Store, device: Device) -> Replica:
    cores = machine.cores()
    # On a GPU versions share it, and batches fill it: more processes would only take its memory.
    memory = int(settings.infer_memory_mb * MEGABYTE) or machine.memory_bytes()
    most = 1 if device is Device.CUDA else machine.workers(cores, memory)
    return Replica(
        InferenceSettings(
            outputs=settings.outputs,
            replica=socket.gethostname(),
            url=f"http://{settings.infer_host}:{settings.infer_port}",
            poll_seconds=settings.poll_seconds,
            slice_seconds=settings.slice_seconds,
            predict_timeout_seconds=settings.predict_timeout_seconds,
            load_timeout_seconds=settings.load_timeout_seconds,
            workers=settings.infer_workers or most,
            device=device,
            batch_wait_seconds=settings.batch_wait_seconds,
            worker_memory_bytes=settings.worker_memory_mb * MEGABYTE,
            memory_bytes=int(settings.infer_memory_mb * MEGABYTE),
            queue_size=settings.queue_size,
            max_requests=4 * settings.queue_size,
            model_name=settings.model_name,
            decode_threads=cores,
            keep_predictions=settings.keep_predictions,
            keep_pictures=settings.keep_pictures,
            max_body_bytes=int(settings.max_body_mb * MEGABYTE),
            max_image_pixels=int(settings.max_image_mp * MEGABYTE) - 1,
            max_pixels_held=int(settings.max_held_mp * MEGABYTE),
            max_upload_bytes=int(settings.max_upload_mb * MEGABYTE),
            allowed_hosts=settings.allowed_hosts,
            take_feedback=settings.take_feedback,
        ),
        store,
        clock=edge.now,
        new_id=edge.new_id,
        coin=edge.coin,
    )


def describe(settings: Settings) -> dict[str, Any]:
    """The OpenAPI document."""
    from serinus.api.inference_app import build_app

    return build_app(_replica(settings, open_store(settings), Device.CPU)).openapi()


def run(settings: Settings, parent: int | None = None) -> None:
    """Serve until SIGTERM. Raises WrongSettings when DEVICE asks for what is not here, Misconfigured when
    somebody else has the port.
    """
    die_with_parent(parent)
    keep_freed_memory()
    logs.setup(format=settings.log_format, level=settings.log_level)
    device = device_of(settings)
    require_free_port(settings.infer_host, settings.infer_port, "--infer-port")
    tokens = known_tokens(settings)
    store = open_for_loop(settings)
    try:
        ensure_base(store, settings)
    except Unavailable as error:
        log.warning("Starting without the store: %s", error.message)
    replica = _replica(settings, store, device)
    replica.agent.start()
    # While the first version loads: the web stack takes as long.
    from serinus.api.inference_app import build_app
    from serinus.bootstrap.server import serve

    app = build_app(replica, tokens, trust_loopback=settings.trust_loopback)
    freeze_objects()
    serve(
        app,
        settings.infer_host,
        settings.infer_port,
        stopping=replica.drain,
        delay_seconds=settings.drain_delay_seconds,
        drain_seconds=replica.settings.longest_seconds,
    )
