"""The control app: the documented endpoints and the JSON control API. It lives in the ui process.

deps = ControlDeps(store=..., jobs=..., settings=ControlSettings(...), clock=..., new_id=...)
app = build_control_app(deps)
install_pages(app, app.state.board)      # serinus.ui
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from itertools import count

import httpx
from fastapi import FastAPI

from serinus import __version__
from serinus.api import (
    asking_routes,
    compat_routes,
    control_routes,
    dataset_routes,
    disagreement_routes,
    errors,
    explain_routes,
    guards,
    history_routes,
    job_routes,
    login_routes,
    metrics_routes,
    policy_routes,
    trigger_routes,
    tus_routes,
    version_routes,
)
from serinus.api.access import Access, to_control
from serinus.api.board import Board
from serinus.api.control_deps import ControlDeps, ControlSettings
from serinus.api.infer_proxy import Infer
from serinus.api.resumable import Resumables
from serinus.api.schema import describe
from serinus.api.trainers import Trainers
from serinus.api.uploads import Uploads

__all__ = ["ControlDeps", "ControlSettings", "build_control_app"]

log = logging.getLogger(__name__)

_ADVANCE_SECONDS = 1.0
_EXPIRE_TURNS = 300
_FORM_BYTES = 1 << 20
_ENVELOPE_BYTES = 64 * 1024
"""What a form's boundaries and headers may add to its file."""


def build_control_app(deps: ControlDeps, *, transport: httpx.AsyncBaseTransport | None = None) -> FastAPI:
    """The app; `app.state.board` is what pages read. `transport` may stand in for the inference service."""
    settings = deps.settings
    uploads = Uploads(
        settings.data_dir / "uploads",
        limit_bytes=settings.max_upload_bytes,
        clock=deps.clock,
        new_id=deps.new_id,
    )
    resumables = Resumables(
        uploads,
        limit_bytes=settings.max_upload_bytes,
        keep_seconds=settings.uploads_keep_seconds,
        clock=deps.clock,
        new_id=deps.new_id,
    )
    board = Board(deps, uploads)
    trainers = Trainers(deps.trainers)
    infer = Infer(settings.infer_url, timeout_seconds=settings.infer_timeout_seconds, transport=transport)

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        tending = asyncio.create_task(_tend(deps, resumables))
        yield
        board.close()
        tending.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await tending
        await infer.close()

    app = FastAPI(
        title="Serinus control",
        summary="Train, version and roll out models; every decision with its reason and its numbers.",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.board = board
    for router in (
        compat_routes.router(deps, uploads, infer, trainers),
        trigger_routes.router(deps, uploads, trainers),
        control_routes.router(deps, board, infer),
        asking_routes.router(board, settings),
        history_routes.router(board.chronicle),
        version_routes.router(deps),
        job_routes.router(deps, board.closing),
        dataset_routes.router(deps),
        tus_routes.router(resumables, uploads, deps),
        policy_routes.router(deps),
        explain_routes.router(deps),
        disagreement_routes.router(deps),
        login_routes.router(settings.tokens),
        metrics_routes.router(deps),
    ):
        app.router.routes.extend(router.routes)  # `include_router` would build each route once more
    describe(
        app,
        [
            *compat_routes.DOCUMENTS,
            *control_routes.DOCUMENTS,
            *asking_routes.DOCUMENTS,
            *trigger_routes.DOCUMENTS,
            *history_routes.DOCUMENTS,
            *version_routes.DOCUMENTS,
            *job_routes.DOCUMENTS,
            *dataset_routes.DOCUMENTS,
            *tus_routes.DOCUMENTS,
            *policy_routes.DOCUMENTS,
            *explain_routes.DOCUMENTS,
            *disagreement_routes.DOCUMENTS,
        ],
    )
    errors.install(app)
    guards.install(
        app,
        guards.GuardRules(
            allowed_hosts=settings.allowed_hosts,
            max_body_bytes=_FORM_BYTES,
            body_limits={
                "/upload-dataset": settings.max_upload_bytes + _ENVELOPE_BYTES,
                tus_routes.PATH: settings.max_upload_bytes,
                f"{tus_routes.PATH}/": settings.max_upload_bytes,
                "/api/predict": settings.max_predict_bytes,
            },
            limit_settings=dict.fromkeys(
                ("/upload-dataset", tus_routes.PATH, f"{tus_routes.PATH}/"), "MAX_UPLOAD_MB"
            ),
            access=Access(
                needed=to_control(anonymous_read=settings.anonymous_read),
                tokens=settings.tokens,
                trust_loopback=settings.trust_loopback,
                login=True,
            ),
        ),
        deps.new_id,
    )
    return app


async def _tend(deps: ControlDeps, resumables: Resumables) -> None:
    """Lets the queue of jobs move on, and throws away uploads that nobody finishes."""
    for turn in count():
        try:
            await asyncio.to_thread(deps.jobs.advance)
            if deps.cluster is not None:
                await asyncio.to_thread(deps.cluster.turn)
            if turn % _EXPIRE_TURNS == 0:
                await asyncio.to_thread(resumables.expire)
        except Exception:
            log.exception("the jobs and uploads could not be looked after; trying again")
        await asyncio.sleep(_ADVANCE_SECONDS)
