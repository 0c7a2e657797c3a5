"""A dashboard before a real inference service: for what is asked about pairs and batches."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests import models
from tests.api.live import Server, server
from tests.api.serve_inference import LIMIT_BYTES
from tests.api.stage import Stage
from tests.serving.house import wait_for
from tests.ui.server import Site


@contextmanager
def asked(
    root: Path, *, first: Path | None = None, second: Path | None = None, canary: bool = True
) -> Iterator[tuple[Site, Server]]:
    """Version 1 is current and, with `canary`, 2 on trial, in processes of their own; jobs are real."""
    with server(root, first=first, heartbeat_seconds=0.1) as made:
        if canary:
            made.start_canary(second or models.healthy(root / "second", 2))
        (root / "models").symlink_to(root / "store")  # one store for both
        stage = Stage(root, real_jobs=True, infer_url=made.url, max_predict_bytes=LIMIT_BYTES)
        digests = {record.digest for record in stage.store.state().versions.values()}

        def loaded() -> bool:
            return any(digests == set(each.loaded) for each in stage.store.replicas(0.0))

        wait_for(loaded, "a heartbeat that says what is loaded")
        site = Site(stage)
        try:
            yield site, made
        finally:
            site.stop()
            stage.end_jobs()
