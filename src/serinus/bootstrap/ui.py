"""The ui process: the dashboard, the control API, and the jobs that they start."""

import sys
from typing import Any

from fastapi import FastAPI

from serinus.api.control_app import ControlDeps, ControlSettings, build_control_app
from serinus.bootstrap import edge, signing
from serinus.bootstrap.process import die_with_parent, require_free_port
from serinus.bootstrap.server import serve
from serinus.bootstrap.settings import MEGABYTE, Settings
from serinus.bootstrap.tokens import known_tokens
from serinus.bootstrap.wiring import open_cluster_queue, open_for_loop, open_jobs
from serinus.observe import logs
from serinus.ui.pages import Defaults, install_pages


def build(settings: Settings) -> FastAPI:
    """The app with its pages."""
    jobs = open_jobs(settings)
    deps = ControlDeps(
        store=open_for_loop(settings),
        jobs=jobs,
        cluster=open_cluster_queue(settings, jobs),
        settings=ControlSettings(
            infer_url=settings.infer,
            data_dir=settings.data_dir,
            policy=settings.default_policy,
            policy_name=settings.policy,
            trust=signing.trust(settings),
            trainer=settings.trainer,
            epochs=settings.epochs,
            batch=settings.batch,
            img_size=settings.img_size,
            max_upload_bytes=int(settings.max_upload_mb * MEGABYTE),
            uploads_keep_seconds=settings.uploads_keep_days * 24 * 3600,
            max_predict_bytes=int(settings.max_body_mb * MEGABYTE),
            allowed_hosts=settings.allowed_hosts,
            tokens=known_tokens(settings),
            anonymous_read=settings.anonymous_read,
            trust_loopback=settings.trust_loopback,
            poll_seconds=settings.poll_seconds,
        ),
        clock=edge.now,
        new_id=edge.new_id,
        simulate=(sys.executable, "-m", "serinus", "simulate"),
        trainers=_trainers(settings),
    )
    app = build_control_app(deps)
    defaults = Defaults(
        epochs=settings.epochs,
        batch=settings.batch,
        img_size=settings.img_size,
        trainer=settings.trainer,
    )
    install_pages(app, app.state.board, defaults)
    return app


def _trainers(settings: Settings) -> tuple[str, ...]:
    """What lists them; nothing where another image has them (JOB_TEMPLATES)."""
    if settings.job_templates is not None:
        return ()
    return (sys.executable, "-m", "serinus", "trainers", "list", "--json")


def describe(settings: Settings) -> dict[str, Any]:
    """The OpenAPI document."""
    return build(settings).openapi()


def run(settings: Settings, parent: int | None = None) -> None:
    """Serve until SIGTERM. Raises Misconfigured for a port that somebody else has."""
    die_with_parent(parent)
    logs.setup(format=settings.log_format, level=settings.log_level)
    require_free_port(settings.ui_host, settings.ui_port, "--ui-port")
    app = build(settings)
    serve(app, settings.ui_host, settings.ui_port, stopping=app.state.board.close)
