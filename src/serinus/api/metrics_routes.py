"""`/metrics` of the dashboard's process, for Prometheus."""

from asyncio import to_thread
from threading import Lock

from fastapi import APIRouter, Response

from serinus.api.control_deps import ControlDeps
from serinus.api.schema import answers_words
from serinus.core.errors import SerinusError
from serinus.observe.control_metrics import ControlMetrics
from serinus.observe.metrics import CONTENT_TYPE


def router(deps: ControlDeps) -> APIRouter:
    """The route."""
    routes = APIRouter(tags=["Health"])
    folders = {"data": deps.settings.data_dir, "models": deps.store.root}
    metrics, lock = ControlMetrics(folders), Lock()

    def look() -> bytes:
        with lock:
            try:
                state, replicas = deps.store.state(), deps.store.replicas()
            except (OSError, SerinusError):
                metrics.away()
            else:
                fresh = deps.settings.replica_fresh_seconds
                metrics.seen(state, replicas, now=deps.clock(), fresh_seconds=fresh)
            return metrics.text()

    @routes.get(
        "/metrics",
        summary="Prometheus metrics",
        responses=answers_words("Text exposition.", "text/plain"),
    )
    async def exposition() -> Response:
        """The rollout, the replicas, the store, the volumes."""
        return Response(await to_thread(look), media_type=CONTENT_TYPE)

    return routes
